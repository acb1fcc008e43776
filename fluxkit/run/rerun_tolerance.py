"""Where a number of a run that is done again may lie: by the original's repeats, or by fixed margins."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from pydantic import ConfigDict, Field

from fluxkit.record.metrics import METRICS, Metric
from fluxkit.record.result import Grade, RunResult
from fluxkit.stats import LEVEL, MIN_VALUES, mean, standard_deviation, t_quantile
from fluxkit.trust.estimate import grade_about
from fluxkit.values import Frozen

SPEED_MARGINS = {"cuda": 0.02, "cpu": 0.05}
"""Shares of the original's speed: a CPU is moved more by what else it does."""
WIDEST = 2.0
"""Times the fixed margin: a prediction interval that reaches further tells nothing from anything."""
ROUNDING = 1e-9
"""Equal values whose mean was rounded are still equal."""
TOO_WIDE = "the original's repeats spread too much"


QUANTITIES = tuple(metric for metric in METRICS if metric.rerun)
"""Numbers of the summary that are held against their original: by their margin, a speed by its share for the device."""


class Band(NamedTuple):
    """Between which values a number is taken for the original's."""

    low: float
    high: float
    words: str
    """Where it comes from."""
    conclusive: bool = True


class HeldNumber(Frozen):
    """A number against its band."""

    model_config = ConfigDict(populate_by_name=True)
    name: str
    unit: str
    original: float
    again: float
    """Mean over the completed runs; of a speed the geometric one."""
    low: float
    high: float
    band: str
    """Where the band comes from."""
    inside: bool
    grade: Grade | None = None
    """The worst of both sides'; X is in no verdict."""
    conclusive: bool = Field(default=True, alias="tells")
    """Whether being inside says anything: false where the original's repeats spread too much."""


def held(quantity: Metric, original: RunResult, again: Sequence[RunResult], repeats: Sequence[RunResult]) -> HeldNumber:
    """One number, which both sides have, against its band; repeats that may not be used make no band.

    Each band is at 95 % by itself. Of one run of an unchanged machine the two speeds are both inside in nine cases out
    of ten; quality hardly adds to that, because a run that is done again has the original's seed (`_of_quality`).
    """
    first = getattr(original.summary, quantity.key)
    values = [getattr(result.summary, quantity.key) for result in again]
    sound = [result for result in repeats if grade_about((result,), quantity.subject) != "X"]
    sound = [result for result in sound if getattr(result.summary, quantity.key) is not None]
    if quantity.relative:
        band, now = _of_speed(quantity, original, sound, len(values)), _geometric(values)
    else:
        band, now = _of_quality(quantity, original, sound, len(values)), mean(values)
    slack = ROUNDING * abs(first)
    return HeldNumber(
        name=quantity.key, unit=quantity.unit, original=first, again=now, low=band.low, high=band.high,
        band=band.words, inside=band.low - slack <= now <= band.high + slack,
        grade=grade_about((original, *again), quantity.subject), conclusive=band.conclusive,
    )  # fmt: skip


def _of_speed(quantity: Metric, original: RunResult, repeats: Sequence[RunResult], count: int) -> Band:
    """On the log scale, as speeds are ratios: no band reaches below 0."""
    share = SPEED_MARGINS[original.plan.device]
    if len(repeats) < MIN_VALUES:
        first: float = getattr(original.summary, quantity.key)
        return Band(first * (1 - share), first * (1 + share), f"±{share:.0%} of the original")
    logs = [math.log(getattr(result.summary, quantity.key)) for result in repeats]
    low, high = prediction_interval(logs, count)
    conclusive = (high - low) / 2 <= math.log1p(WIDEST * share)
    return Band(math.exp(low), math.exp(high), _words(repeats, conclusive=conclusive), conclusive)


def _of_quality(quantity: Metric, original: RunResult, repeats: Sequence[RunResult], count: int) -> Band:
    """Never narrower than the fixed margin around the original, and that margin alone where the seeds' spread is wide.

    Repeats have seeds of their own, and a run that is done again has the original's: it lies nearer to the original
    than they do. Where they share that seed their spread is the machine's, and a wide one can't tell.
    """
    first: float = getattr(original.summary, quantity.key)
    margin, fixed = quantity.margin, f"±{quantity.margin_text}"
    around = Band(first - margin, first + margin, fixed)
    if len(repeats) < MIN_VALUES:
        return around
    low, high = prediction_interval([getattr(result.summary, quantity.key) for result in repeats], count)
    if (high - low) / 2 > WIDEST * margin:
        if len({result.seed for result in repeats}) > 1:
            return around._replace(words=f"{fixed} of the original, whose seed it has; other seeds spread more")
        return Band(low, high, _words(repeats, conclusive=False), conclusive=False)
    return Band(min(low, around.low), max(high, around.high), f"{_words(repeats)}, and {fixed} of the original")


def _words(repeats: Sequence[RunResult], *, conclusive: bool = True) -> str:
    return f"{LEVEL:.0%} prediction interval of {len(repeats)} repeats{'' if conclusive else ', too wide to tell'}"


def _geometric(values: Sequence[float]) -> float:
    return math.exp(mean([math.log(value) for value in values]))


def prediction_interval(values: Sequence[float], count: int, level: float = LEVEL) -> tuple[float, float]:
    """Where the mean of `count` further values of the same normal population lies with probability `level`.

    Source: Hahn and Meeker, Statistical Intervals (1991), section 4.7: m +- t(n - 1) s sqrt(1/count + 1/n).
    """
    spread = standard_deviation(values) * math.sqrt(1 / count + 1 / len(values))
    half = t_quantile(len(values), level) * spread
    return mean(values) - half, mean(values) + half
