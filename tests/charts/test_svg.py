"""`fluxkit.charts.svg`: configurations and phases can be told apart."""

from fluxkit.charts.svg import COLOURS, PHASE_COLOURS, style_of
from fluxkit.record.phase_seconds import PARTS


def test_no_two_configurations_look_alike_and_no_phase_looks_like_one():
    """64 configurations differ in colour, marker or dash, and phases have colours of their own."""
    assert len({style_of(number)[:2] for number in range(64)}) == 64
    assert len({style_of(number)[::2] for number in range(64)}) == 64
    assert len(PHASE_COLOURS) == len(set(PHASE_COLOURS)) == len(PARTS) + 1
    assert not set(map(str.lower, PHASE_COLOURS)) & set(map(str.lower, COLOURS))
