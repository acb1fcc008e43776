"""Two configurations of one workload -> ratios and differences with intervals, and verdicts over the whole family."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from fluxkit import stats
from fluxkit.compare.comparison import Contrast
from fluxkit.compare.quality_pairs import Gap, Photos, diverged_at, gap, photos_by_seed
from fluxkit.compare.ranking import worse_than_untuned
from fluxkit.compare.side import Side
from fluxkit.record.metrics import CONTRASTED, Metric
from fluxkit.record.result import RunResult
from fluxkit.spec.workload import MIN_HELD_OUT
from fluxkit.trust.estimate import Estimate, worst
from fluxkit.units import counted


class Test(NamedTuple):
    """A contrast before the family's adjustment."""

    metric: Metric
    first: Side
    second: Side
    scale: Literal["ratio", "difference"]
    value: float | None = None
    effects: tuple[stats.Effect, ...] = ()
    """All of them must agree: over runs, and for quality over images too, with one estimate."""
    margin: tuple[float, float] = (0.0, 0.0)
    runs: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
    """Run values on the scale of the test."""
    barred: str | None = None
    """Why there can be no verdict, however many runs there are."""
    few: str | None = None
    """Which side has too few runs."""
    certified: bool = True
    """Whether both are certified to compute the same."""

    @property
    def estimates(self) -> tuple[Estimate, Estimate]:
        """Of both sides."""
        return self.first.row.estimate(self.metric.key), self.second.row.estimate(self.metric.key)

    @property
    def images(self) -> stats.Effect | None:
        """The effect over images, of quality alone."""
        return self.effects[1] if len(self.effects) > 1 else None

    def p_value(self) -> float:
        """The largest p of the effects: an intersection-union test needs no further adjustment inside itself."""
        return max(effect.p_value() for effect in self.effects)

    def equivalence_p_value(self) -> float:
        """The largest p of lying outside the band, likewise."""
        return max(effect.equivalence_p_value(*self.margin) for effect in self.effects)


def contrasts(sides: Sequence[Side], held_out_clusters: int) -> tuple[Contrast, ...]:
    """Every contrasted metric of every pair of configurations, with p values adjusted over all of them."""
    measured = [side for side in sides if side.results]
    photos = {
        (side.row.key, metric.key): photos_by_seed(side.results, metric.scored)
        for side in measured
        for metric in CONTRASTED
        if metric.scored
    }
    tests = [
        test
        for first, second in itertools.combinations(measured, 2)
        for metric in CONTRASTED
        if (test := _test(metric, first, second, photos, held_out_clusters))
    ]
    tested = [test for test in tests if test.effects]
    differences = stats.holm([test.p_value() for test in tested])
    equivalences = stats.holm([test.equivalence_p_value() for test in tested])
    adjusted = iter(zip(differences, equivalences, strict=True))
    return tuple(_contrast(test, next(adjusted) if test.effects else None, len(tested)) for test in tests)


def _test(
    metric: Metric,
    first: Side,
    second: Side,
    photos: Mapping[tuple[str, str], Sequence[Photos]],
    held_out_clusters: int,
) -> Test | None:
    """None where one of the two has no value; where one diverged there is a contrast without a value that says so."""
    test = Test(metric, first, second, "difference" if metric.scored else "ratio")
    if None in {estimate.mean for estimate in test.estimates}:
        sides = [side for side in (first, second) if any(diverged_at(result, metric) for result in side.results)]
        words = f"diverged: {' and '.join(f'“{side.row.name}”' for side in sides)}"
        return test._replace(barred=words) if sides else None
    if why := uncertified(first, second):
        return test._replace(scale="ratio", barred=why, certified=False)
    test = test._replace(barred=_barred(test), few=_few_runs(test))
    if metric.scored:
        scores = gap(photos[first.row.key, metric.key], photos[second.row.key, metric.key])
        test = _over_photos(test, scores, held_out_clusters if metric.scored.held_out else None)
    else:
        test = _over_runs(test)
    return test if test.value is not None else None


def _over_runs(test: Test) -> Test:
    """The ratio of both, on the log scale."""
    a, b = test.estimates
    effect = stats.log_ratio(a.values, b.values)
    value = a.mean / b.mean if a.mean is not None and b.mean else None
    one, other = (tuple(math.log(value) for value in side.values if value > 0) for side in (a, b))
    return test._replace(
        value=math.exp(effect.estimate) if effect else value,
        effects=(effect,) if effect else (),
        margin=stats.log_margin(test.metric.margin),
        runs=(one, other),
    )


def _over_photos(test: Test, scores: Gap, held_out_clusters: int | None) -> Test:
    """The difference of both; `held_out_clusters` are the independent photos of a held-out score."""
    barred = test.barred
    if held_out_clusters is not None and held_out_clusters < MIN_HELD_OUT:
        barred = barred or f"indicative: only {held_out_clusters} held-out photos, {MIN_HELD_OUT} are the least"
    barred = barred or _few_seeds(test)
    if scores.seeds and not scores.images:
        barred = barred or f"fewer than {stats.MIN_VALUES} independent images were scored in both"
    margin = test.metric.margin
    if test.metric.relative:
        margin *= stats.mean([estimate.mean or 0.0 for estimate in test.estimates])
    return test._replace(
        value=scores.value,
        effects=(scores.seeds, scores.images) if scores.seeds and scores.images else (),
        margin=(-margin, margin),
        runs=scores.runs,
        barred=barred,
    )


def _barred(test: Test) -> str | None:
    metric, rows = test.metric, (test.first.row, test.second.row)
    unusable = [f"“{row.name}”" for row in rows if row.estimate(metric.key).grade == "X"]
    if unusable:
        return f"graded X: {', '.join(unusable)}"
    if all(worse_than_untuned(row, metric) for row in rows):
        return "both are worse than the untuned model"
    if metric.per and len({bool(row.usd_per_kwh and row.bases[metric.key].joules.values) for row in rows}) > 1:
        return "the price of energy is in one of the two costs alone"
    return None


def _few_runs(test: Test) -> str | None:
    """Which side has too few runs for an interval."""
    rows = (test.first.row, test.second.row)
    counts = [(row.name, len(row.estimate(test.metric.key).values)) for row in rows]
    few = [f"“{name}” has {counted(count, 'run')}" for name, count in counts if count < stats.MIN_VALUES]
    return f"{' and '.join(few)}, and an interval needs {stats.MIN_VALUES}" if few else None


def _few_seeds(test: Test) -> str | None:
    """Which side has runs enough, but of too few seeds: they share their luck, however many there are."""
    sides = (test.first, test.second)
    few = [f"“{side.row.name}” has {side.runs_of_few_seeds}" for side in sides if side.runs_of_few_seeds]
    return f"{' and '.join(few)}, and an interval of quality needs {stats.MIN_VALUES} seeds" if few else None


def _contrast(test: Test, adjusted: tuple[float, float] | None, family: int) -> Contrast:
    """`adjusted` are the p values of a difference and of equivalence, each adjusted for the workload's `family`."""
    verdict, reason = _verdict(test, adjusted, family)
    further_runs = None
    if verdict == "inconclusive" and not test.barred:  # what bars a verdict no further runs would mend
        further_runs = stats.further_runs(*test.runs, test.margin, family, test.images)
    return Contrast(
        quantity=test.metric.quantity,
        first=test.first.row.key,
        second=test.second.row.key,
        scale=test.scale,
        value=test.value,
        certified=test.certified,
        interval=_interval(test, stats.EQUIVALENCE_LEVEL if verdict == "equivalent" else stats.LEVEL),
        p_value=test.p_value() if test.effects else None,
        p_holm=adjusted[0] if adjusted else None,
        equivalence_p_holm=adjusted[1] if adjusted else None,
        verdict=verdict,
        reason=reason,
        further_runs=further_runs,
        together=_together(test.first.results, test.second.results),
        grade=worst(tuple(estimate.grade for estimate in test.estimates)),
    )


def _interval(test: Test, level: float) -> stats.Interval | None:
    """The widest of the effects' intervals: what all of them leave open."""
    if not test.effects:
        return None
    if test.scale == "ratio":
        return stats.ratio_interval(test.effects[0], level)
    return max((effect.interval(level) for effect in test.effects), key=lambda interval: interval.high - interval.low)


def _verdict(test: Test, adjusted: tuple[float, float] | None, family: int) -> tuple[str, str | None]:
    """The verdict about the first, and why it is inconclusive."""
    if test.barred or test.few or adjusted is None:
        return "inconclusive", test.barred or test.few or "no interval could be made"
    sides = {stats.verdict(effect, *adjusted) for effect in test.effects}
    side = sides.pop() if len(sides) == 1 else "inconclusive"
    if side == "inconclusive":
        return side, _why_open(test, family)
    above, below = test.metric.verdicts or ("", "")
    return {"equivalent": side, "above": above, "below": below}[side], None


def _why_open(test: Test, family: int) -> str:
    """What leaves it open: the adjustment for the family where it is decided by itself, else the spread."""
    side = stats.joint_verdict(test.effects, test.margin)
    alone = side != "inconclusive"
    word = "equivalent" if side == "equivalent" else "a difference"
    by_itself = f"by itself it would be {word}, but not among all {family} comparisons of this workload (Holm)"
    if test.images and stats.joint_verdict((test.images,), test.margin, family) == "inconclusive":
        why = by_itself if alone else "the images differ too much"
        return f"{why}: more images, not more runs, would decide"
    return by_itself if alone else "the spread between runs is too large for a verdict"


def uncertified(first: Side, second: Side) -> str | None:
    """Why two machines may not be compared: it must be certified that both compute the same. One machine always may."""
    if len({_machine(result) for result in (*first.results, *second.results)}) == 1:
        return None
    failed = [f"“{side.row.name}”" for side in (first, second) if side.row.agreement is False]
    if failed:
        return f"the agreement certificate failed: {', '.join(failed)}"
    lacking = [f"“{side.row.name}”" for side in (first, second) if side.row.agreement is None]
    return f"measured on two machines, and no agreement certificate of {' and of '.join(lacking)}" if lacking else None


def _machine(result: RunResult) -> tuple[str, tuple[str, ...]]:
    """What a machine is known by: its processor, cores and memory, and the GPUs that the run saw."""
    system = result.system.before
    return system.fingerprint("cpu", 1), tuple(sorted({device.name for device in system.devices_of("cuda")}))


def _together(first: Sequence[RunResult], second: Sequence[RunResult]) -> bool:
    """Whether both were measured in one study on one machine, in its random order."""
    return len({(result.study, result.system.before.fingerprint("cpu", 1)) for result in (*first, *second)}) == 1
