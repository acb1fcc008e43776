"""Results -> `Comparison`: workloads, in each a row per configuration, ratios and verdicts; failures beside them."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fluxkit.compare.comparison import Comparison, Ended, KeyDifference, Row, Scaling, Workload
from fluxkit.compare.contrasts import contrasts, uncertified
from fluxkit.compare.ranking import all_worse
from fluxkit.compare.reader_options import ReaderOptions
from fluxkit.compare.rows import anchors, row_of, tuning_precision, why_ended
from fluxkit.compare.scaling import efficiencies
from fluxkit.compare.side import Side
from fluxkit.compare.time_to_quality import target, time_to_target
from fluxkit.errors import printable
from fluxkit.fold.fold import summarise
from fluxkit.record.identity import configurations, identity, once_each, workloads_of
from fluxkit.record.metrics import CONTRASTED, UNTUNED_KEYS
from fluxkit.record.result import RunResult
from fluxkit.spec.prices import Prices
from fluxkit.stats import MIN_VALUES
from fluxkit.trust.estimate import Target
from fluxkit.trust.protocol_checks import scores_finite
from fluxkit.trust.run_checks import find
from fluxkit.trust.untuned_spread import untuned_spread
from fluxkit.units import counted
from fluxkit.values import canonical_sha256

KEY_LENGTH = 12
"""Characters of a hash that stand for it on a page."""
MOST_FEATURES = 8
"""Of those in which rows of one label differ, as many as a name holds."""
NO_OPTIONS = ReaderOptions()


def compare(results: Iterable[RunResult], options: ReaderOptions = NO_OPTIONS) -> Comparison:
    """All results side by side. Different workloads stand apart and are never put into a ratio.

    Raises:
        UsageError: `options` name a label that no result has.
    """
    unique = [_examined(result) for result in once_each(results, lambda result: result)]
    options.check({printable(result.spec.hardware.label) for result in unique})
    groups = [_with_untuned_findings(group) for group in workloads_of(unique)]
    all_sides: list[list[Side]] = []
    workloads = []
    for group in groups:
        goal, sides = _sides(group, sum(map(len, all_sides)), options)
        workloads.append(_workload(group, goal, sides))
        all_sides.append(sides)
    return Comparison(
        comparable=sum(any(row.runs for row in workload.rows) for workload in workloads) <= 1,
        scaling=_scaling([side for sides in all_sides for side in sides]),
        workloads=tuple(workloads),
        differences=_differences(workloads),
        ended=tuple(_ended(result) for result in unique if result.status != "completed"),
        warnings=tuple(dict.fromkeys((*_warnings(workloads, all_sides), *_prices_apart(unique, options)))),
    )


def _examined(result: RunResult) -> RunResult:
    """The result with all that its raw values give away, whichever findings it came with: those may be left out.

    An older version did not sum up every score that its raw values hold.
    """
    findings = find(result)
    known = {(check.id, check.subject) for check in findings}
    claimed = [check for check in result.checks if (check.id, check.subject) not in known]
    later = UNTUNED_KEYS - result.summary.model_fields_set
    summary = result.summary.model_copy(update=summarise(result).model_dump(include=set(later)) if later else {})
    return result.model_copy(update={"checks": (*claimed, *findings), "summary": summary})


def _with_untuned_findings(results: Sequence[RunResult]) -> list[RunResult]:
    """Results of one workload, with what is found where the untuned model did not score alike in one precision."""
    completed = [result for result in results if result.status == "completed"]
    precisions = {result.id: tuning_precision([result]) for result in completed}
    found = {
        precision: check
        for precision in set(precisions.values())
        if (check := untuned_spread([run for run in completed if precisions[run.id] == precision], precision))
    }
    checks = {id_: found[precision] for id_, precision in precisions.items() if precision in found}
    return [
        result.model_copy(update={"checks": (*result.checks, checks[result.id])}) if result.id in checks else result
        for result in results
    ]


def _sides(results: Sequence[RunResult], start: int, options: ReaderOptions) -> tuple[Target, list[Side]]:
    """The workload's target, and a side per configuration, by label and then by hash.

    Rows are numbered from `start` on, have names that tell them apart, and are timed against the target.
    """
    groups = sorted(configurations(results).items(), key=lambda entry: (*_place(entry[1][0]), entry[0]))
    rows, completed = [], []
    for number, (sha256, group) in enumerate(groups, start):
        done = [result for result in group if result.status == "completed"]
        ended = [result for result in group if result.status != "completed"]
        prices = options.prices(printable(group[0].spec.hardware.label), (*ended, *done)[-1].spec.prices())
        rows.append(row_of(done, ended, number, sha256[:KEY_LENGTH], prices))
        completed.append(done)
    names = _names(rows, [group[0] for _, group in groups])
    rows = [row.model_copy(update={"name": name}) for row, name in zip(rows, names, strict=True)]
    goal = target(rows, options.target_psnr_db)
    return goal, [
        Side(row.model_copy(update={"time_to_target": time_to_target(row, done, goal)}), done)
        for row, done in zip(rows, completed, strict=True)
    ]


def _workload(results: Sequence[RunResult], goal: Target, sides: Sequence[Side]) -> Workload:
    informed = max(results, key=lambda result: (result.quality is not None, result.inputs is not None))
    pairs = informed.inputs.pairs if informed.inputs else ()
    held_out = [pair for pair in pairs if pair.split == "held_out"]
    clusters = len({pair.cluster for pair in held_out})
    return Workload(
        key=canonical_sha256(identity(informed))[:KEY_LENGTH],
        workload_sha256=informed.spec.workload_sha256(),
        tables=informed.spec.workload(),
        weights_sha256=informed.inputs.weights_sha256 if informed.inputs else None,
        dataset_sha256=informed.inputs.dataset_sha256 if informed.inputs else None,
        definition=informed.quality.definition if informed.quality else None,
        tuned_pairs=sum(pair.split == "tuning" for pair in pairs),
        regularization_images=sum(pair.split == "regularization" for pair in pairs),
        held_out_pairs=len(held_out),
        held_out_clusters=clusters,
        target=goal,
        rows=tuple(side.row for side in sides),
        **contrasts(sides, clusters)._asdict(),
        anchors=anchors([result for result in results if result.status == "completed"]),
    )


def _scaling(sides: Sequence[Side]) -> tuple[Scaling, ...]:
    """Several devices against one, where it is certified that both compute the same."""
    by_key = {side.row.key: side for side in sides}
    certified = []
    for scaling in efficiencies(sides):
        why = uncertified(by_key[scaling.several], by_key[scaling.single]) if scaling.single else None
        unknown = {"efficiency": None, "interval": None, "reason": why}
        certified.append(scaling.model_copy(update=unknown) if why else scaling)
    return tuple(certified)


def _place(result: RunResult) -> tuple[Any, ...]:
    """Where its configuration stands among those of its workload."""
    execution, label = result.spec.execution, result.spec.hardware.label
    lowered = execution.precision != "float32"
    return label, execution.device, execution.processes, lowered, execution.inference_precision


def _names(rows: Sequence[Row], results: Sequence[RunResult]) -> list[str]:
    """Labels; where several rows share one, with those features in which they differ. A result for each row."""
    features = [_features(row, result) for row, result in zip(rows, results, strict=True)]
    names = []
    for row, own in zip(rows, features, strict=True):
        rivals = [other for rival, other in zip(rows, features, strict=True) if rival.label == row.label]
        kinds = dict.fromkeys(kind for rival in rivals for kind in rival)
        differing = [kind for kind in kinds if len({rival.get(kind) for rival in rivals}) > 1]
        apart = [own.get(kind, f"no {kind}") for kind in differing[:MOST_FEATURES]]
        names.append(f"{row.label} ({', '.join(apart)})" if apart else row.label)
    return [
        name if names.count(name) == 1 else f"{name} [{row.key[:6]}]" for name, row in zip(names, rows, strict=True)
    ]


def _features(row: Row, result: RunResult) -> dict[str, str]:
    """What may tell rows of one label apart, in words, by kind; packages with their versions last."""
    execution, image, code = result.spec.execution, result.kit.image, result.kit.measuring_sha256
    name, _, digest = (image or "").partition("@sha256:")
    features = {
        "device": " + ".join(sorted(set(row.devices))),
        "processes": counted(row.processes, "process"),
        "precision": row.precision,
        "inference": f"inference in {row.inference_precision}",
        "threads": counted(row.threads_per_process, "thread"),
        "micro-batch": f"micro-batch {result.plan.micro_batch_size}",
        "checkpointing": "checkpointing" if execution.gradient_checkpointing else "no checkpointing",
        "compile": "compiled" if execution.compile else "not compiled",
        "kit": printable(f"measuring code {code[:7]}" if code else f"fluxkit {result.kit.version}"),
        "image": f"image {printable(name)}{digest and f' {printable(digest[:7])}'}" if image else "no image",
    }
    packages = sorted(result.system.before.packages.items())
    return features | {printable(name): printable(f"{name} {version}") for name, version in packages}


def _differences(workloads: Sequence[Workload]) -> tuple[KeyDifference, ...]:
    """Every key in which workloads differ, with the value of each."""
    facts = {workload.key: _workload_facts(workload) for workload in workloads}
    keys = sorted({key for known in facts.values() for key in known})
    return tuple(
        KeyDifference(
            key=printable(key), values={name: printable(known.get(key, "—")) for name, known in facts.items()}
        )
        for key in keys
        if len({known.get(key) for known in facts.values()}) > 1
    )


def _workload_facts(workload: Workload) -> dict[str, str]:
    """All that makes a workload what it is, as JSON by key."""
    facts: dict[str, Any] = {
        f"{table}.{key}": value for table, values in workload.tables.items() for key, value in values.items()
    }
    facts |= {"inputs.weights_sha256": workload.weights_sha256, "inputs.dataset_sha256": workload.dataset_sha256}
    facts |= {f"quality.definition.{key}": value for key, value in (workload.definition or {}).items()}
    return {key: json.dumps(value, ensure_ascii=False) for key, value in facts.items() if value is not None}


def _ended(result: RunResult) -> Ended:
    return Ended(
        id=printable(result.id),
        name=result.spec.name,
        label=printable(result.spec.hardware.label),
        status=result.status,
        repeat=result.repeat,
        phase=result.error.phase and printable(result.error.phase) if result.error else None,
        reason=why_ended(result),
    )


def _warnings(workloads: Sequence[Workload], all_sides: Sequence[Sequence[Side]]) -> Iterator[str]:
    """What a reader must know before reading on, in sentences."""
    measured = sum(any(row.runs for row in workload.rows) for workload in workloads)
    if measured > 1:
        yield f"The results belong to {measured} different workloads: they stand apart and are in no ratio."
    if not measured:
        yield "No run is complete, so there is nothing to compare yet."
    for workload, sides in zip(workloads, all_sides, strict=True):
        yield from _workload_warnings(workload, sides)


def _workload_warnings(workload: Workload, sides: Sequence[Side]) -> Iterator[str]:
    labels = [row.label for row in workload.rows]
    for label in dict.fromkeys(labels):
        if labels.count(label) > 1:
            yield (
                f"{labels.count(label)} different configurations share the label “{label}”: "
                "they are separate rows, named by what differs."
            )
    few = [f"“{row.name}” ({len(row.runs)})" for row in workload.rows if 0 < len(row.runs) < MIN_VALUES]
    if few:
        enough = f"which --repeats {MIN_VALUES} makes possible"
        yield f"Too few runs for an interval, {enough}: {', '.join(few)}."
    if any(contrast.near_drift for contrast in workload.contrasts):
        yield (
            "Some configurations were measured apart and differ no more than their machines drifted: interleave them "
            "in one study to tell them apart."
        )
    same = [f"“{side.row.name}” ({side.runs_of_few_seeds})" for side in sides if side.runs_of_few_seeds]
    if same:
        yield f"Runs of one seed count once for quality, and an interval of it needs {MIN_VALUES}: {', '.join(same)}."
    yield from _quality_warnings(workload)
    reasons = dict.fromkeys(
        contrast.reason for contrast in workload.contrasts if not contrast.certified and contrast.reason
    )
    if reasons:
        yield f"Some configurations stand in no ratio: {'; '.join(reasons)}."


def _quality_warnings(workload: Workload) -> Iterator[str]:
    """Which configurations diverged, and whether all were tuned for too long."""
    for row in workload.rows:
        diverged = [remark.runs for remark in row.remarks if remark.id == scores_finite.__name__]
        if count := len({id_ for ids in diverged for id_ in ids}.intersection(row.runs)):
            runs = f"{count} of {counted(len(row.runs), 'run')}"
            yield f"“{row.name}” diverged in {runs}: scores are not finite numbers, so its quality is in no comparison."
    for metric in CONTRASTED:
        if metric.scored and metric.scored.held_out and (worse := all_worse(workload, metric)):
            yield f"{worse[0]}. {worse[1][0].upper()}{worse[1][1:]}."


def _prices_apart(results: Sequence[RunResult], options: ReaderOptions) -> Iterator[str]:
    """Labels that carry several prices, which may be two offers under one name."""
    prices: dict[str, set[Prices]] = defaultdict(set)
    for result in results:
        label = printable(result.spec.hardware.label)
        prices[label].add(options.prices(label, result.spec.prices()))
    for label, variants in sorted(prices.items()):
        if len(variants) > 1:
            offers = " and ".join(sorted(map(str, variants)))
            yield (
                f"One label carries several prices: “{label}” has {offers}. Each row is priced by its latest run; two "
                "offers need two labels."
            )
