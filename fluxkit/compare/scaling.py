"""How well several devices do the work of one: scaling efficiency, rate of N devices / (N x rate of one).

    efficiencies(sides: Sequence[Side]) -> tuple[Scaling, ...]

`sides` are those of a whole comparison, every workload's (`side.Side`: a row and its completed results). Strong
scaling asks N devices for the same batch, weak scaling for N times the batch; the workloads are equal otherwise.
The interval is that of the ratio of rates on the log scale, divided by N. Processes that share one CPU are not
several devices and have no efficiency.

Source: Amdahl, AFIPS 30 (1967) 483, for the fixed batch; Gustafson, CACM 31 (1988) 532, for the growing one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fluxkit import stats
from fluxkit.compare.comparison import Scaling, ScalingKind, Speed
from fluxkit.stats import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxkit.compare.side import Side
    from fluxkit.record.result import RunResult

RATES: dict[Speed, str] = {
    "training_speed": "training_images_per_second",
    "inference_speed": "inference_image_steps_per_second",
}
"""What is compared: work in a second, so that it means the same whatever the batch."""
BATCHES: dict[Speed, tuple[str, str]] = {
    "training_speed": ("tune", "global_batch_size"),
    "inference_speed": ("inference", "batch_size"),
}
WORDS: dict[ScalingKind, str] = {"strong": "the same batch", "weak": "the same batch per device"}


def efficiencies(sides: Sequence[Side]) -> tuple[Scaling, ...]:
    """Every row of several devices against the fastest row of one that did comparable work, in the given order."""
    measured = [side for side in sides if side.results and side.results[0].plan.device == "cuda"]
    several = [side for side in measured if side.results[0].plan.processes > 1]
    single = [side for side in measured if side.results[0].plan.processes == 1]
    return tuple(
        found for side in several for subject in RATES for found in _of(side, subject, single) if found is not None
    )


def _of(side: Side, subject: Speed, single: Sequence[Side]) -> tuple[Scaling | None, ...]:
    if side.row.estimate(RATES[subject]).mean is None:
        return ()
    strong, weak = (_against(side, subject, kind, single) for kind in ("strong", "weak"))
    return (strong, weak) if strong or weak else (_against_none(side, subject, "strong", ()),)


def _against(side: Side, subject: Speed, kind: ScalingKind, single: Sequence[Side]) -> Scaling | None:
    """Against the fastest of one device that may be used, or None: a slow one of them would flatter."""
    alike = _alike(side, subject, kind, single)
    rivals = [other for other in alike if other.row.estimate(RATES[subject]).grade != "X"]
    if not rivals:
        return _against_none(side, subject, kind, alike) if alike else None
    other = max(rivals, key=lambda each: each.row.estimate(RATES[subject]).mean or 0.0)
    several, one = (each.row.estimate(RATES[subject]) for each in (side, other))
    devices, effect = side.results[0].plan.processes, stats.log_ratio(several.values, one.values)
    ratio = math.exp(effect.estimate) if effect else (several.mean or 0.0) / (one.mean or 1.0)
    interval = stats.ratio_interval(effect) if effect else None
    return Scaling(
        subject=subject, kind=kind, several=side.row.key, single=other.row.key, devices=devices,
        efficiency=ratio / devices,
        interval=interval and Interval(low=interval.low / devices, high=interval.high / devices, level=interval.level),
        formula=_formula(subject, kind, devices),
        grade=max((grade for grade in (several.grade, one.grade) if grade), default=None),
    )  # fmt: skip


def _alike(side: Side, subject: Speed, kind: ScalingKind, single: Sequence[Side]) -> list[Side]:
    """Rows of one device that did comparable work."""
    measured = [other for other in single if other.row.estimate(RATES[subject]).mean]
    return [other for other in measured if _kind(side.results[0], other.results[0], subject) == kind]


def _against_none(side: Side, subject: Speed, kind: ScalingKind, unusable: Sequence[Side]) -> Scaling:
    """No efficiency, because nothing was measured on one device, or nothing that may be used."""
    result = side.results[0]
    device = result.plan.device_names[0]
    reason = f"no completed run of one {device} in the same precision"
    if unusable:
        reason = f"graded X: {', '.join(other.row.name for other in unusable)}, all there is of one {device}"
    return Scaling(
        subject=subject, kind=kind, several=side.row.key, single=None, devices=result.plan.processes,
        efficiency=None, formula=_formula(subject, kind, result.plan.processes), reason=reason,
    )  # fmt: skip


def _formula(subject: Speed, kind: ScalingKind, devices: int) -> str:
    unit = "images/s" if subject == "training_speed" else "image-steps/s"
    return f"{unit} of {devices} devices / ({devices} x {unit} of one), {WORDS[kind]}"


def _kind(several: RunResult, one: RunResult, subject: Speed) -> ScalingKind | None:
    """How the work of N devices relates to that of one; None where it is not comparable."""
    if _work(several, subject) != _work(one, subject):
        return None
    table, key = BATCHES[subject]
    batches = [getattr(getattr(result.spec, table), key) for result in (several, one)]
    if several.spec.workload() == one.spec.workload():
        return "strong"
    return "weak" if batches[0] == several.plan.processes * batches[1] else None


def _work(result: RunResult, subject: Speed) -> list[Any]:
    """What must be equal: the workload but for its batches, its inputs, the devices and their precision."""
    tables, execution, inputs = result.spec.workload(), result.spec.execution, result.inputs
    for table, key in BATCHES.values():
        tables[table].pop(key)
    precision = execution.precision if subject == "training_speed" else execution.inference_precision
    hashes = (inputs.weights_sha256, inputs.dataset_sha256) if inputs else None
    return [tables, hashes, set(result.plan.device_names), precision, execution.quantization]
