"""Which results are one run, which do one workload, and which were made by one configuration: by what was seen."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from fluxkit.values import canonical_sha256

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fluxkit.machine.system import System
    from fluxkit.record.result import RunResult
    from fluxkit.spec.run_spec import RunSpec


def once_each(results: Iterable[RunResult]) -> list[RunResult]:
    """Each id once, a completed copy before another, in a fixed order."""
    found: dict[str, RunResult] = {}
    for result in results:
        if result.id not in found or found[result.id].status != "completed":
            found[result.id] = result
    return sorted(found.values(), key=lambda result: (result.created, result.id))


def identity(result: RunResult) -> tuple[str, str | None, str | None, str | None]:
    """What must be equal for results to be compared; None where the run did not get that far.

    The workload's hash is taken again from the spec: a claimed hash proves nothing.
    """
    inputs, quality = result.inputs, result.quality
    return (
        result.spec.workload_sha256(),
        inputs.weights_sha256 if inputs else None,
        inputs.dataset_sha256 if inputs else None,
        canonical_sha256(quality.definition) if quality else None,
    )


def workloads_of(results: Sequence[RunResult]) -> list[list[RunResult]]:
    """Results by identity; one that does not know all of its own joins the first group that it does not contradict."""
    groups: dict[tuple[str | None, ...], list[RunResult]] = {}
    by_knowledge = sorted(results, key=lambda result: (identity(result).count(None), result.status != "completed"))
    for result in by_knowledge:
        mine = identity(result)
        known = next((key for key in groups if _agree(key, mine)), mine)
        groups.setdefault(known, []).append(result)
    ordered = [sorted(group, key=lambda result: (result.created, result.id)) for group in groups.values()]
    return sorted(ordered, key=lambda group: (group[0].created, group[0].id))


def _agree(known: tuple[str | None, ...], mine: tuple[str | None, ...]) -> bool:
    return all(each is None or each == theirs for theirs, each in zip(known, mine, strict=True))


def configuration_sha256(spec: RunSpec, system: System) -> str:
    """What a result claims to have been made by: workload, execution, hardware fingerprint and package versions."""
    execution = spec.execution
    fingerprint = system.fingerprint(execution.device, execution.processes)
    return canonical_sha256(
        [spec.workload_sha256(), execution.model_dump(mode="json"), fingerprint, dict(system.packages)]
    )


def configurations(results: Sequence[RunResult]) -> dict[str, list[RunResult]]:
    """Results of one workload by configuration, each in the given order.

    The hash is taken again from the result: what it claims proves nothing. Results of one hash stand apart where
    another version of fluxkit, another image or other devices made them.
    """
    hashes: dict[str, dict[tuple[str | None, ...], list[RunResult]]] = defaultdict(dict)
    for result in sorted(results, key=lambda each: each.status != "completed"):
        makers, seen = hashes[configuration_sha256(result.spec, result.system.before)], _seen(result)
        # A run that ended early may not have named its devices; it belongs to what the same probe saw.
        known = next((key for key in makers if key[: len(seen)] == seen), seen)
        makers.setdefault(known, []).append(result)
    return {
        sha256 if len(makers) == 1 else canonical_sha256([sha256, seen]): group
        for sha256, makers in hashes.items()
        for seen, group in makers.items()
    }


def _seen(result: RunResult) -> tuple[str | None, ...]:
    """The version and image that made a result, the hardware as probed, the devices that a complete run's ranks named.

    They are not in the stored hash, so that a claim made by its formula can still be verified.
    """
    ranks = result.tuning.ranks if result.tuning and result.status == "completed" else ()
    probed = result.system.before.fingerprint(result.plan.device, result.plan.processes)
    return (result.kit.version, result.kit.image, probed, *(rank.device_name for rank in ranks))
