"""Durations, as people read them."""

import pytest

from fluxkit.units import span


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.25, "0.25 s"), (9.44, "9.4 s"), (9.96, "10 s"), (47.3, "47 s"), (99.6, "100 s"), (112.0, "112 s"),
        (119.9, "120 s"), (120.0, "2 minutes"), (7199.0, "120 minutes"), (7200.0, "2.0 hours"),
    ],
)  # fmt: skip
def test_a_duration_is_in_two_digits_or_in_whole_seconds(seconds, words):
    """No duration is in powers of ten."""
    assert span(seconds) == words
