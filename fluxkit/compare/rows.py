"""Completed runs of one configuration -> its row: every number with its spread, interval, grade or reason."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from fluxkit import stats
from fluxkit.compare.comparison import Anchor, CurvePoint, Remark, Row
from fluxkit.compare.cost import bases, costs, energy_use
from fluxkit.compare.quality_pairs import by_seed, diverged_at, scores_of
from fluxkit.errors import printable
from fluxkit.record.facts import Mark
from fluxkit.record.identity import configuration_sha256
from fluxkit.record.metrics import BY_KEY, CURVES, SUMMARY_METRICS, UNTUNED_KEYS, Metric, Subject
from fluxkit.record.phase_seconds import part_seconds
from fluxkit.record.protocol_marks import UNTUNED
from fluxkit.record.result import Grade, RunResult
from fluxkit.spec.prices import Prices
from fluxkit.trust.certificates import agreement_of, certificates
from fluxkit.trust.estimate import GRADES, Estimate, estimate, grade_about, grade_of, known, ratio_estimate
from fluxkit.units import counted

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
    prices = prices or (*ended, *results)[-1].spec.prices()
    label = printable(first.spec.hardware.label)
    missing = None if results else why_ended(ended[0])
    priced = bases(results, first.spec.tune.iterations, missing)
    execution, measured = first.spec.execution, results or ended
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
        precision=tuning_precision(measured),
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
    """Scores that need no tuning, of a workload's runs: the untuned model in each precision, autoencoder, flat colour.

    They are read beside samples of the tuned photos, so they are means over those photos and no others.
    """
    qualities = [result.quality for result in results if result.quality]
    grade = grade_about(results, "quality")
    in_precision: dict[str, list[RunResult]] = defaultdict(list)
    for result in results:
        in_precision[tuning_precision([result])].append(result)
    untuned = [
        Anchor(
            name="untuned",
            precision=precision,
            psnr_db=_metric(runs, BY_KEY["psnr_db_untuned"], None),
            ssim=_metric(runs, BY_KEY["ssim_untuned"], None),
        )
        for precision, runs in sorted(in_precision.items())
    ]
    others = []
    for name in sorted({score.anchor for quality in qualities for score in quality.anchors}):
        scores = []
        for quality in qualities:
            tuned = {sample.pair for sample in quality.reconstruction}
            scores += [score for score in quality.anchors if score.anchor == name and score.pair in tuned]
        identical = len({score.pair for score in scores if score.psnr_db is None})
        left_out = f"{counted(identical, 'photo')} that it equals exactly left out" if identical else None
        others.append(
            Anchor(
                name=printable(name),
                psnr_db=_single([score.psnr_db for score in scores], grade, left_out),
                ssim=_single([score.ssim for score in scores], grade, None),
            )
        )
    return (*untuned, *others)


def tuning_precision(results: Sequence[RunResult]) -> str:
    """What runs of one configuration tuned in, as read back."""
    ranks = [rank.precision for result in results if result.tuning for rank in result.tuning.ranks]
    return _precision(results[0].spec.execution.precision, ranks)


def _single(values: Iterable[float | None], grade: Grade | None, reason: str | None) -> Estimate:
    """What is the same in every run, however many there are: one value, and no interval."""
    present = known(values)
    return estimate([stats.mean(present)] if present else [], grade, reason)


def _predictions(results: Sequence[RunResult]) -> dict[str, Estimate]:
    """What the plan said / what was measured: the geometric mean over runs."""
    predictions = {}
    for name, subject in PREDICTION_SUBJECTS.items():
        values = known(getattr(result.predicted_over_measured, name) for result in results)
        reason = _share_that_has_it(len(values), results) if values else "not predicted or not measured"
        predictions[name] = ratio_estimate(values, grade_about(results, subject), reason)
    return predictions


def _metric(results: Sequence[RunResult], metric: Metric, missing: str | None) -> Estimate:
    values = known(getattr(result.summary, metric.key) for result in results)
    grade = grade_of(results, metric)
    unreal = [value for value in values if not math.isfinite(value)]
    if diverged := len(unreal) or sum(diverged_at(result, metric) for result in results):
        return estimate((), grade, _diverged(diverged, results))
    if not values:
        return estimate((), grade, missing or _reason(results, metric.subject))
    short = _share_that_has_it(len(values), results)
    if metric.key in UNTUNED_KEYS:
        return _single(values, grade, short)
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
    """Quality at each mark of the trajectory, of all runs that have quality; runs of one seed count once."""
    scored = [result for result in results if result.tuning and result.quality]
    means = {result.id: _means(result) for result in scored}
    lost = Counter(place for result in scored for place in _lost_marks(result))
    marked: dict[str, list[tuple[RunResult, Mark]]] = defaultdict(list)
    for result in scored:
        for mark in {mark.id: mark for mark in (result.tuning.marks if result.tuning else ())}.values():
            marked[mark.id].append((result, mark))
    points = [
        CurvePoint(
            mark=printable(id_),
            target_seconds=runs[0][1].target_seconds,
            seconds=stats.mean(by_seed((result.seed, mark.seconds) for result, mark in runs)),
            iteration=stats.mean(by_seed((result.seed, mark.iteration) for result, mark in runs)),
            samples=stats.mean(by_seed((result.seed, mark.samples) for result, mark in runs)),
            **{metric.key: _at_mark(scored, means, lost, runs[0][1], metric) for metric in CURVES},
        )
        for id_, runs in marked.items()
    ]
    return tuple(sorted(points, key=lambda point: (point.seconds, point.iteration, point.mark)))


def _at_mark(
    results: Sequence[RunResult],
    means: Mapping[str, Mapping[tuple[str, str], float | None]],
    lost: Mapping[tuple[str, bool], int],
    mark: Mark,
    metric: Metric,
) -> Estimate:
    """A metric at a mark; none where one of the runs lacks it: the points of a curve are means over the same runs.

    Which state stands at a time depends on the speed, so a mark of time is graded for that too.
    """
    timed: tuple[Subject, ...] = ("training_speed",) if mark.target_seconds is not None else ()
    grade = grade_about(results, "quality", *timed)
    values = [(result.seed, means[result.id].get((mark.id, metric.key))) for result in results]
    if metric.scored and (diverged := lost.get((mark.id, metric.scored.held_out))):
        return estimate((), grade, _diverged(diverged, results))
    by_seeds, count = by_seed(values), len(known(value for _, value in values))
    if count < len(results):
        return estimate((), grade, _share_that_has_it(count, results) if count else None)
    return _single(by_seeds, grade, None) if mark.id == UNTUNED else estimate(by_seeds, grade)


def _lost_marks(result: RunResult) -> set[tuple[str, bool]]:
    """Marks of one run at which a score is not finite, with whether it is one of held-out photos."""
    kinds = {metric.scored.held_out: scores_of(result, metric.scored) for metric in CURVES if metric.scored}
    return {(score.mark, held_out) for held_out, scores in kinds.items() for score in scores if score.diverged}


def _means(result: RunResult) -> dict[tuple[str, str], float | None]:
    """Means of one run's scores by mark and metric, of the metrics that have a curve."""
    values: dict[tuple[str, str], list[float | None]] = defaultdict(list)
    for key, scored in [(metric.key, metric.scored) for metric in CURVES if metric.scored]:
        for score in scores_of(result, scored):
            values[score.mark, key].append(getattr(score, scored.field))
    return {place: _mean_of_known(scores) for place, scores in values.items()}


def _share_that_has_it(count: int, results: Sequence[RunResult]) -> str | None:
    """How many of the runs have a number, where not all do."""
    return f"{count} of {len(results)} runs have it" if count < len(results) else None


def _diverged(count: int, results: Sequence[RunResult]) -> str:
    """Why there is no mean: one over the other runs would hide what became of these."""
    return f"diverged: not a finite number in {count} of {counted(len(results), 'run')}"


def _phases(results: Sequence[RunResult]) -> dict[str, Estimate]:
    """Means over all runs, so that the parts add up to the whole: what a run did not do took none of its seconds."""
    parts = [part for result in results if (part := part_seconds(result))]
    names = dict.fromkeys(name for part in parts for name in part)
    return {
        name: estimate([part.get(name, 0.0) for part in parts], grade_about(results, PHASE_SUBJECTS.get(name, "run")))
        for name in names
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
