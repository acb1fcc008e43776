"""Two configurations of one workload -> ratios and differences with intervals, and verdicts over the whole family."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from fluxkit import stats
from fluxkit.comparison import Contrast, Quantity, VerdictWord
from fluxkit.estimates import cluster_means
from fluxkit.measures import worst

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fluxkit.comparison import Row
    from fluxkit.measures import Estimate
    from fluxkit.record import RunResult

MIN_HELD_OUT = 8
"""With fewer held-out photos a held-out score is indicative and decides nothing."""
KEYS = {"training_speed": "training_iterations_per_second", "inference_speed": "inference_image_steps_per_second"}
WORDS: dict[str, tuple[VerdictWord, VerdictWord]] = {
    "training_speed": ("faster", "slower"),
    "inference_speed": ("faster", "slower"),
    "psnr_db": ("better", "worse"),
    "ssim": ("better", "worse"),
    "validation_loss": ("worse", "better"),
}
COST_WORDS: tuple[VerdictWord, VerdictWord] = ("dearer", "cheaper")


class Side(NamedTuple):
    """One configuration in a contrast."""

    row: Row
    results: Sequence[RunResult]


class Test(NamedTuple):
    """A contrast before the family's adjustment."""

    quantity: Quantity
    first: Side
    second: Side
    scale: Literal["ratio", "difference"]
    value: float | None
    effects: tuple[stats.Effect, ...]
    """All of them must agree: over images and over runs for quality, over runs alone for the others."""
    margin: tuple[float, float]
    runs: tuple[tuple[float, ...], tuple[float, ...]]
    """Run values on the scale of the test."""
    blocked: str | None
    """Why there can be no verdict, whatever the numbers."""

    def p_value(self) -> float | None:
        """The largest p of the effects: an intersection-union test needs no further adjustment inside itself."""
        return max(effect.p_value() for effect in self.effects) if self.effects else None


def key_of(quantity: Quantity) -> str:
    """The summary metric or cost that a quantity compares."""
    return KEYS.get(quantity, quantity)


def contrasts(sides: Sequence[Side], held_out_clusters: int) -> tuple[Contrast, ...]:
    """Every quantity of every pair of configurations, with p values adjusted over all of them."""
    quantities: tuple[Quantity, ...] = get_args(Quantity)
    pairs = itertools.combinations([side for side in sides if side.results], 2)
    clusters = {
        (side.row.key, quantity): cluster_means(side.results, quantity)
        for side in sides
        for quantity in ("psnr_db", "ssim", "validation_loss")
    }
    tests = [
        _test(quantity, first, second, clusters, held_out_clusters)
        for first, second in pairs
        for quantity in quantities
    ]
    tests = [test for test in tests if test.value is not None]
    p_values = [test.p_value() for test in tests]
    adjusted = iter(stats.holm([p for p in p_values if p is not None]))
    family = sum(p is not None for p in p_values)
    return tuple(
        _contrast(test, p, None if p is None else next(adjusted), family)
        for test, p in zip(tests, p_values, strict=True)
    )


def _test(
    quantity: Quantity,
    first: Side,
    second: Side,
    clusters: Mapping[tuple[str, str], dict[str, float]],
    held_out_clusters: int,
) -> Test:
    a, b = (side.row.estimate(key_of(quantity)) for side in (first, second))
    if quantity not in {"psnr_db", "ssim", "validation_loss"}:
        return _ratio_test(quantity, first, second, a, b)
    images = stats.paired(clusters[first.row.key, quantity], clusters[second.row.key, quantity])
    runs = stats.welch(a.values, b.values)
    effects = (images, runs) if images and runs else ()
    value = a.mean - b.mean if a.mean is not None and b.mean is not None else None
    blocked = _blocked(first, second, a, b)
    if quantity == "validation_loss" and held_out_clusters < MIN_HELD_OUT:
        blocked = blocked or f"indicative: only {held_out_clusters} held-out photos, {MIN_HELD_OUT} are the least"
    if runs and not images:
        blocked = blocked or f"fewer than {stats.MIN_VALUES} independent images were scored in both"
    margin = _quality_margin(quantity, a, b)
    return Test(quantity, first, second, "difference", value, effects, margin, (a.values, b.values), blocked)


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
        blocked=_blocked(first, second, a, b),
    )


def _quality_margin(quantity: Quantity, a: Estimate, b: Estimate) -> tuple[float, float]:
    if quantity == "validation_loss":
        margin = stats.LOSS_MARGIN * stats.mean([a.mean or 0.0, b.mean or 0.0])
    else:
        margin = stats.PSNR_MARGIN_DB if quantity == "psnr_db" else stats.SSIM_MARGIN
    return -margin, margin


def _blocked(first: Side, second: Side, a: Estimate, b: Estimate) -> str | None:
    unusable = [side.row.name for side, estimate in ((first, a), (second, b)) if estimate.grade == "X"]
    if unusable:
        return f"graded X: {', '.join(unusable)}"
    counts = [(side.row.name, len(estimate.values)) for side, estimate in ((first, a), (second, b))]
    few = [f"{name} has {count} run{'s' if count > 1 else ''}" for name, count in counts if count < stats.MIN_VALUES]
    if few:
        return f"{' and '.join(few)}, and an interval needs {stats.MIN_VALUES}"
    return None


def _contrast(test: Test, p_value: float | None, p_holm: float | None, family: int) -> Contrast:
    verdict, reason = _verdict(test, p_holm)
    a, b = (side.row.estimate(key_of(test.quantity)) for side in (test.first, test.second))
    return Contrast(
        quantity=test.quantity,
        first=test.first.row.key,
        second=test.second.row.key,
        scale=test.scale,
        value=test.value,
        interval=_interval(test),
        p_value=p_value,
        p_holm=p_holm,
        verdict=verdict,
        reason=reason,
        further_runs=stats.further_runs(*test.runs, test.margin, family) if verdict == "inconclusive" else None,
        together=together(test.first.results, test.second.results),
        grade=worst((a.grade, b.grade)),
    )


def _interval(test: Test) -> stats.Interval | None:
    """The widest of the effects' intervals: what all of them leave open."""
    if not test.effects:
        return None
    if test.scale == "ratio":
        return stats.ratio_interval(test.effects[0])
    return max((effect.interval() for effect in test.effects), key=lambda interval: interval.high - interval.low)


def _verdict(test: Test, p_holm: float | None) -> tuple[VerdictWord, str | None]:
    if test.blocked or p_holm is None:
        return "inconclusive", test.blocked or "no interval could be made"
    sides = {stats.verdict(effect, p_holm, test.margin) for effect in test.effects}
    side = sides.pop() if len(sides) == 1 else "inconclusive"
    if side == "equivalent":
        return "equivalent", None
    above, below = WORDS.get(test.quantity, COST_WORDS)
    if side in {"above", "below"}:
        return (above if side == "above" else below), None
    return "inconclusive", "the spread of runs or images is too large for a verdict"


def together(first: Sequence[RunResult], second: Sequence[RunResult]) -> bool:
    """Whether both were measured in one study on one machine, in its random order."""
    return len({(result.study, result.system.before.fingerprint("cpu", 1)) for result in (*first, *second)}) == 1
