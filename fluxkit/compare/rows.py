"""Completed runs of one configuration -> its row: every number with its spread, interval, grade or reason."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from fluxkit import stats
from fluxkit.compare.comparison import METRICS, Anchor, CurvePoint, Metric, Remark, Row
from fluxkit.compare.cost import bases, costs, energy_use, spec_prices
from fluxkit.compare.quality_pairs import by_seed
from fluxkit.errors import printable
from fluxkit.record.identity import configuration_sha256
from fluxkit.record.phase_seconds import part_seconds
from fluxkit.trust.certificates import agreement_of, certificates
from fluxkit.trust.estimate import Estimate, estimate, grade_about, known, ratio_estimate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fluxkit.record.facts import ReconstructionScore, ValidationScore
    from fluxkit.record.result import Grade, RunResult
    from fluxkit.spec.prices import Prices
    from fluxkit.trust.estimate import Subject

PRECISIONS = {"float32": "FP32", "ieee_float32": "FP32", "tf32": "TF32", "bfloat16": "bfloat16"}
READ_BACK_DTYPES = ("dtype", "compute_dtype", "activations")
PHASE_SUBJECTS: dict[str, Subject] = {"tune": "training_speed", "inference": "inference_speed"}
STORED = {"int8", "float8", "int4", "bfloat16"}
"""How weights may be stored otherwise than they are computed with, which a row has to say."""


def row(
    results: Sequence[RunResult], ended: Sequence[RunResult], number: int, key: str, prices: Prices | None = None
) -> Row:
    """The row of one configuration; `ended` are its runs without a complete result, which only give reasons.

    Without `prices` those of the latest run's spec are applied.
    """
    first = (*results, *ended)[0]
    prices = prices or spec_prices((*ended, *results)[-1])
    label = printable(first.spec.hardware.label)
    missing = None if results else why_ended(ended[0])
    took = bases(results, first.spec.tune.iterations, missing)
    return Row(
        key=key,
        number=number,
        name=label,
        label=label,
        configuration_sha256=configuration_sha256(first.spec, first.system.before),
        devices=_devices(results or ended),
        processes=first.plan.processes,
        threads_per_process=first.plan.threads_per_process,
        precision=_tuning_precision(results or ended),
        inference_precision=_inference_precision(results or ended),
        usd_per_hour=prices.usd_per_hour,
        usd_per_kwh=prices.usd_per_kwh,
        runs=tuple(result.id for result in results),
        metrics={metric.key: _metric(results, metric, missing) for metric in METRICS},
        costs={name: costs(basis, prices) for name, basis in took.items()},
        bases=took,
        energy=energy_use(results, missing),
        time_to_target=None,
        agreement=agreement_of(results),
        certificates=certificates(results),
        predicted_over_measured=_predictions(results),
        curve=_curve(results),
        phases=_phases(results),
        remarks=_remarks((*results, *ended)),
    )


def why_ended(result: RunResult) -> str:
    """How and where a run ended without a complete result, in a phrase."""
    if result.error is None:
        return {"started": "still running, or ended without a word"}.get(result.status, result.status)
    where = f" in phase {result.error.phase}" if result.error.phase else ""
    return printable(f"{result.status}{where}: {result.error.kind}: {result.error.message}")


def anchors(results: Sequence[RunResult]) -> tuple[Anchor, ...]:
    """Scores that need no tuning, over all runs of a workload: untuned, autoencoder, flat colour."""
    grade = grade_about(results, "quality")
    missing = None if any(result.quality for result in results) else _reason(results, "quality")
    untuned = Anchor(
        name="untuned",
        psnr_db=estimate(known(result.summary.psnr_db_untuned for result in results), grade, missing),
        ssim=estimate(known(result.summary.ssim_untuned for result in results), grade, missing),
    )
    names = sorted({score.anchor for result in results if result.quality for score in result.quality.anchors})
    return (untuned, *(_anchor(results, name, grade) for name in names))


def _anchor(results: Sequence[RunResult], name: str, grade: Grade | None) -> Anchor:
    scores = [
        [score for score in result.quality.anchors if score.anchor == name] for result in results if result.quality
    ]
    return Anchor(
        name=printable(name),
        psnr_db=estimate(known(_mean(score.psnr_db for score in found) for found in scores), grade),
        ssim=estimate(known(_mean(score.ssim for score in found) for found in scores), grade),
    )


def _predictions(results: Sequence[RunResult]) -> dict[str, Estimate]:
    """What the plan said / what was measured: the geometric mean over runs."""
    grades: dict[str, Subject] = {"peak_memory": "run", "seconds": "training_speed"}
    found = {name: known(getattr(each.predicted_over_measured, name) for each in results) for name in grades}
    return {
        name: ratio_estimate(
            values, grade_about(results, grades[name]), None if values else "not predicted or not measured"
        )
        for name, values in found.items()
    }


def _metric(results: Sequence[RunResult], metric: Metric, missing: str | None) -> Estimate:
    values = known(getattr(result.summary, metric.key) for result in results)
    grade = grade_about(results, metric.subject, *metric.also)
    if not values:
        return estimate((), grade, missing or _reason(results, metric.subject))
    short = f"{len(values)} of {len(results)} runs have it" if len(values) < len(results) else None
    if metric.subject == "quality":
        values = by_seed((result.seed, getattr(result.summary, metric.key)) for result in results)
    return (ratio_estimate if metric.scale == "ratio" else estimate)(values, grade, short)


def _reason(results: Sequence[RunResult], subject: Subject) -> str:
    """What the checks say about a missing number: the evidence of the worst one; of energy, what its reader said."""
    said = [result.energy.reason for result in results if result.energy and result.energy.reason]
    if subject == "energy" and said:
        return printable(said[0])
    checks = [check for result in results for check in result.checks if check.subject == subject and check.grade != "A"]
    return printable(max(checks, key=lambda check: check.grade).evidence) if checks else "not measured"


def _curve(results: Sequence[RunResult]) -> tuple[CurvePoint, ...]:
    runs = [(result.seed, _curve_of(result)) for result in results]
    ids = sorted({mark for _, run in runs for mark in run})
    grade = grade_about(results, "quality")
    points = [_point(mark, [(seed, run[mark]) for seed, run in runs if mark in run], grade) for mark in ids]
    return tuple(sorted(points, key=lambda point: (point.seconds, point.iteration, point.mark)))


def _curve_of(result: RunResult) -> dict[str, dict[str, float | None]]:
    """Means of one run at each of its marks."""
    if result.tuning is None or result.quality is None:
        return {}
    samples: dict[str, list[ReconstructionScore]] = defaultdict(list)
    held_out: dict[str, list[ValidationScore]] = defaultdict(list)
    for sample in result.quality.reconstruction:
        samples[sample.mark].append(sample)
    for score in result.quality.validation:
        held_out[score.mark].append(score)
    return {
        mark.id: {
            "target_seconds": mark.target_seconds,
            "seconds": mark.seconds,
            "iteration": mark.iteration,
            "samples": mark.samples,
            "psnr_db": _mean(score.psnr_db for score in samples[mark.id]),
            "ssim": _mean(score.ssim for score in samples[mark.id]),
            "validation_loss": _mean(score.loss for score in held_out[mark.id]),
        }
        for mark in result.tuning.marks
    }


def _point(mark: str, runs: Sequence[tuple[int, Mapping[str, float | None]]], grade: Grade | None) -> CurvePoint:
    where = {name: stats.mean(known(run[name] for _, run in runs)) for name in ("seconds", "iteration", "samples")}
    scores = {
        name: estimate(by_seed((seed, run[name]) for seed, run in runs), grade)
        for name in ("psnr_db", "ssim", "validation_loss")
    }
    return CurvePoint(mark=printable(mark), target_seconds=runs[0][1]["target_seconds"], **where, **scores)


def _phases(results: Sequence[RunResult]) -> dict[str, Estimate]:
    seconds: dict[str, list[float]] = defaultdict(list)
    for result in results:
        for name, value in part_seconds(result).items():
            seconds[name].append(value)
    return {
        name: estimate(values, grade_about(results, PHASE_SUBJECTS.get(name, "run")))
        for name, values in seconds.items()
    }


def _remarks(results: Sequence[RunResult]) -> tuple[Remark, ...]:
    found: dict[tuple[str, str, Grade, str], list[str]] = defaultdict(list)
    for result in results:
        for check in result.checks:
            if check.grade != "A":
                found[check.id, check.subject, check.grade, check.evidence].append(result.id)
    ordered = sorted(found.items(), key=lambda entry: ("XCBA".index(entry[0][2]), entry[0]))
    return tuple(
        Remark(id=printable(id_), subject=printable(about), grade=grade, evidence=printable(evidence), runs=tuple(runs))
        for (id_, about, grade, evidence), runs in ordered
    )


def _mean(values: Iterable[float | None]) -> float | None:
    present = known(values)
    return stats.mean(present) if present else None


def _devices(results: Sequence[RunResult]) -> tuple[str, ...]:
    """Device of each process as seen at run time; the plan's word only where no process got that far."""
    ranks = results[0].tuning.ranks if results[0].tuning else ()
    return tuple(printable(name) for name in ([rank.device_name for rank in ranks] or results[0].plan.device_names))


def _tuning_precision(results: Sequence[RunResult]) -> str:
    names = {
        precision_name(result.spec.execution.precision, rank.precision)
        for result in results
        for rank in (result.tuning.ranks if result.tuning else ())
    }
    return " / ".join(sorted(names)) or PRECISIONS[results[0].spec.execution.precision]


def _inference_precision(results: Sequence[RunResult]) -> str:
    names = {
        precision_name(result.spec.execution.inference_precision, result.inference.precision)
        for result in results
        if result.inference
    }
    return " / ".join(sorted(names)) or PRECISIONS[results[0].spec.execution.inference_precision]


def precision_name(asked: str, read_back: Mapping[str, str]) -> str:
    """What a reader may call the precision: what was read back from the backends outweighs what was asked for."""
    name = PRECISIONS[asked]
    dtype = next((read_back[key].removeprefix("torch.") for key in READ_BACK_DTYPES if key in read_back), None)
    if dtype is not None and dtype != asked.removeprefix("ieee_").replace("tf32", "float32"):
        name = f"{PRECISIONS.get(dtype, printable(dtype))} (asked for {name})"
    elif name == "FP32" and any(_says_tf32(key.lower(), value.lower()) for key, value in read_back.items()):
        name = "TF32 (asked for FP32)"
    weights = read_back.get("weights", "").removeprefix("torch.").partition(" ")[0]
    return f"{name}, {printable(weights)} weights" if weights in STORED else name


def _says_tf32(key: str, value: str) -> bool:
    return value == "tf32" or ("tf32" in key and value in {"true", "1", "on", "yes"})
