"""How well several devices do the work of one: scaling efficiency, rate of N devices / (N x rate of one).

    efficiencies(sides: Sequence[Side]) -> tuple[Scaling, ...]

`sides` are those of a whole comparison, every workload's (`side.Side`: a row and its completed results). Strong
scaling asks N devices for the same batch, weak scaling for N times the batch; the workloads are equal otherwise.
What is compared is work in a second (`metrics.SCALING_RATES`), so that it means the same whatever the batch.
The interval is that of the ratio of rates on the log scale, divided by N. Processes that share one CPU are not
several devices and have no efficiency.

Source: Amdahl, AFIPS 30 (1967) 483, for the fixed batch; Gustafson, CACM 31 (1988) 532, for the growing one.
"""

import math
from collections.abc import Sequence
from typing import Any

from fluxkit import stats
from fluxkit.compare.comparison import Scaling, ScalingKind
from fluxkit.compare.side import Side
from fluxkit.record.metrics import SCALING_RATES, Metric
from fluxkit.record.result import RunResult
from fluxkit.stats import Interval
from fluxkit.trust.estimate import worst

KIND_WORDS: dict[ScalingKind, str] = {"strong": "the same batch", "weak": "the same batch per device"}


def efficiencies(sides: Sequence[Side]) -> tuple[Scaling, ...]:
    """Every row of several devices against the fastest row of one that did comparable work, in the given order."""
    measured = [side for side in sides if side.results and side.results[0].plan.device == "cuda"]
    several = [side for side in measured if side.results[0].plan.processes > 1]
    single = [side for side in measured if side.results[0].plan.processes == 1]
    return tuple(
        scaling
        for side in several
        for rate in SCALING_RATES
        if side.row.estimate(rate.key).mean is not None
        for scaling in _of_rate(side, rate, single)
    )


def _of_rate(side: Side, rate: Metric, single: Sequence[Side]) -> list[Scaling]:
    """Strong and weak scaling, where there is a row of one device for it; without any, why there is none."""
    measured = [other for other in single if other.row.estimate(rate.key).mean]
    kinds: dict[ScalingKind, list[Side]] = {"strong": [], "weak": []}
    for other in measured:
        if kind := _kind(side.results[0], other.results[0], rate):
            kinds[kind].append(other)
    if not any(kinds.values()):
        return [_against(side, rate, "strong", [])]
    return [_against(side, rate, kind, rivals) for kind, rivals in kinds.items() if rivals]


def _against(side: Side, rate: Metric, kind: ScalingKind, single: Sequence[Side]) -> Scaling:
    """Against the fastest of one device that may be used: a slow one of them would flatter."""
    result, devices = side.results[0], side.results[0].plan.processes
    formula = f"{rate.unit} of {devices} devices / ({devices} x {rate.unit} of one), {KIND_WORDS[kind]}"
    facts: dict[str, Any] = {"subject": rate.subject, "kind": kind, "several": side.row.key, "devices": devices}
    usable = [other for other in single if other.row.usable(rate.key)]
    if not usable:
        device = result.plan.device_names[0]
        reason = f"no completed run of one {device} in the same precision"
        if single:
            reason = f"graded X: {', '.join(other.row.name for other in single)}, all there is of one {device}"
        return Scaling(**facts, single=None, efficiency=None, formula=formula, reason=reason)
    other = max(usable, key=lambda side: side.row.estimate(rate.key).mean or 0.0)
    many, one = (side.row.estimate(rate.key) for side in (side, other))
    effect = stats.log_ratio(many.values, one.values)
    ratio = math.exp(effect.estimate) if effect else (many.mean or 0.0) / (one.mean or 1.0)
    interval = stats.ratio_interval(effect) if effect else None
    return Scaling(
        **facts,
        single=other.row.key,
        efficiency=ratio / devices,
        interval=interval and Interval(low=interval.low / devices, high=interval.high / devices, level=interval.level),
        formula=formula,
        grade=worst((many.grade, one.grade)),
    )


def _kind(several: RunResult, one: RunResult, rate: Metric) -> ScalingKind | None:
    """How the work of N devices relates to that of one; None where it is not comparable."""
    if _work(several, rate) != _work(one, rate):
        return None
    if several.spec.workload() == one.spec.workload():
        return "strong"
    table, key = rate.scaling_batch or ("", "")
    batches = [getattr(getattr(result.spec, table), key) for result in (several, one)]
    return "weak" if batches[0] == several.plan.processes * batches[1] else None


def _work(result: RunResult, rate: Metric) -> list[Any]:
    """What must be equal: the workload but for its batches, its inputs, the devices and their precision."""
    tables, execution, inputs = result.spec.workload(), result.spec.execution, result.inputs
    for table, key in (metric.scaling_batch for metric in SCALING_RATES if metric.scaling_batch):
        tables[table].pop(key, None)
    precision = execution.inference_precision if rate.of_inference else execution.precision
    hashes = (inputs.weights_sha256, inputs.dataset_sha256) if inputs else None
    return [tables, hashes, set(result.plan.device_names), precision, execution.quantization]
