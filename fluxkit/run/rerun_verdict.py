"""Whether a run, done again, gave the same numbers: reproduced, drifted, not decided or not comparable, and why."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from pydantic import ConfigDict, Field

from fluxkit.errors import printable
from fluxkit.machine.provenance import Kit
from fluxkit.machine.system import System
from fluxkit.plan.plan import Plan
from fluxkit.record.metrics import Metric
from fluxkit.record.result import RunResult
from fluxkit.run.rerun_tolerance import QUANTITIES, TOO_WIDE, HeldNumber, held
from fluxkit.trust.certificates import agreement_passed
from fluxkit.trust.estimate import grade_about
from fluxkit.values import Frozen

ABSENT = "none"


class Difference(Frozen):
    """A row of spec, inputs or environment that is not the same."""

    row: str
    original: str
    again: str


class Losses(Frozen):
    """The losses of both trajectories, as far as both go."""

    compared: int
    """Length of the shorter trajectory."""
    equal: bool
    """To the last bit."""
    promised: bool
    """Whether machine, threads, packages and FP32 promise that they are."""
    first_difference: int | None = None
    """Iteration, from 0."""


class Verdict(Frozen):
    """What became of a run that was done again."""

    model_config = ConfigDict(populate_by_name=True)
    schema_: Literal["fluxkit.rerun/1"] = Field(default="fluxkit.rerun/1", alias="schema")
    verdict: Literal["reproduced", "drifted", "not decided", "not comparable"]
    """Not decided: nothing drifted, but `untold` is not empty."""
    original: str
    """Id of the original result."""
    again: tuple[str, ...]
    """Ids of the runs that were done now."""
    differences: tuple[Difference, ...]
    """What makes them not comparable."""
    numbers: tuple[HeldNumber, ...]
    losses: Losses | None
    undecided: tuple[str, ...] = Field(default=(), alias="untold")
    """Numbers of the original about which nothing can be said, and why, in words."""


def judge(original: RunResult, again: Sequence[RunResult], repeats: Sequence[RunResult] = ()) -> Verdict:
    """The verdict about completed runs `again` of what `original` asked for.

    Args:
        original: the result that was given.
        again: what was run now, at least one.
        repeats: the original with the other completed repeats of its configuration.
    """
    differences: dict[str, Difference] = {}
    for result in again:
        for difference in differences_of(original, result):
            differences.setdefault(difference.row, difference)
    numbers = tuple(held(each, original, again, repeats) for each in QUANTITIES if _has(each, original, again))
    losses, undecided = _first_to_part(original, again), tuple(_undecided(original, numbers))
    usable = [number for number in numbers if number.grade != "X"]
    off = any(not number.inside for number in usable) or (losses and losses.promised and not losses.equal)
    verdict: Literal["drifted", "not decided", "reproduced"]
    verdict = "drifted" if off else "not decided" if undecided else "reproduced"
    return Verdict(
        verdict="not comparable" if differences or not usable else verdict,
        original=original.id,
        again=tuple(result.id for result in again),
        differences=tuple(differences.values()),
        numbers=numbers,
        losses=losses,
        undecided=undecided,
    )


def _undecided(original: RunResult, numbers: Sequence[HeldNumber]) -> Iterator[str]:
    """Without each of these a run is not reproduced, however well it did in the others."""
    known = {number.name: number for number in numbers}
    for quantity in QUANTITIES:
        number = known.get(quantity.key)
        if getattr(original.summary, quantity.key) is None:
            continue
        if number is None:
            yield f"{quantity.key}: it was not measured again"
        elif number.grade == "X":
            worse = "the original" if grade_about((original,), quantity.subject) == "X" else "this run"
            yield f"{quantity.key}: in {worse} it may not be used (grade X)"
        elif not number.conclusive:
            yield f"{quantity.key}: {TOO_WIDE}"


def differences_of(original: RunResult, again: RunResult) -> list[Difference]:
    """Rows of what was asked, put in, and run on that are not equal in two results."""
    return differing(rows_of(original), rows_of(again)) + differing_variables(
        variables_of(original), variables_of(again)
    )


def differing(before: Mapping[str, str], after: Mapping[str, str]) -> list[Difference]:
    """Rows that are not equal, or on one side only."""
    keys = dict.fromkeys((*before, *after))
    return [
        Difference(row=key, original=before.get(key, ABSENT), again=after.get(key, ABSENT))
        for key in keys
        if before.get(key, ABSENT) != after.get(key, ABSENT)
    ]


def differing_variables(before: Mapping[str, str] | None, after: Mapping[str, str] | None) -> list[Difference]:
    """The environment variables that may change speed or rounding; none where one side did not record them."""
    if before is None or after is None:
        return []
    return differing(*({f"environment.{name}": value for name, value in side.items()} for side in (before, after)))


def variables_of(result: RunResult) -> Mapping[str, str] | None:
    """What reached rank 0 of a run."""
    return result.tuning.ranks[0].environment if result.tuning and result.tuning.ranks else None


def rows_of(result: RunResult) -> dict[str, str]:
    """Everything that must be equal for one run to be the other done again."""
    inputs = result.inputs
    spec = {**result.spec.workload(), "execution": result.spec.execution.model_dump(mode="json")}
    rows = environment_rows(result.kit, result.plan, result.system.before) | _flat(spec, "spec.")
    rows["inputs.weights_sha256"] = inputs.weights_sha256[:12] if inputs else ABSENT
    rows["inputs.dataset_sha256"] = inputs.dataset_sha256[:12] if inputs else ABSENT
    definition = result.quality.definition if result.quality else {}
    rows |= {f"quality.{key}": str(value) for key, value in definition.items()}
    passed = agreement_passed(result)
    # Two runs that both failed are no more alike for it.
    rows["agreement"] = f"failed in run {result.id[:8]}" if passed is False else "not failed"
    return rows


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


def _flat(tables: Mapping[str, object], prefix: str) -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in tables.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: str(value)}
    return flat


def _has(quantity: Metric, original: RunResult, again: Sequence[RunResult]) -> bool:
    """Whether both sides have such a number."""
    return all(getattr(result.summary, quantity.key) is not None for result in (original, *again))


def _first_to_part(original: RunResult, again: Sequence[RunResult]) -> Losses | None:
    """The losses of the run that parts from the original first."""
    compared = [losses for result in again if (losses := _losses(original, result))]
    return min(compared, key=lambda losses: (losses.equal, losses.first_difference or 0), default=None)


def _losses(original: RunResult, again: RunResult) -> Losses | None:
    """None unless both began at the same seed, without which nothing is promised."""
    if not original.tuning or not again.tuning or original.seed != again.seed:
        return None
    pairs = list(zip(original.tuning.losses, again.tuning.losses, strict=False))
    parting = next((iteration for iteration, (first, second) in enumerate(pairs) if first != second), None)
    return Losses(
        compared=len(pairs), equal=parting is None, promised=_bits_promised(original, again), first_difference=parting
    )


def _bits_promised(original: RunResult, again: RunResult) -> bool:
    """The same asked of FP32 in one process of the same CPU, threads and packages: sums are made in the same order.

    A GPU's backward passes add up in an order that is not fixed, and several processes' gradients likewise.
    """
    execution = original.spec.execution
    first, second = (
        [(rank.threads, rank.versions) for rank in result.tuning.ranks] if result.tuning else []
        for result in (original, again)
    )
    same = not differences_of(original, again) and first == second
    return same and execution.device == "cpu" and execution.processes == 1 and execution.precision == "float32"


def verdict_lines(verdict: Verdict) -> str:
    """A rerun's numbers against their bands, its losses, what makes it not comparable, and the verdict last."""
    lines = [_held_line(number) for number in verdict.numbers]
    if verdict.losses:
        lines.append(_losses_line(verdict.losses))
    lines += [f"differs: {row.row}: {row.original} there, {row.again} here" for row in verdict.differences]
    outside = [number.name for number in verdict.numbers if not number.inside and number.grade != "X"]
    parted = verdict.losses is not None and verdict.losses.promised and not verdict.losses.equal
    why = [row.row for row in verdict.differences] or [*outside, *(["losses"] if parted else [])]
    if verdict.verdict == "not comparable" and not verdict.differences:
        why = ["no number is there that may be used"]
    if verdict.verdict == "not decided":
        why = list(verdict.undecided)
    return printable("\n".join([*lines, verdict.verdict + (f": {', '.join(why)}" if why else "")]))


def _held_line(number: HeldNumber) -> str:
    change = f" ({number.again / number.original - 1:+.2%})" if number.original else ""
    values = f"{number.original:.5g} there, {number.again:.5g} here{change} {number.unit}".rstrip()
    place = "inside" if number.inside else "outside"
    grade = f", grade {number.grade}" if number.grade else ""
    grade += ", in no verdict" if number.grade == "X" else ""
    return f"{number.name}: {values}; {place} {number.low:.5g} to {number.high:.5g} ({number.band}){grade}"


def _losses_line(losses: Losses) -> str:
    promise = "as promised" if losses.promised else "which nothing promised"
    if losses.equal:
        return f"losses: the first {losses.compared} are equal to the last bit, {promise}"
    broken = "although equal bits were promised" if losses.promised else "and equal bits were not promised"
    return f"losses: of {losses.compared} the first to differ is that of iteration {losses.first_difference}, {broken}"
