"""`fluxkit.charts.ticks`: ticks stand at places of the data."""

import pytest

from fluxkit.charts.ticks import fitted, round_places, ticks


def test_no_tick_lies_beyond_the_data():
    """A tick is one of the places as it is, and the needed ones are always there."""
    places = [0.0, 1.8437, 28.333, 799.6, 1025.6667]
    assert set(ticks(places, 1.8437)) <= set(places)
    assert max(ticks(places, 1.8437)) == 1025.6667
    assert 800.0 in ticks(round_places(1025.7), 28.3, [800.0])
    assert 5000.0 not in ticks([0.0, 5000.0, 10000.0], 50.0)


@pytest.mark.parametrize(
    "values", [[40.0, 95.0], [1.0, 1.0, 1.0], [0.0, 0.0], [99.0, 101.0], [0.001, 3000.0], [-3.0], [12.3, 12.4]]
)
def test_every_axis_has_two_labels_or_more(values):
    """Within less than a decade, of equal values and of a single one an axis has at least two ticks inside of it."""
    for linear in (True, False) if min(values) > 0 else (True,):
        axis = fitted(values, linear=linear)
        assert 2 <= len(axis.ticks) <= 12
        assert all(axis.domain[0] <= tick <= axis.domain[1] for tick in axis.ticks)
        assert axis.domain[0] <= min(values) <= max(values) <= axis.domain[1]
    assert len(ticks([max(values)] if max(values) > 0 else [5.0], 1.0)) == 2
