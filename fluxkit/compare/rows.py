"""Completed runs of one configuration -> its row: every number with its spread, interval, grade or reason."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from fluxkit import stats
from fluxkit.compare.comparison import Anchor, CurvePoint, Remark, Row
from fluxkit.compare.cost import bases, costs, energy_use, spec_prices
from fluxkit.compare.quality_pairs import by_seed, scores_of
from fluxkit.errors import printable
from fluxkit.record.facts import Mark
from fluxkit.record.identity import configuration_sha256
from fluxkit.record.metrics import CURVES, SUMMARY_METRICS, Metric, Subject
from fluxkit.record.phase_seconds import part_seconds
from fluxkit.record.result import Grade, Quality, RunResult
from fluxkit.spec.prices import Prices
from fluxkit.trust.certificates import agreement_of, certificates
from fluxkit.trust.estimate import GRADES, Estimate, estimate, grade_about, known, ratio_estimate

PRECISIONS = {"float32": "FP32", "ieee_float32": "FP32", "tf32": "TF32", "bfloat16": "bfloat16"}
READ_BACK_DTYPES = ("dtype", "compute_dtype", "activations")
PHASE_SUBJECTS: dict[str, Subject] = {"tune": "training_speed", "inference": "inference_speed"}
PREDICTION_SUBJECTS: dict[str, Subject] = {"peak_memory": "run", "seconds": "training_speed"}
STORED = {"int8", "float8", "int4", "bfloat16"}
"""How weights may be stored otherwise than they are computed with, which a row has to say."""


def row_of(
    results: Sequence[RunResult], ended: Sequence[RunResult], number: int, key: str, prices: Prices | None = None
) -> Row:
    """The row of one configuration; `ended` are its runs without a complete result, which only give reasons.

    Without `prices` those of the latest run's spec are applied.
    """
    first = (*results, *ended)[0]
    prices = prices or spec_prices((*ended, *results)[-1])
    label = printable(first.spec.hardware.label)
    missing = None if results else why_ended(ended[0])
    priced = bases(results, first.spec.tune.iterations, missing)
    execution, measured = first.spec.execution, results or ended
    tuned_in = [rank.precision for result in measured if result.tuning for rank in result.tuning.ranks]
    generated_in = [result.inference.precision for result in measured if result.inference]
    # As seen at run time; the plan's word only where no process got that far.
    ranks = measured[0].tuning.ranks if measured[0].tuning else ()
    devices = [rank.device_name for rank in ranks] or measured[0].plan.device_names
    return Row(
        key=key,
        number=number,
        name=label,
        label=label,
        configuration_sha256=configuration_sha256(first.spec, first.system.before),
        devices=tuple(printable(name) for name in devices),
        processes=first.plan.processes,
        threads_per_process=first.plan.threads_per_process,
        precision=_precision(execution.precision, tuned_in),
        inference_precision=_precision(execution.inference_precision, generated_in),
        usd_per_hour=prices.usd_per_hour,
        usd_per_kwh=prices.usd_per_kwh,
        runs=tuple(result.id for result in results),
        metrics={metric.key: _metric(results, metric, missing) for metric in SUMMARY_METRICS},
        costs={name: costs(basis, prices) for name, basis in priced.items()},
        bases=priced,
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
    qualities = [result.quality for result in results if result.quality]
    grade, missing = grade_about(results, "quality"), None if qualities else _reason(results, "quality")
    untuned = Anchor(
        name="untuned",
        psnr_db=estimate(known(result.summary.psnr_db_untuned for result in results), grade, missing),
        ssim=estimate(known(result.summary.ssim_untuned for result in results), grade, missing),
    )
    others = []
    for name in sorted({score.anchor for quality in qualities for score in quality.anchors}):
        runs = [[score for score in quality.anchors if score.anchor == name] for quality in qualities]
        psnr_db = known(_mean_of_known(score.psnr_db for score in run) for run in runs)
        ssim = known(_mean_of_known(score.ssim for score in run) for run in runs)
        others.append(Anchor(name=printable(name), psnr_db=estimate(psnr_db, grade), ssim=estimate(ssim, grade)))
    return (untuned, *others)


def _predictions(results: Sequence[RunResult]) -> dict[str, Estimate]:
    """What the plan said / what was measured: the geometric mean over runs."""
    predictions = {}
    for name, subject in PREDICTION_SUBJECTS.items():
        values = known(getattr(result.predicted_over_measured, name) for result in results)
        reason = None if values else "not predicted or not measured"
        predictions[name] = ratio_estimate(values, grade_about(results, subject), reason)
    return predictions


def _metric(results: Sequence[RunResult], metric: Metric, missing: str | None) -> Estimate:
    values = known(getattr(result.summary, metric.key) for result in results)
    grade = grade_about(results, metric.subject, *metric.also)
    if not values:
        return estimate((), grade, missing or _reason(results, metric.subject))
    short = f"{len(values)} of {len(results)} runs have it" if len(values) < len(results) else None
    if metric.subject == "quality":
        values = by_seed((result.seed, getattr(result.summary, metric.key)) for result in results)
    return (ratio_estimate if metric.geometric else estimate)(values, grade, short)


def _reason(results: Sequence[RunResult], subject: Subject) -> str:
    """What the checks say about a missing number: the evidence of the worst one; of energy, what its reader said."""
    unmetered = [result.energy.reason for result in results if result.energy and result.energy.reason]
    if subject == "energy" and unmetered:
        return printable(unmetered[0])
    checks = [check for result in results for check in result.checks if check.subject == subject and check.grade != "A"]
    return printable(max(checks, key=lambda check: check.grade).evidence) if checks else "not measured"


def _curve(results: Sequence[RunResult]) -> tuple[CurvePoint, ...]:
    """Quality at each mark of the trajectory; runs of one seed count once."""
    graded: dict[str, list[tuple[int, Mark, Mapping[tuple[str, str], float | None]]]] = defaultdict(list)
    for result in results:
        if result.tuning and result.quality:
            means = _means(result.quality)
            for mark in {mark.id: mark for mark in result.tuning.marks}.values():
                graded[mark.id].append((result.seed, mark, means))
    grade = grade_about(results, "quality")
    points = [
        CurvePoint(
            mark=printable(id_),
            target_seconds=runs[0][1].target_seconds,
            seconds=stats.mean([mark.seconds for _, mark, _ in runs]),
            iteration=stats.mean([mark.iteration for _, mark, _ in runs]),
            samples=stats.mean([mark.samples for _, mark, _ in runs]),
            **{
                metric.key: estimate(by_seed((seed, means.get((id_, metric.key))) for seed, _, means in runs), grade)
                for metric in CURVES
            },
        )
        for id_, runs in graded.items()
    ]
    return tuple(sorted(points, key=lambda point: (point.seconds, point.iteration, point.mark)))


def _means(quality: Quality) -> dict[tuple[str, str], float | None]:
    """Means of one run's scores by mark and metric, of the metrics that have a curve."""
    values: dict[tuple[str, str], list[float | None]] = defaultdict(list)
    for key, scored in [(metric.key, metric.scored) for metric in CURVES if metric.scored]:
        for score in scores_of(quality, scored):
            values[score.mark, key].append(getattr(score, scored.field))
    return {place: _mean_of_known(scores) for place, scores in values.items()}


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
    """Checks below A with the runs that they concern, the worst first."""
    runs: dict[tuple[str, str, Grade, str], list[str]] = defaultdict(list)
    for result in results:
        for check in result.checks:
            if check.grade != "A":
                runs[check.id, check.subject, check.grade, check.evidence].append(result.id)
    ordered = sorted(runs.items(), key=lambda entry: (-GRADES.index(entry[0][2]), entry[0]))
    return tuple(
        Remark(id=printable(id_), subject=printable(about), grade=grade, evidence=printable(evidence), runs=tuple(ids))
        for (id_, about, grade, evidence), ids in ordered
    )


def _mean_of_known(values: Iterable[float | None]) -> float | None:
    present = known(values)
    return stats.mean(present) if present else None


def _precision(wanted: str, read_backs: Sequence[Mapping[str, str]]) -> str:
    """What a row's runs computed in; what was asked for where nothing was read back."""
    names = {_precision_name(wanted, read_back) for read_back in read_backs}
    return " / ".join(sorted(names)) or PRECISIONS[wanted]


def _precision_name(wanted: str, read_back: Mapping[str, str]) -> str:
    """What a reader may call the precision: what was read back from the backends outweighs what was asked for."""
    name = PRECISIONS[wanted]
    dtype = next((read_back[key].removeprefix("torch.") for key in READ_BACK_DTYPES if key in read_back), None)
    if dtype is not None and dtype != wanted.removeprefix("ieee_").replace("tf32", "float32"):
        name = f"{PRECISIONS.get(dtype, printable(dtype))} (asked for {name})"
    elif name == "FP32" and any(_says_tf32(key.lower(), value.lower()) for key, value in read_back.items()):
        name = "TF32 (asked for FP32)"
    weights = read_back.get("weights", "").removeprefix("torch.").partition(" ")[0]
    return f"{name}, {printable(weights)} weights" if weights in STORED else name


def _says_tf32(key: str, value: str) -> bool:
    return value == "tf32" or ("tf32" in key and value in {"true", "1", "on", "yes"})
