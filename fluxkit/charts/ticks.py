"""Where ticks stand: at places of the data or at round numbers, at least two on an axis, with room for their labels."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

TICK = ",.4~r"
"""Labels of ticks that stand where something was measured: four digits."""
ROOM = 0.029
"""Of the axis between two ticks at least, for each character of the longest label, so that labels do not touch."""
FEWEST = 2
"""Labelled ticks without which an axis has no scale."""
LEAST_SPAN = 0.02
"""Of the values on an axis, as a share of them: what hardly differs is not blown up, and equal values have an axis."""


class CurveAxis(NamedTuple):
    """The horizontal axis of a curve."""

    title: str
    constant: float
    """Below it the axis is nearly linear, above it logarithmic."""
    ticks: Sequence[float]
    budget: float
    """Where the protocol reads its score."""


class FittedAxis(NamedTuple):
    """An axis from a little below the lowest value to a little above the highest."""

    domain: tuple[float, float]
    ticks: list[float]


def ticks(places: Iterable[float], constant: float, needed: Sequence[float] = ()) -> list[float]:
    """The needed places and those of the others that there is room for beside them; the highest comes first.

    A tick is a place as it is. One that was rounded could lie outside of the data and would not be drawn. Where there
    is a single place, the axis begins at 0.
    """
    ordered = [*needed, *sorted(set(places) - set(needed), reverse=True)]
    longest = max(len(f"{float(f'{place:.4g}'):,.10g}") for place in ordered)
    room = ROOM * longest * max(_along(place, constant) for place in ordered)
    chosen: list[float] = []
    for place in ordered:
        if all(abs(_along(place, constant) - _along(other, constant)) >= room for other in chosen):
            chosen.append(place)
    return sorted(chosen) if len(chosen) >= FEWEST else sorted({0.0, max(ordered)})


def _along(place: float, constant: float) -> float:
    """Where a place lies on the axis, up to a factor: the chart compiler's `symlog`."""
    return math.log1p(place / constant)


def round_places(highest: float) -> list[float]:
    """0 and every 1, 2 and 5 times a power of ten up to a number."""
    powers = range(math.ceil(math.log10(max(highest, 1))) + 1)
    return [0.0, *(float(lead * 10**power) for power in powers for lead in (1, 2, 5) if lead * 10**power <= highest)]


def linear_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Between two and `most` round numbers from `low` to `high`, as far apart as can be."""
    power = 10.0 ** (math.floor(math.log10(high - low)) + 1)
    steps = [power * lead / 10**smaller for smaller in range(4) for lead in (5, 2, 1)]
    counts = [(step, _multiples(low, high, step)) for step in steps]
    enough = [places for _, places in counts if len(places) >= FEWEST]
    return next((places for places in reversed(enough) if len(places) <= most), enough[0])


def _multiples(low: float, high: float, step: float) -> list[float]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{place * step:.10g}") for place in range(first, last + 1)] if last - first < 100 else []  # noqa: PLR2004


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers on a logarithmic axis; on less than a decade those of a linear one, so that there are two."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for leads in ((1,), (1, 3), (1, 2, 5)):
        places = [lead * 10.0**power for power in powers for lead in leads if low <= lead * 10.0**power <= high]
        if len(places) > FEWEST:
            return [float(f"{place:.10g}") for place in places]
    return linear_ticks(low, high, 4)


def fitted(values: Iterable[float], padding: float = 0.07, *, linear: bool = True) -> FittedAxis:
    """The axis of some values, which are all above 0 where it is logarithmic."""
    held = list(values)
    low, high = min(held), max(held)
    middle, least = (low + high) / 2, LEAST_SPAN * (max(abs(low), abs(high)) or 1.0)
    if high - low < least:
        low, high = middle - least / 2, middle + least / 2
    if linear:
        domain = (low - padding * (high - low), high + padding * (high - low))
        return FittedAxis(domain, linear_ticks(*domain))
    ratio = (high / low) ** padding
    return FittedAxis((low / ratio, high * ratio), log_ticks(low / ratio, high * ratio))
