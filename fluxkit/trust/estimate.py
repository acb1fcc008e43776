"""The numbers of a row: each with the runs it rests on, its interval and its grade, and what it was made of."""

import math
from collections.abc import Iterable, Sequence

from pydantic import ConfigDict, Field

from fluxkit import stats
from fluxkit.record.metrics import Metric, Subject
from fluxkit.record.result import EnergyClass, Grade, RunResult
from fluxkit.spec.execution import InferencePrecision
from fluxkit.stats import Interval
from fluxkit.values import Frozen

NOT_MEASURED = "not measured"
GRADES: tuple[Grade, ...] = ("A", "B", "C", "X")
"""From sound to unusable."""


class Estimate(Frozen):
    """A number with what it rests on: one value per run, of quality one per seed, an interval from 3 on, a grade."""

    mean: float | None = None
    """Arithmetic; of a ratio to something else than a unit (a share, predicted / measured) geometric."""
    values: tuple[float, ...] = ()
    interval: Interval | None = None
    """Student's 95 % interval over the values; of a ratio, on the log scale."""
    grade: Grade | None = None
    """Worst of the findings about it, A where there are none; null where there is no run."""
    reason: str | None = None
    """Why there is no value, or what is missing of it."""


class CostBasis(Frozen):
    """What one unit of work takes: USD = usd_per_hour x seconds / 3,600 + usd_per_kwh x joules / 3,600,000.

    Both sums are linear, so the mean cost follows from the means, and a page can price it again by itself.
    """

    per: str
    """The unit of work, in words: `1,000 iterations`."""
    seconds: Estimate
    """Of the whole instance."""
    joules: Estimate
    """Gross energy of the devices that did the work; without values where the runs do not all have it."""


class EnergyUse(Frozen):
    """Energy of the devices that did the work, over the runs of a row."""

    model_config = ConfigDict(populate_by_name=True)
    class_: EnergyClass = Field(alias="class")
    """The weakest among the runs that have a value."""
    source: str | None
    reason: str | None
    """Why there is no value, or why not a better one."""
    idle_watts: Estimate
    gross_joules: dict[str, Estimate]
    """Of the whole `run`, and of its phases `tune` and `inference`."""
    net_joules: dict[str, Estimate]
    """The same, less what the idle devices would have used."""


class Certificate(Frozen):
    """How far a row's devices lie from the float64 reference in one precision, at the worst of all runs and ranks."""

    precision: InferencePrecision
    probes: int
    """Runs times ranks."""
    passed: bool
    relative_l2: float | None
    """Null where a probe gave no finite number."""
    largest_error: float | None
    loss_error: float | None
    latents_psnr_db: float | None
    departures: tuple[str, ...]
    """What is outside of the precision's band, in words."""


class Target(Frozen):
    """A PSNR that configurations are timed against, the same for all rows of a workload."""

    psnr_db: float | None
    """Of the reconstruction protocol; null where there is no sensible one."""
    origin: str
    """Where it comes from, or why there is none."""
    grade: Grade | None = None
    """Of the scores that it was made of; null where the reader gave it."""


class TimeToTarget(Frozen):
    """Tuning time until a configuration first passes the target and stays above it at the next evaluation point."""

    seconds: float | None
    """The time that was given for that point, or the mean tuning time after so many iterations.

    Null: the target was missed, so it is longer than `looked_seconds`.
    """
    since_seconds: float | None = None
    """The same of the evaluation point before, where it had not passed: the truth lies between the two."""
    mark: str | None
    iteration: float | None
    samples: float | None
    looked_seconds: float
    """The same of the last evaluation point."""
    bounded: bool
    """Whether the one-sided 95 % lower bound over seeds had to pass; below 3 of them it is the mean."""
    values: tuple[float | None, ...]
    """Seconds of each run by its own mean over images; null: that run missed."""
    grade: Grade | None


def worst(grades: tuple[Grade | None, ...]) -> Grade | None:
    """The worst grade of several; None if there is none."""
    return max((grade for grade in grades if grade is not None), key=GRADES.index, default=None)


def grade_about(results: Iterable[RunResult], *subjects: Subject) -> Grade | None:
    """Worst grade of the checks about some subjects; what is said about the run is said about each of its numbers.

    A run about which nothing was found is sound; None only where there is no run.
    """
    grades: list[Grade | None] = []
    for result in results:
        grades += ["A", *(check.grade for check in result.checks if check.subject in {*subjects, "run"})]
    return worst(tuple(grades))


def grade_of(results: Iterable[RunResult], metric: Metric) -> Grade | None:
    """Worst grade of the checks about a metric and about all that it is made with."""
    return grade_about(results, metric.subject, *metric.also)


def estimate(values: Sequence[float], grade: Grade | None = None, reason: str | None = None) -> Estimate:
    """Mean over runs with Student's interval; without values only the reason."""
    if not values:
        return Estimate(grade=grade, reason=reason or NOT_MEASURED)
    return Estimate(
        mean=stats.mean(values), values=tuple(values), interval=stats.t_interval(values), grade=grade, reason=reason
    )


def ratio_estimate(values: Sequence[float], grade: Grade | None = None, reason: str | None = None) -> Estimate:
    """Geometric mean over runs of a ratio above 0, with Student's interval of its logarithms, which stays above 0."""
    if not values:
        return estimate((), grade, reason)
    if min(values) <= 0:
        return Estimate(grade=grade, reason="a ratio of 0 or less has no geometric mean")
    logs = [math.log(value) for value in values]
    effect = stats.one_sample(logs)
    return Estimate(
        mean=math.exp(stats.mean(logs)),
        values=tuple(values),
        interval=stats.ratio_interval(effect) if effect else None,
        grade=grade,
        reason=reason,
    )


def known(values: Iterable[float | None]) -> list[float]:
    """The values that are there."""
    return [value for value in values if value is not None]
