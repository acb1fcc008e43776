"""Results -> `Comparison`: workloads, in each a row per configuration, ratios and verdicts; failures beside them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fluxkit.compare.comparison import Comparison, Ended, KeyDifference, Row, Workload
from fluxkit.compare.contrasts import contrasts, uncertified
from fluxkit.compare.cost import spec_prices
from fluxkit.compare.reader_options import Given
from fluxkit.compare.rows import anchors, row, why_ended
from fluxkit.compare.scaling import efficiencies
from fluxkit.compare.side import Side
from fluxkit.compare.time_to_quality import target, time_to_target
from fluxkit.errors import printable
from fluxkit.record.identity import configurations, identity, once_each, workloads_of
from fluxkit.stats import MIN_VALUES
from fluxkit.trust.run_checks import find
from fluxkit.units import counted
from fluxkit.values import canonical_sha256

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fluxkit.compare.comparison import Scaling
    from fluxkit.record.result import RunResult
    from fluxkit.trust.estimate import Target

KEY_LENGTH = 12
"""Characters of a hash that stand for it on a page."""
MOST_FEATURES = 8
"""Of those in which rows of one label differ, as many as a name holds."""
NOTHING_GIVEN = Given()
APART = (
    "Configurations were measured apart, not interleaved in one study on one machine: drift can look like a difference."
)


def compare(results: Iterable[RunResult], given: Given = NOTHING_GIVEN) -> Comparison:
    """All results side by side. Different workloads stand apart and are never put into a ratio.

    Raises:
        UsageError: `given` names a label that no result has.
    """
    unique = [_examined(result) for result in once_each(results, lambda result: result)]
    given.check({printable(result.spec.hardware.label) for result in unique})
    groups = workloads_of(unique)
    all_sides: list[list[Side]] = []
    for group in groups:
        all_sides.append(_sides(group, sum(map(len, all_sides)), given))
    workloads = [_workload(group, sides, given.target_psnr_db) for group, sides in zip(groups, all_sides, strict=True)]
    measured = [workload for workload in workloads if any(each.runs for each in workload.rows)]
    return Comparison(
        comparable=len(measured) <= 1,
        scaling=_scaling([side for sides in all_sides for side in sides]),
        workloads=tuple(workloads),
        differences=_differences(groups, workloads),
        ended=tuple(_ended(result) for result in unique if result.status != "completed"),
        warnings=_warnings(groups, workloads, len(measured)),
    )


def _examined(result: RunResult) -> RunResult:
    """The result with all that its raw values give away, whichever findings it came with: those may be left out."""
    found = find(result)
    known = {(check.id, check.subject) for check in found}
    claimed = [check for check in result.checks if (check.id, check.subject) not in known]
    return result.model_copy(update={"checks": (*claimed, *found)})


def _workload(results: Sequence[RunResult], sides: Sequence[Side], target_psnr_db: float | None = None) -> Workload:
    asked = target([side.row for side in sides], target_psnr_db)
    sides = [Side(_timed(side, asked), side.results) for side in sides]
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
        tuned_pairs=len(pairs) - len(held_out),
        held_out_pairs=len(held_out),
        held_out_clusters=clusters,
        target=asked,
        rows=tuple(side.row for side in sides),
        contrasts=contrasts(sides, clusters),
        anchors=anchors([result for result in results if result.status == "completed"]),
    )


def _timed(side: Side, asked: Target) -> Row:
    """The row with its time to the target."""
    found = time_to_target(side.row, side.results, asked.psnr_db)
    return side.row.model_copy(update={"time_to_target": found})


def _sides(results: Sequence[RunResult], start: int, given: Given) -> list[Side]:
    """One side per configuration, by label and then by hash, with names that tell them apart."""
    found = configurations(results)
    ordered = sorted(found.items(), key=lambda entry: (entry[1][0].spec.hardware.label, *_order(entry[1][0]), entry[0]))
    sides = []
    for number, (sha256, group) in enumerate(ordered, start):
        completed = [result for result in group if result.status == "completed"]
        ended = [result for result in group if result.status != "completed"]
        prices = given.prices(printable(group[0].spec.hardware.label), spec_prices((*ended, *completed)[-1]))
        sides.append(Side(row(completed, ended, number, sha256[:KEY_LENGTH], prices), completed))
    names = _names([(side.row, group[0]) for side, (_, group) in zip(sides, ordered, strict=True)])
    return [
        Side(side.row.model_copy(update={"name": name}), side.results) for side, name in zip(sides, names, strict=True)
    ]


def _scaling(sides: Sequence[Side]) -> tuple[Scaling, ...]:
    """Several devices against one, where it is certified that both compute the same."""
    by_key = {side.row.key: side for side in sides}
    return tuple(
        each.model_copy(update={"efficiency": None, "interval": None, "reason": why})
        if each.single and (why := uncertified(by_key[each.several], by_key[each.single]))
        else each
        for each in efficiencies(sides)
    )


def _order(result: RunResult) -> tuple[Any, ...]:
    execution = result.spec.execution
    return execution.device, execution.processes, execution.precision != "float32", execution.inference_precision


def _names(rows: Sequence[tuple[Row, RunResult]]) -> list[str]:
    """Labels; where several rows share one, with those features in which they differ."""
    features = [{**_features(each, result), **_packages(result)} for each, result in rows]
    names = []
    for (each, _), mine in zip(rows, features, strict=True):
        rivals = [other for (row, _), other in zip(rows, features, strict=True) if row.label == each.label]
        kinds = dict.fromkeys(kind for rival in rivals for kind in rival)
        differing = [kind for kind in kinds if len({rival.get(kind) for rival in rivals}) > 1]
        apart = [mine.get(kind, f"no {kind}") for kind in differing[:MOST_FEATURES]]
        names.append(f"{each.label} ({', '.join(apart)})" if apart else each.label)
    return [
        name if names.count(name) == 1 else f"{name} [{each.key[:6]}]"
        for name, (each, _) in zip(names, rows, strict=True)
    ]


def _features(each: Row, result: RunResult) -> dict[str, str]:
    """What may tell rows of one label apart, in words, by kind."""
    execution, image = result.spec.execution, result.kit.image
    name, _, digest = (image or "").partition("@sha256:")
    return {
        "device": " + ".join(sorted(set(each.devices))),
        "processes": counted(each.processes, "process"),
        "precision": each.precision,
        "inference": f"inference in {each.inference_precision}",
        "threads": f"{each.threads_per_process} threads",
        "micro-batch": f"micro-batch {result.plan.micro_batch_size}",
        "checkpointing": "checkpointing" if execution.gradient_checkpointing else "no checkpointing",
        "compile": "compiled" if execution.compile else "not compiled",
        "kit": f"fluxkit {printable(result.kit.version)}",
        "image": f"image {printable(name)}{digest and f' {printable(digest[:7])}'}" if image else "no image",
    }


def _packages(result: RunResult) -> dict[str, str]:
    """Each package with its version, by its name."""
    found = sorted(result.system.before.packages.items())
    return {printable(name): printable(f"{name} {version}") for name, version in found}


def _differences(groups: Sequence[Sequence[RunResult]], workloads: Sequence[Workload]) -> tuple[KeyDifference, ...]:
    """Every key in which workloads differ, with the value of each."""
    if len(groups) < 2:  # noqa: PLR2004 - a difference takes two
        return ()
    facts = {workload.key: _facts(workload) for workload in workloads}
    keys = sorted({key for known in facts.values() for key in known})
    return tuple(
        KeyDifference(
            key=printable(key), values={name: printable(known.get(key, "—")) for name, known in facts.items()}
        )
        for key in keys
        if len({known.get(key) for known in facts.values()}) > 1
    )


def _facts(workload: Workload) -> dict[str, str]:
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


def _warnings(groups: Sequence[Sequence[RunResult]], workloads: Sequence[Workload], measured: int) -> tuple[str, ...]:
    """What a reader must know before reading on, in sentences."""
    seeds = {result.id: result.seed for group in groups for result in group}
    found = []
    if measured > 1:
        found.append(f"The results belong to {measured} different workloads: they stand apart and are in no ratio.")
    if not measured:
        found.append("No run is complete, so there is nothing to compare yet.")
    for workload in workloads:
        found += [*_label_warnings(workload), *_count_warnings(workload), *_apart_warnings(workload)]
        found += [*_seed_warnings(workload, seeds), *_uncertified_warnings(workload)]
    for group in groups:
        found += _relabelled(group)
    return tuple(dict.fromkeys(found))


def _label_warnings(workload: Workload) -> list[str]:
    labels = [each.label for each in workload.rows]
    return [
        f"{labels.count(label)} different configurations share the label “{label}”: "
        "they are separate rows, named by what differs."
        for label in dict.fromkeys(labels)
        if labels.count(label) > 1
    ]


def _count_warnings(workload: Workload) -> list[str]:
    few = [f"“{each.name}” ({len(each.runs)})" for each in workload.rows if 0 < len(each.runs) < MIN_VALUES]
    enough = f"which --repeats {MIN_VALUES} makes possible"
    return [f"Too few runs for an interval, {enough}: {', '.join(few)}."] if few else []


def _seed_warnings(workload: Workload, seeds: Mapping[str, int]) -> list[str]:
    """Rows whose runs are fewer seeds than an interval of quality needs; `seeds` by id of the run."""
    found = []
    for each in workload.rows:
        count = len({seeds[run] for run in each.runs})
        if count < min(MIN_VALUES, len(each.runs)):
            found.append(f"“{each.name}” ({len(each.runs)} runs of {counted(count, 'seed')})")
    if not found:
        return []
    return [f"Runs of one seed count once for quality, and an interval of it needs {MIN_VALUES}: {', '.join(found)}."]


def _apart_warnings(workload: Workload) -> list[str]:
    if all(each.together for each in workload.contrasts):
        return []
    return [APART]


def _uncertified_warnings(workload: Workload) -> list[str]:
    """Only what is not certified to compute the same has a contrast without a value."""
    reasons = dict.fromkeys(each.reason for each in workload.contrasts if each.value is None and each.reason)
    return [f"Some configurations stand in no ratio: {'; '.join(reasons)}."] if reasons else []


def _relabelled(results: Sequence[RunResult]) -> list[str]:
    """Labels or prices that differ inside one configuration of a workload."""
    found = [
        sorted({(result.spec.hardware.label, *spec_prices(result)) for result in group})
        for group in configurations(results).values()
    ]
    return [
        "One configuration carries several labels or prices; its first label and its latest prices are used: "
        + "; ".join(f"“{printable(label)}” at {hour:g} USD/h and {kwh:g} USD/kWh" for label, hour, kwh in variants)
        + "."
        for variants in found
        if len(variants) > 1
    ]
