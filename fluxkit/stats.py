"""Rates, spread and intervals from tuples of floats."""

import functools
import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

MIN_VALUES = 3
"""An interval needs at least so many values; with fewer, spread is a guess."""
LEVEL = 0.95
ALPHA = 0.05
SPEED_MARGIN = 0.02
"""Two speeds within 2 % of each other are equivalent."""
PSNR_MARGIN_DB = 0.5
SSIM_MARGIN = 0.01
LOSS_MARGIN = 0.01
"""As a share of the loss itself."""
MAX_FURTHER_RUNS = 100
LARGEST_LOG = 700.0
"""Its exponential is still a finite number."""


class Interval(BaseModel):
    """A confidence interval."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    low: float
    high: float
    level: float = LEVEL
    """Share of such intervals that hold the true value."""


class Effect(BaseModel):
    """An estimated difference with its standard error and Student's degrees of freedom."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    estimate: float
    standard_error: float
    degrees: float

    def interval(self, level: float = LEVEL) -> Interval:
        """Student's interval around the estimate."""
        half = self.standard_error * _quantile(0.5 + level / 2, self.degrees)
        return Interval(low=self.estimate - half, high=self.estimate + half, level=level)

    def lower_bound(self, level: float = LEVEL) -> float:
        """The estimate is above this with one-sided confidence `level`."""
        return self.estimate - self.standard_error * _quantile(level, self.degrees)


def rate(count: float, total_seconds: float) -> float:
    """Events per second: count / total seconds, the one definition of a rate in fluxkit.

    Raises:
        ValueError: the time is not positive.
    """
    if not total_seconds > 0:
        raise ValueError(f"a rate needs a positive time, not {total_seconds} s")
    return count / total_seconds


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean, summed without rounding on the way."""
    return math.fsum(values) / len(values)


def standard_deviation(values: Sequence[float]) -> float:
    """Sample standard deviation (n - 1); 0 for a single value."""
    if len(values) < 2:  # noqa: PLR2004 - spread begins with two values
        return 0.0
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def t_interval(values: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Student's interval of the mean of independent values; None below 3 of them."""
    effect = one_sample(values)
    return effect.interval(level) if effect else None


def one_sample(values: Sequence[float]) -> Effect | None:
    """The mean of independent values as an effect; None below 3 of them."""
    if len(values) < MIN_VALUES:
        return None
    error = standard_deviation(values) / math.sqrt(len(values))
    return Effect(estimate=mean(values), standard_error=error, degrees=len(values) - 1)


def welch(first: Sequence[float], second: Sequence[float]) -> Effect | None:
    """Mean of `first` minus mean of `second`, variances not assumed equal; None below 3 values on a side.

    Source: Welch, Biometrika 34 (1947) 28; degrees of freedom after Satterthwaite.
    """
    if min(len(first), len(second)) < MIN_VALUES:
        return None
    spread = (standard_deviation(first), standard_deviation(second))
    return _welch(mean(first) - mean(second), spread, (len(first), len(second)))


def log_ratio(first: Sequence[float], second: Sequence[float]) -> Effect | None:
    """log(first / second) of two sets of positive run rates, by Welch; None below 3 runs on a side."""
    if min((*first, *second), default=0) <= 0:
        return None
    return welch([math.log(value) for value in first], [math.log(value) for value in second])


def ratio_interval(effect: Effect, level: float = LEVEL) -> Interval:
    """The interval of an effect on the log scale, as a ratio."""
    return exponential(effect.interval(level))


def exponential(logs: Interval) -> Interval:
    """An interval of logarithms as one of what they are of."""
    low, high = (math.exp(max(-LARGEST_LOG, min(end, LARGEST_LOG))) for end in (logs.low, logs.high))
    return Interval(low=low, high=high, level=logs.level)


def log_margin(share: float = SPEED_MARGIN) -> tuple[float, float]:
    """The band of equivalence around ratio 1, on the log scale: 1 - share to 1 + share."""
    return math.log1p(-share), math.log1p(share)


def _welch(difference: float, spread: tuple[float, float], counts: tuple[int, int]) -> Effect:
    parts = [deviation**2 / count for deviation, count in zip(spread, counts, strict=True)]
    below = math.fsum(part**2 / (count - 1) for part, count in zip(parts, counts, strict=True))
    degrees = math.fsum(parts) ** 2 / below if below > 0 else float(sum(counts) - 2)
    return Effect(estimate=difference, standard_error=math.sqrt(math.fsum(parts)), degrees=degrees)


def t_quantile(count: int, level: float = LEVEL) -> float:
    """Half-width of Student's interval of a mean over `count` values / its standard error."""
    return _quantile(0.5 + level / 2, count - 1)


@functools.cache
def _quantile(share: float, degrees: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(degrees, share))
