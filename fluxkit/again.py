"""Whether a run, done again, gave the same numbers: reproduced, drifted, or not comparable, and why."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import BaseModel, Field

from fluxkit.agreement import agreement_passed
from fluxkit.frozen import FROZEN
from fluxkit.measures import Subject, grade_about
from fluxkit.record import Grade
from fluxkit.stats import LEVEL, MIN_VALUES, PSNR_MARGIN_DB, SSIM_MARGIN, mean, standard_deviation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from fluxkit.plan import Plan
    from fluxkit.record import Kit, RunResult
    from fluxkit.system import System

SPEED_MARGINS = {"cuda": 0.02, "cpu": 0.05}
"""Shares of the original's speed: a CPU is moved more by what else it does."""
ROUNDING = 1e-9
"""Equal values whose mean was rounded are still equal."""
ABSENT = "none"


class Quantity(NamedTuple):
    """A number of the summary that is held against its original."""

    name: str
    unit: str
    margin: float | None
    """Allowed difference in its own unit; None: a share of a speed, by device."""
    subject: Subject = "quality"


QUANTITIES = (
    Quantity("training_iterations_per_second", "iterations/s", None, "training_speed"),
    Quantity("inference_image_steps_per_second", "image-steps/s", None, "inference_speed"),
    Quantity("psnr_db", "dB", PSNR_MARGIN_DB),
    Quantity("ssim", "", SSIM_MARGIN),
    Quantity("psnr_db_at_iterations", "dB", PSNR_MARGIN_DB),
    Quantity("ssim_at_iterations", "", SSIM_MARGIN),
    Quantity("validation_psnr_db", "dB", PSNR_MARGIN_DB),
    Quantity("validation_ssim", "", SSIM_MARGIN),
)


class Difference(BaseModel):
    """A row of spec, inputs or environment that is not the same."""

    model_config = FROZEN
    row: str
    original: str
    again: str


class Held(BaseModel):
    """A number against its band."""

    model_config = FROZEN
    name: str
    unit: str
    original: float
    again: float
    """Mean over the completed runs."""
    low: float
    high: float
    band: str
    """Where the band comes from."""
    inside: bool
    grade: Grade | None = None
    """The worst of both sides'; X is in no verdict."""


class Losses(BaseModel):
    """The losses of both trajectories, as far as both go."""

    model_config = FROZEN
    compared: int
    """Length of the shorter trajectory."""
    equal: bool
    """To the last bit."""
    promised: bool
    """Whether machine, threads, packages and FP32 promise that they are."""
    first_difference: int | None = None
    """Iteration, from 0."""


class Verdict(BaseModel):
    """What became of a run that was done again."""

    model_config = FROZEN
    schema_: Literal["fluxkit.rerun/1"] = Field(default="fluxkit.rerun/1", alias="schema")
    verdict: Literal["reproduced", "drifted", "not comparable"]
    original: str
    """Id of the original result."""
    again: tuple[str, ...]
    """Ids of the runs that were done now."""
    differences: tuple[Difference, ...]
    """What makes them not comparable."""
    numbers: tuple[Held, ...]
    losses: Losses | None


def judge(original: RunResult, again: Sequence[RunResult], repeats: Sequence[RunResult] = ()) -> Verdict:
    """The verdict about completed runs `again` of what `original` asked for.

    Args:
        original: the result that was given.
        again: what was run now, at least one.
        repeats: the original with the other completed repeats of its configuration.
    """
    differences = tuple(_unique(each for result in again for each in differences_of(original, result)))
    compared = [quantity for quantity in QUANTITIES if _has(quantity, original, again)]
    known = tuple(_held(quantity, original, again, repeats, len(compared)) for quantity in compared)
    losses = _losses(original, again)
    usable = [number for number in known if number.grade != "X"]
    off = any(not number.inside for number in usable) or (losses and losses.promised and not losses.equal)
    return Verdict(
        verdict="not comparable" if differences or not usable else "drifted" if off else "reproduced",
        original=original.id,
        again=tuple(result.id for result in again),
        differences=differences,
        numbers=known,
        losses=losses,
    )


def differences_of(original: RunResult, again: RunResult) -> list[Difference]:
    """Rows of what was asked, put in, and run on that are not equal in two results."""
    return differing(rows_of(original), rows_of(again))


def differing(before: Mapping[str, str], after: Mapping[str, str]) -> list[Difference]:
    """Rows that are not equal, or on one side only."""
    keys = dict.fromkeys((*before, *after))
    return [
        Difference(row=key, original=before.get(key, ABSENT), again=after.get(key, ABSENT))
        for key in keys
        if before.get(key, ABSENT) != after.get(key, ABSENT)
    ]


def rows_of(result: RunResult) -> dict[str, str]:
    """Everything that must be equal for one run to be the other done again."""
    inputs = result.inputs
    rows = environment_of(result) | {f"spec.{key}": value for key, value in _flat(_asked(result)).items()}
    rows["inputs.weights_sha256"] = inputs.weights_sha256[:12] if inputs else ABSENT
    rows["inputs.dataset_sha256"] = inputs.dataset_sha256[:12] if inputs else ABSENT
    definition = result.quality.definition if result.quality else {}
    rows |= {f"quality.{key}": str(value) for key, value in definition.items()}
    passed = agreement_passed(result)
    # Two runs that both failed are no more alike for it.
    rows["agreement"] = f"failed in run {result.id[:8]}" if passed is False else "not failed"
    return rows


def environment_of(result: RunResult) -> dict[str, str]:
    """`environment_rows` of a run."""
    return environment_rows(result.kit, result.plan, result.system.before)


def environment_rows(kit: Kit, plan: Plan, system: System) -> dict[str, str]:
    """Software, image and hardware of a run, known before it begins."""
    memory = [device.memory_bytes for device in system.devices_of(plan.device)[: plan.processes]]
    return {
        "kit.version": kit.version,
        "kit.image": kit.image or ABSENT,
        **{f"package.{name}": version for name, version in sorted(system.packages.items())},
        "device.names": ", ".join(plan.device_names),
        "device.memory_bytes": ", ".join(map(str, memory)),
        "device.usable_cores": str(system.number("cpu_usable_cores")) if plan.device == "cpu" else ABSENT,
        "plan.processes": str(plan.processes),
        "plan.threads_per_process": str(plan.threads_per_process),
        "plan.micro_batch_size": str(plan.micro_batch_size),
        "plan.inference_micro_batch_size": str(plan.inference_micro_batch_size),
    }


def _asked(result: RunResult) -> dict[str, object]:
    return {**result.spec.workload(), "execution": result.spec.execution.model_dump(mode="json")}


def _flat(tables: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in tables.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: str(value)}
    return flat


def _unique(differences: Iterator[Difference]) -> Iterator[Difference]:
    seen: set[str] = set()
    for each in differences:
        if each.row not in seen:
            seen.add(each.row)
            yield each


def _has(quantity: Quantity, original: RunResult, again: Sequence[RunResult]) -> bool:
    """Whether both sides have such a number."""
    return all(getattr(result.summary, quantity.name) is not None for result in (original, *again))


def _held(
    quantity: Quantity, original: RunResult, again: Sequence[RunResult], repeats: Sequence[RunResult], family: int
) -> Held:
    """One number against its band; the verdict needs `family` of them to be inside at once."""
    first = getattr(original.summary, quantity.name)
    values = [getattr(result.summary, quantity.name) for result in again]
    sound = [result for result in repeats if grade_about((result,), quantity.subject) != "X"]
    before = [value for result in sound if (value := getattr(result.summary, quantity.name)) is not None]
    low, high, band = _band(quantity, original, before, len(values), family)
    now, slack = mean(values), ROUNDING * abs(first)
    return Held(
        name=quantity.name, unit=quantity.unit, original=first, again=now, low=low, high=high, band=band,
        inside=low - slack <= now <= high + slack, grade=grade_about((original, *again), quantity.subject),
    )  # fmt: skip


def _band(
    quantity: Quantity, original: RunResult, before: Sequence[float], count: int, family: int
) -> tuple[float, float, str]:
    """Prediction interval of the repeats where there are 3 or more, else fixed margins around the original.

    The level is for all numbers at once, after Bonferroni: of eight intervals at 95 % each, one would be missed by
    every fourth run of an unchanged machine.
    """
    if len(before) >= MIN_VALUES:
        low, high = prediction_interval(before, count, 1 - (1 - LEVEL) / family)
        together = f", all {family} numbers at once" if family > 1 else ""
        return low, high, f"{LEVEL:.0%} prediction interval of {len(before)} repeats{together}"
    first: float = getattr(original.summary, quantity.name)
    if quantity.margin is None:
        share = SPEED_MARGINS[original.plan.device]
        return first * (1 - share), first * (1 + share), f"±{share:.0%} of the original"
    return first - quantity.margin, first + quantity.margin, f"±{quantity.margin:g} {quantity.unit}".rstrip()


def prediction_interval(values: Sequence[float], count: int, level: float = LEVEL) -> tuple[float, float]:
    """Where the mean of `count` further values of the same normal population lies with probability `level`.

    Source: Hahn and Meeker, Statistical Intervals (1991), section 4.7: m +- t(n - 1) s sqrt(1/count + 1/n).
    """
    from scipy.special import stdtrit

    spread = standard_deviation(values) * math.sqrt(1 / count + 1 / len(values))
    half = float(stdtrit(len(values) - 1, 0.5 + level / 2)) * spread
    return mean(values) - half, mean(values) + half


def _losses(original: RunResult, again: Sequence[RunResult]) -> Losses | None:
    """Of the run that parts from the original first."""
    found = [each for result in again if (each := _losses_of(original, result))]
    return min(found, key=lambda each: (each.equal, each.first_difference or 0), default=None)


def _losses_of(original: RunResult, again: RunResult) -> Losses | None:
    """None unless both began at the same seed, without which nothing is promised."""
    if not original.tuning or not again.tuning or original.seed != again.seed:
        return None
    pairs = list(zip(original.tuning.losses, again.tuning.losses, strict=False))
    parts = next((place for place, (first, second) in enumerate(pairs) if first != second), None)
    return Losses(
        compared=len(pairs), equal=parts is None, promised=_bits_promised(original, again), first_difference=parts
    )


def _bits_promised(original: RunResult, again: RunResult) -> bool:
    """The same asked of FP32 in one process of the same CPU, threads and packages: sums are made in the same order.

    A GPU's backward passes add up in an order that is not fixed, and several processes' gradients likewise.
    """
    execution = original.spec.execution
    same = not differences_of(original, again) and _ranks(original) == _ranks(again)
    return same and execution.device == "cpu" and execution.processes == 1 and execution.precision == "float32"


def _ranks(result: RunResult) -> list[tuple[int, dict[str, str]]]:
    return [(rank.threads, rank.versions) for rank in result.tuning.ranks] if result.tuning else []
