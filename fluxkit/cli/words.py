"""Plans and studies as text for the terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fluxkit.errors import printable
from fluxkit.measures import grade_about
from fluxkit.prices import Prices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxkit.again import Losses, Verdict
    from fluxkit.bands import Held
    from fluxkit.measures import Subject
    from fluxkit.plan import Plan
    from fluxkit.record import Kit, RunResult
    from fluxkit.selftest import Step
    from fluxkit.spec import RunSpec
    from fluxkit.study import Outcome, Study

THOUSAND = 1000.0


def plan_table(specs: Sequence[RunSpec], plans: Sequence[Plan]) -> str:
    """One column for each spec, one line for each fact, and the plan's reasons below."""
    rows = [("", *(spec.name for spec in specs))]
    columns = [_plan_facts(spec, plan) for spec, plan in zip(specs, plans, strict=True)]
    rows += [(name, *(column[name] for column in columns)) for name in columns[0]]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    notes = [f"{spec.name}: {note}" for spec, plan in zip(specs, plans, strict=True) for note in plan.notes]
    return printable("\n".join([*lines, *([""] if notes else []), *notes]))


def _plan_facts(spec: RunSpec, plan: Plan) -> dict[str, str]:
    budget = f"{spec.tune.seconds:g} s and {spec.tune.iterations} iterations, at most {spec.tune.max_seconds:g} s"
    return {
        "device": f"{plan.device_names[0] if plan.device_names else plan.device} ({plan.device})",
        "processes": f"{plan.processes}, each with {plan.threads_per_process} threads",
        "tuning": f"{spec.tune.method}, {spec.execution.precision}",
        "tuning budget": budget,
        "global batch": f"{spec.tune.global_batch_size} = {plan.processes} processes x {plan.micro_batch_size}"
        f" x {plan.accumulation_steps} accumulation steps",
        "inference": f"batch {spec.inference.batch_size} in micro-batches of {plan.inference_micro_batch_size},"
        f" {spec.execution.inference_precision}",
        "parameters": f"{amount(plan.parameters)}, of which {amount(plan.trainable_parameters)} are tuned",
        "forward pass": f"{amount(plan.forward_flops_per_sample)}FLOP per sample",
        "iteration": f"{amount(plan.train_flops_per_iteration)}FLOP",
        "cost": _plan_cost(spec, plan),
    }


def _plan_cost(spec: RunSpec, plan: Plan) -> str:
    """Of both protocols at the spec's price."""
    prices = Prices(spec.hardware.usd_per_hour)
    if not prices.usd_per_hour:
        return "no price given (hardware.usd_per_hour)"
    iterations = f"{prices.usd(plan.predicted_seconds):.3g} USD" if plan.predicted_seconds else "not predicted"
    in_time = f"{prices.usd(spec.tune.seconds):.3g} USD"
    return f"{spec.tune.iterations} iterations {iterations}, {spec.tune.seconds:g} s {in_time}"


def study_order(study: Study) -> str:
    """The runs of a study in the order in which they are done."""
    lines = [
        f"{run.order + 1:3d}. {study.specs[run.spec].name}, repeat {run.repeat}, seed {run.seed}" for run in study.runs
    ]
    return "\n".join(["Order of the runs:", *lines])


def version_line(kit: Kit) -> str:
    """Version, commit and image of this fluxkit."""
    parts = [f"commit {kit.commit[:12]}{', with changes' if kit.dirty else ''}"] if kit.commit else []
    parts += [f"image {kit.image}"] if kit.image else []
    return f"fluxkit {kit.version}" + (f" ({', '.join(parts)})" if parts else "")


def amount(value: float) -> str:
    """A number in four digits with an SI prefix: `11.89 G`."""
    for prefix in ("", "k", "M", "G", "T", "P", "E"):
        if abs(value) < THOUSAND or prefix == "E":
            break
        value /= THOUSAND
    return f"{value:.4g} {prefix}"


def sentence(result: RunResult) -> str:
    """How a run ended and its headline numbers with their grades, for a person."""
    if result.error:
        phase = f" in phase {result.error.phase}" if result.error.phase else ""
        return f"{result.spec.name} r{result.repeat} {result.status}{phase}: {result.error.message}"
    summary = result.summary
    numbers: tuple[tuple[str, float | None, Subject], ...] = (
        ("iterations/s", summary.training_iterations_per_second, "training_speed"),
        ("image-steps/s", summary.inference_image_steps_per_second, "inference_speed"),
        ("dB PSNR", summary.psnr_db, "quality"),
        ("SSIM", summary.ssim, "quality"),
    )
    known = [
        f"{value:.4g} {unit} ({grade_about((result,), subject)})"
        for unit, value, subject in numbers
        if value is not None
    ]
    return f"{result.spec.name} r{result.repeat} {result.status}: {', '.join(known) or 'nothing was measured'}"


def step_line(step: Step) -> str:
    """One step of the selftest."""
    return f"{step.name:<10} {'ok' if step.passed else 'failed':<7} {step.seconds:5.1f} s  {step.words}"


def verdict_lines(verdict: Verdict) -> str:
    """A rerun's numbers against their bands, its losses, what makes it not comparable, and the verdict last."""
    lines = [_held_line(number) for number in verdict.numbers]
    if verdict.losses:
        lines.append(_losses_line(verdict.losses))
    lines += [f"differs: {each.row}: {each.original} there, {each.again} here" for each in verdict.differences]
    outside = [number.name for number in verdict.numbers if not number.inside and number.grade != "X"]
    parted = verdict.losses is not None and verdict.losses.promised and not verdict.losses.equal
    why = [each.row for each in verdict.differences] or [*outside, *(["losses"] if parted else [])]
    if verdict.verdict == "not comparable" and not verdict.differences:
        why = ["no number is there that may be used"]
    if verdict.verdict == "not decided":
        why = list(verdict.untold)
    return printable("\n".join([*lines, verdict.verdict + (f": {', '.join(why)}" if why else "")]))


def _held_line(number: Held) -> str:
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


def study_json(outcome: Outcome) -> str:
    """What a study has come to, as JSON for scripts."""
    runs = [
        {"id": each.id, "name": each.spec.name, "repeat": each.repeat, "status": each.status}
        | {"summary": each.summary.model_dump(mode="json"), "error": each.error and each.error.model_dump(mode="json")}
        for each in outcome.results
    ]
    return json.dumps({"study": str(outcome.folder), "stopped": outcome.stopped, "runs": runs}, indent=1)
