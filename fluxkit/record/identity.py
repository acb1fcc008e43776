"""Which results are one run, which do one workload, and which were made by one configuration: by what was seen."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from fluxkit.machine.system import System
from fluxkit.record.result import RunResult
from fluxkit.spec.run_spec import RunSpec
from fluxkit.values import canonical_sha256

Item = TypeVar("Item")


def once_each(items: Iterable[Item], result_of: Callable[[Item], RunResult]) -> list[Item]:
    """Results, or what comes with them: each id once, a completed copy before another, in a fixed order."""
    kept: dict[str, Item] = {}
    for item in items:
        id_ = result_of(item).id
        if id_ not in kept or result_of(kept[id_]).status != "completed":
            kept[id_] = item
    return sorted(kept.values(), key=lambda item: _age(result_of(item)))


def _age(result: RunResult) -> tuple[str, str]:
    return result.created, result.id


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
        own = identity(result)
        agreeing = (key for key in groups if all(part in {None, other} for part, other in zip(own, key, strict=True)))
        groups.setdefault(next(agreeing, own), []).append(result)
    ordered = [sorted(group, key=_age) for group in groups.values()]
    return sorted(ordered, key=lambda group: _age(group[0]))


def configuration_sha256(spec: RunSpec, system: System) -> str:
    """What a result claims to have been made by: workload, execution, label, hardware fingerprint, package versions.

    The label is in it because two offers of one device are two choices, at two prices.
    """
    return canonical_sha256([*_made_by(spec, system), spec.hardware.label])


def unlabelled_configuration_sha256(spec: RunSpec, system: System) -> str:
    """The same as versions before the label was part of it claimed it."""
    return canonical_sha256(_made_by(spec, system))


def _made_by(spec: RunSpec, system: System) -> list[Any]:
    execution = spec.execution
    fingerprint = system.fingerprint(execution.device, execution.processes)
    return [spec.workload_sha256(), execution.model_dump(mode="json"), fingerprint, dict(system.packages)]


def configurations(results: Sequence[RunResult]) -> dict[str, list[RunResult]]:
    """Results of one workload by configuration, each in the given order.

    The hash is taken again from the result: what it claims proves nothing. Results of one hash stand apart where
    other measuring code, another image or other devices made them.
    """
    by_hash: dict[str, dict[tuple[str | None, ...], list[RunResult]]] = defaultdict(dict)
    for result in sorted(results, key=lambda result: result.status != "completed"):
        by_maker, maker = by_hash[configuration_sha256(result.spec, result.system.before)], _maker(result)
        # A run that ended early may not have named its devices; it belongs to what the same probe saw.
        known = next((key for key in by_maker if key[: len(maker)] == maker), maker)
        by_maker.setdefault(known, []).append(result)
    return {
        sha256 if len(by_maker) == 1 else canonical_sha256([sha256, maker]): group
        for sha256, by_maker in by_hash.items()
        for maker, group in by_maker.items()
    }


def _maker(result: RunResult) -> tuple[str | None, ...]:
    """What made a result: measuring code (of older results the version), image, hardware as probed, devices.

    The devices are those that a complete run's ranks named. None of it is in the stored hash, so that a claim made by
    its formula can still be verified.
    """
    ranks = result.tuning.ranks if result.tuning and result.status == "completed" else ()
    probed = result.system.before.fingerprint(result.plan.device, result.plan.processes)
    return (
        result.kit.measuring_sha256 or result.kit.version,
        result.kit.image,
        probed,
        *(rank.device_name for rank in ranks),
    )
