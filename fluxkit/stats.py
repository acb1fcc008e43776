"""Rates, spread, intervals and verdicts from tuples of floats."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

MIN_VALUES = 3
"""An interval needs at least so many values; with fewer, spread is a guess."""
LEVEL = 0.95
ALPHA = 0.05
EQUIVALENCE_LEVEL = 1 - 2 * ALPHA
"""Of the interval that lies inside the margin where two one-sided tests at 5 % say equivalent."""
SPEED_MARGIN = 0.02
"""Two speeds within 2 % of each other are equivalent."""
PSNR_MARGIN_DB = 0.5
SSIM_MARGIN = 0.01
LOSS_MARGIN = 0.01
"""As a share of the loss itself."""
MAX_FURTHER_RUNS = 100
LARGEST_LOG = 700.0
"""Its exponential is still a finite number."""

Decision = Literal["above", "below", "equivalent", "inconclusive"]


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

    def p_value(self) -> float:
        """Two-sided p of no difference at all."""
        if self.standard_error == 0:
            return 1.0 if self.estimate == 0 else 0.0
        return min(1.0, 2 * _upper_tail(abs(self.estimate) / self.standard_error, self.degrees))

    def equivalence_p_value(self, low: float, high: float) -> float:
        """The larger p of two one-sided tests: that the difference is below `low`, or above `high`.

        Source: Schuirmann, J. Pharmacokinet. Biopharm. 15 (1987) 657.
        """
        if self.standard_error == 0:
            return 0.0 if low < self.estimate < high else 1.0
        above = _upper_tail((self.estimate - low) / self.standard_error, self.degrees)
        below = _upper_tail((high - self.estimate) / self.standard_error, self.degrees)
        return max(above, below)


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


def paired(first: Mapping[str, float], second: Mapping[str, float]) -> Effect | None:
    """First minus second over shared clusters of images; None below 3 of them.

    Each value is the mean of one cluster: crops of one photo are not independent, so they count once.
    """
    shared = sorted(first.keys() & second.keys())
    return one_sample([first[cluster] - second[cluster] for cluster in shared])


def ratio_interval(effect: Effect, level: float = LEVEL) -> Interval:
    """The interval of an effect on the log scale, as a ratio."""
    logs = effect.interval(level)
    low, high = (math.exp(max(-LARGEST_LOG, min(end, LARGEST_LOG))) for end in (logs.low, logs.high))
    return Interval(low=low, high=high, level=level)


def log_margin(share: float = SPEED_MARGIN) -> tuple[float, float]:
    """The band of equivalence around ratio 1, on the log scale: 1 - share to 1 + share."""
    return math.log1p(-share), math.log1p(share)


def verdict(effect: Effect | None, p_difference: float, p_equivalence: float) -> Decision:
    """Equivalent if its p is below 5 %, else the side that the difference's p supports, if any.

    Each p is adjusted for its own family: that of all differences, and that of all equivalences.
    """
    if effect is None:
        return "inconclusive"
    if p_equivalence < ALPHA:
        return "equivalent"
    if p_difference < ALPHA:
        return "above" if effect.estimate > 0 else "below"
    return "inconclusive"


def joint_verdict(effects: Sequence[Effect], margin: tuple[float, float], family: int = 1) -> Decision:
    """The verdict that every one of the effects supports, each p times the number of tests of its family.

    Source: Berger, Technometrics 24 (1982) 295: tests that all have to reject need no adjustment among themselves.
    """
    difference = min(1.0, family * max(effect.p_value() for effect in effects))
    equivalence = min(1.0, family * max(effect.equivalence_p_value(*margin) for effect in effects))
    sides = {verdict(effect, difference, equivalence) for effect in effects}
    return sides.pop() if len(sides) == 1 else "inconclusive"


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """P values adjusted for a family of tests, in the given order.

    Source: Holm, Scand. J. Statist. 6 (1979) 65.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return tuple(adjusted)


def further_runs(
    first: Sequence[float],
    second: Sequence[float],
    margin: tuple[float, float],
    family: int = 1,
    images: Effect | None = None,
) -> int | None:
    """Runs more of each side that would decide, if means and spread stay as they are; None: unknown or over 100.

    Values are on the scale of the test (logarithms for ratios); `family` is the number of tests of the Holm family;
    `images` has to support the verdict too, and more runs do not shrink its spread.
    """
    if min(len(first), len(second)) < MIN_VALUES:
        return MIN_VALUES - min(len(first), len(second))
    if images and joint_verdict((images,), margin, family) == "inconclusive":
        return None
    difference = mean(first) - mean(second)
    spread = (standard_deviation(first), standard_deviation(second))
    for more in range(1, MAX_FURTHER_RUNS + 1):
        runs = _welch(difference, spread, (len(first) + more, len(second) + more))
        if joint_verdict((runs, images) if images else (runs,), margin, family) != "inconclusive":
            return more
    return None


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


def _upper_tail(t: float, degrees: float) -> float:
    from scipy.special import stdtr

    return float(stdtr(degrees, -t))
