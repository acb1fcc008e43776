"""Where the ticks of a compressed axis stand: at places of the data as they are, with room for their labels."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

TICK = ",.4~r"
"""Labels of ticks that stand where something was measured: four digits."""
ROOM = 0.023
"""Of the axis between two ticks at least, for each character of the longest label, so that labels do not touch."""


class CurveAxis(NamedTuple):
    """The horizontal axis of a curve."""

    title: str
    constant: float
    """Below it the axis is nearly linear, above it logarithmic."""
    ticks: Sequence[float]
    budget: float
    """Where the protocol reads its score."""


def ticks(places: Iterable[float], constant: float, needed: Sequence[float] = ()) -> list[float]:
    """The needed places and those of the others that there is room for beside them; the highest comes first.

    A tick is a place as it is. One that was rounded could lie outside of the data and would not be drawn.
    """
    ordered = [*needed, *sorted(set(places) - set(needed), reverse=True)]
    longest = max(len(f"{float(f'{place:.4g}'):,.10g}") for place in ordered)
    room = ROOM * longest * max(_along(place, constant) for place in ordered)
    chosen: list[float] = []
    for place in ordered:
        if all(abs(_along(place, constant) - _along(other, constant)) >= room for other in chosen):
            chosen.append(place)
    return sorted(chosen)


def _along(place: float, constant: float) -> float:
    """Where a place lies on the axis, up to a factor: the chart compiler's `symlog`."""
    return math.log1p(place / constant)


def round_places(highest: float) -> list[float]:
    """0 and every 1, 2 and 5 times a power of ten up to a number."""
    powers = range(math.ceil(math.log10(max(highest, 1))) + 1)
    return [0.0, *(float(lead * 10**power) for power in powers for lead in (1, 2, 5) if lead * 10**power <= highest)]
