"""Two configurations of one workload -> ratios and differences with intervals, and verdicts over the whole family."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from fluxkit import stats
from fluxkit.compare.comparison import Contrast, Quantity, VerdictWord
from fluxkit.compare.quality_pairs import SCORED, gap, photos_by_seed
from fluxkit.spec.workload import MIN_HELD_OUT
from fluxkit.trust.estimate import worst
from fluxkit.units import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fluxkit.compare.comparison import Row
    from fluxkit.compare.quality_pairs import Photos
    from fluxkit.compare.side import Side
    from fluxkit.record.result import RunResult
    from fluxkit.trust.estimate import Estimate

KEYS = {"training_speed": "training_iterations_per_second", "inference_speed": "inference_image_steps_per_second"}
WORDS: dict[str, tuple[VerdictWord, VerdictWord]] = {
    "training_speed": ("faster", "slower"),
    "inference_speed": ("faster", "slower"),
    "psnr_db": ("better", "worse"),
    "ssim": ("better", "worse"),
    "psnr_db_at_iterations": ("better", "worse"),
    "ssim_at_iterations": ("better", "worse"),
    "validation_loss": ("worse", "better"),
    "peak_memory_bytes": ("larger", "smaller"),
}
COST_WORDS: tuple[VerdictWord, VerdictWord] = ("dearer", "cheaper")


class Test(NamedTuple):
    """A contrast before the family's adjustment."""

    quantity: Quantity
    first: Side
    second: Side
    scale: Literal["ratio", "difference"]
    value: float | None
    effects: tuple[stats.Effect, ...]
    """All of them must agree: over runs, and for quality over images too, with one estimate."""
    margin: tuple[float, float]
    runs: tuple[tuple[float, ...], tuple[float, ...]]
    """Run values on the scale of the test."""
    barred: str | None
    """Why there can be no verdict, however many runs there are."""
    few: str | None = None
    """Which side has too few runs."""
    apart: bool = False
    """Whether the numbers may not even stand in a ratio."""

    def p_value(self) -> float:
        """The largest p of the effects: an intersection-union test needs no further adjustment inside itself."""
        return max(effect.p_value() for effect in self.effects)

    def equivalence_p_value(self) -> float:
        """The largest p of lying outside the band, likewise."""
        return max(effect.equivalence_p_value(*self.margin) for effect in self.effects)


class Adjusted(NamedTuple):
    """The p values of a contrast, each adjusted for all contrasts of the workload."""

    difference: float
    equivalence: float


def key_of(quantity: Quantity) -> str:
    """The summary metric or cost that a quantity compares."""
    return KEYS.get(quantity, quantity)


def contrasts(sides: Sequence[Side], held_out_clusters: int) -> tuple[Contrast, ...]:
    """Every quantity of every pair of configurations, with p values adjusted over all of them."""
    quantities: tuple[Quantity, ...] = get_args(Quantity)
    pairs = itertools.combinations([side for side in sides if side.results], 2)
    photos = {(side.row.key, quantity): photos_by_seed(side.results, quantity) for side in sides for quantity in SCORED}
    tests = [
        _test(quantity, first, second, photos, held_out_clusters) for first, second in pairs for quantity in quantities
    ]
    tests = [test for test in tests if test.value is not None or test.apart]
    tested = [test for test in tests if test.effects]
    differences = iter(stats.holm([test.p_value() for test in tested]))
    equivalences = iter(stats.holm([test.equivalence_p_value() for test in tested]))
    return tuple(
        _contrast(test, Adjusted(next(differences), next(equivalences)) if test.effects else None, len(tested))
        for test in tests
    )


def _test(
    quantity: Quantity,
    first: Side,
    second: Side,
    photos: Mapping[tuple[str, str], Sequence[Photos]],
    held_out_clusters: int,
) -> Test:
    a, b = (side.row.estimate(key_of(quantity)) for side in (first, second))
    if why := uncertified(first, second):
        measured = a.mean is not None and b.mean is not None
        return Test(quantity, first, second, "ratio", None, (), (0.0, 0.0), ((), ()), why, apart=measured)
    if quantity not in SCORED:
        return _ratio_test(quantity, first, second, a, b)
    found = gap(photos[first.row.key, quantity], photos[second.row.key, quantity])
    barred = _barred(quantity, first, second, a, b)
    if quantity == "validation_loss" and held_out_clusters < MIN_HELD_OUT:
        barred = barred or f"indicative: only {held_out_clusters} held-out photos, {MIN_HELD_OUT} are the least"
    barred = barred or _few_seeds(first, second)
    if found.seeds and not found.images:
        barred = barred or f"fewer than {stats.MIN_VALUES} independent images were scored in both"
    return Test(
        quantity=quantity,
        first=first,
        second=second,
        scale="difference",
        value=found.value,
        effects=(found.seeds, found.images) if found.seeds and found.images else (),
        margin=_quality_margin(quantity, a, b),
        runs=found.runs,
        barred=barred,
        few=_few(first, second, a, b),
    )


def _ratio_test(quantity: Quantity, first: Side, second: Side, a: Estimate, b: Estimate) -> Test:
    effect = stats.log_ratio(a.values, b.values)
    value = a.mean / b.mean if a.mean is not None and b.mean else None
    logs = tuple(tuple(math.log(value) for value in each.values if value > 0) for each in (a, b))
    return Test(
        quantity=quantity,
        first=first,
        second=second,
        scale="ratio",
        value=math.exp(effect.estimate) if effect else value,
        effects=(effect,) if effect else (),
        margin=stats.log_margin(),
        runs=(logs[0], logs[1]),
        barred=_barred(quantity, first, second, a, b),
        few=_few(first, second, a, b),
    )


def _quality_margin(quantity: Quantity, a: Estimate, b: Estimate) -> tuple[float, float]:
    if quantity == "validation_loss":
        margin = stats.LOSS_MARGIN * stats.mean([a.mean or 0.0, b.mean or 0.0])
    else:
        margin = stats.PSNR_MARGIN_DB if quantity.startswith("psnr_db") else stats.SSIM_MARGIN
    return -margin, margin


def _metered(row: Row, quantity: Quantity) -> bool:
    """Whether a cost holds the price of the energy, where one is given at all."""
    return bool(row.usd_per_kwh and row.bases[quantity].joules.values)


def _barred(quantity: Quantity, first: Side, second: Side, a: Estimate, b: Estimate) -> str | None:
    unusable = [f"“{side.row.name}”" for side, estimate in ((first, a), (second, b)) if estimate.grade == "X"]
    if unusable:
        return f"graded X: {', '.join(unusable)}"
    if quantity.startswith("usd_") and _metered(first.row, quantity) != _metered(second.row, quantity):
        return "the price of energy is in one of the two costs alone"
    return None


def _few(first: Side, second: Side, a: Estimate, b: Estimate) -> str | None:
    """Which side has too few runs for an interval."""
    counts = [(side.row.name, len(estimate.values)) for side, estimate in ((first, a), (second, b))]
    few = [f"“{name}” has {counted(count, 'run')}" for name, count in counts if count < stats.MIN_VALUES]
    if few:
        return f"{' and '.join(few)}, and an interval needs {stats.MIN_VALUES}"
    return None


def _few_seeds(first: Side, second: Side) -> str | None:
    """Which side has runs enough, but of too few seeds: they share their luck, however many there are."""
    counts = [(side, len({result.seed for result in side.results})) for side in (first, second)]
    few = [
        f"“{side.row.name}” has {len(side.results)} runs of {counted(count, 'seed')}"
        for side, count in counts
        if count < min(stats.MIN_VALUES, len(side.results))
    ]
    return f"{' and '.join(few)}, and an interval of quality needs {stats.MIN_VALUES} seeds" if few else None


def _contrast(test: Test, adjusted: Adjusted | None, family: int) -> Contrast:
    verdict, reason = _verdict(test, adjusted, family)
    a, b = (side.row.estimate(key_of(test.quantity)) for side in (test.first, test.second))
    return Contrast(
        quantity=test.quantity,
        first=test.first.row.key,
        second=test.second.row.key,
        scale=test.scale,
        value=test.value,
        interval=_interval(test, stats.EQUIVALENCE_LEVEL if verdict == "equivalent" else stats.LEVEL),
        p_value=test.p_value() if test.effects else None,
        p_holm=adjusted.difference if adjusted else None,
        equivalence_p_holm=adjusted.equivalence if adjusted else None,
        verdict=verdict,
        reason=reason,
        further_runs=_further_runs(test, family) if verdict == "inconclusive" else None,
        together=together(test.first.results, test.second.results),
        grade=worst((a.grade, b.grade)),
    )


def _further_runs(test: Test, family: int) -> int | None:
    """None where more runs would decide nothing: what bars the verdict must be mended first."""
    return None if test.barred else stats.further_runs(*test.runs, test.margin, family, _images(test))


def _images(test: Test) -> stats.Effect | None:
    return test.effects[1] if len(test.effects) > 1 else None


def _interval(test: Test, level: float) -> stats.Interval | None:
    """The widest of the effects' intervals: what all of them leave open."""
    if not test.effects:
        return None
    if test.scale == "ratio":
        return stats.ratio_interval(test.effects[0], level)
    return max((effect.interval(level) for effect in test.effects), key=lambda interval: interval.high - interval.low)


def _verdict(test: Test, adjusted: Adjusted | None, family: int) -> tuple[VerdictWord, str | None]:
    if test.barred or test.few or adjusted is None:
        return "inconclusive", test.barred or test.few or "no interval could be made"
    sides = {stats.verdict(effect, *adjusted) for effect in test.effects}
    side = sides.pop() if len(sides) == 1 else "inconclusive"
    if side == "equivalent":
        return "equivalent", None
    above, below = WORDS.get(test.quantity, COST_WORDS)
    if side in {"above", "below"}:
        return (above if side == "above" else below), None
    return "inconclusive", _why_open(test, family)


def _why_open(test: Test, family: int) -> str:
    """What leaves it open: the adjustment for the family where it is decided by itself, else the spread."""
    images = _images(test)
    side = stats.joint_verdict(test.effects, test.margin)
    alone = side != "inconclusive"
    word = "equivalent" if side == "equivalent" else "a difference"
    by_itself = f"by itself it would be {word}, but not among all {family} comparisons of this workload (Holm)"
    if images and stats.joint_verdict((images,), test.margin, family) == "inconclusive":
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


def together(first: Sequence[RunResult], second: Sequence[RunResult]) -> bool:
    """Whether both were measured in one study on one machine, in its random order."""
    return len({(result.study, result.system.before.fingerprint("cpu", 1)) for result in (*first, *second)}) == 1
