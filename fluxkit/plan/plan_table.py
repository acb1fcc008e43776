"""Plans and predictions as tables for the terminal."""

import math
import textwrap
from collections.abc import Iterable, Sequence

from fluxkit.errors import printable
from fluxkit.plan.plan import Plan, measuring_seconds
from fluxkit.plan.predict import Prediction
from fluxkit.plan.slurm import need_of, slurm_options, time_option
from fluxkit.spec.run_spec import RunSpec
from fluxkit.units import amount, counted, side_by_side, span

WIDTH = 80


def plan_table(specs: Sequence[RunSpec], plans: Sequence[Plan], width: int = WIDTH) -> str:
    """One column for each spec, one line for each fact, and the plan's reasons below."""
    columns = [_plan_facts(spec, plan) for spec, plan in zip(specs, plans, strict=True)]
    facts = [(spec.name, *column.values()) for spec, column in zip(specs, columns, strict=True)]
    notes = [f"{spec.name}: {note}" for spec, plan in zip(specs, plans, strict=True) for note in plan.notes]
    return printable("\n".join([*side_by_side(("", *columns[0]), facts, width), *_wrapped(notes, width)]))


def _wrapped(notes: Iterable[str], width: int) -> list[str]:
    """Notes below a table, each indented from its second line on."""
    lines = [
        line
        for note in notes
        for line in textwrap.wrap(note, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    ]
    return ["", *lines] if lines else []


def total_line(specs: Sequence[RunSpec], plans: Sequence[Plan], repeats: Sequence[int], width: int) -> str:
    """How many runs a study has and what they take for sure, at its first look and at its last."""
    seconds = math.fsum(measuring_seconds(spec, plan) for spec, plan in zip(specs, plans, strict=True))
    ends = dict.fromkeys((repeats[0], repeats[-1]))
    runs = " to ".join(str(len(specs) * repeat) for repeat in ends)
    times = " to ".join(span(seconds * repeat) for repeat in ends)
    most = len(specs) * repeats[-1]
    job = f"As one job of Slurm: {time_option(seconds * repeats[-1], most)}."
    noun = "run" if most == 1 else "runs"
    said = f"In all: {runs} {noun}, {times} of tuning and measuring; loading, warm-up and grading come on top."
    return textwrap.fill(f"{said} {job}", width, break_on_hyphens=False)


def _plan_facts(spec: RunSpec, plan: Plan) -> dict[str, str]:
    budget = f"{spec.tune.seconds:g} s and {spec.tune.iterations} iterations, at most {spec.tune.max_seconds:g} s"
    return {
        "device": f"{plan.device_names[0] if plan.device_names else plan.device} ({plan.device})",
        "processes": f"{plan.processes}, each with {counted(plan.threads_per_process, 'thread')}",
        "tuning": f"{spec.tune.method}, {spec.execution.precision}",
        "tuning budget": budget,
        "global batch": f"{spec.tune.global_batch_size} = {counted(plan.processes, 'process')} x"
        f" {plan.micro_batch_size} x {counted(plan.accumulation_steps, 'accumulation step')}",
        "inference": f"batch {spec.inference.batch_size} in micro-batches of {plan.inference_micro_batch_size},"
        f" {spec.execution.inference_precision}",
        "parameters": f"{amount(plan.parameters)}, of which {amount(plan.trainable_parameters)} are tuned",
        "forward pass": f"{amount(plan.forward_flops_per_sample)}FLOP per sample",
        "iteration": f"{amount(plan.train_flops_per_iteration)}FLOP",
        "cost": _cost_text(spec, plan),
        "ask Slurm for": _slurm_text(spec, plan),
    }


def _slurm_text(spec: RunSpec, plan: Plan) -> str:
    """For one run; several take so many times its time."""
    parameters = plan.parameters, plan.trainable_parameters
    seconds = measuring_seconds(spec, plan)
    return slurm_options(spec, need_of(spec, seconds, plan.threads_per_process, parameters, plan.predicted_peak_bytes))


def _cost_text(spec: RunSpec, plan: Plan) -> str:
    prices = spec.prices()
    if prices.usd_per_hour is None:
        return "no price given (hardware.usd_per_hour)"
    iterations = f"{prices.usd(plan.predicted_seconds):.3g} USD" if plan.predicted_seconds else "not predicted"
    in_time = f"{prices.usd(spec.tune.seconds):.3g} USD"
    return f"{spec.tune.iterations} iterations {iterations}, {spec.tune.seconds:g} s {in_time}"


def prediction_table(spec: RunSpec, predictions: tuple[Prediction, ...], width: int = WIDTH) -> str:
    """One column a device, and what the numbers rest on."""
    names = (
        "", "fits", "micro-batch", "peak memory", "iterations/s", f"{spec.tune.iterations} iterations",
        f"in {spec.tune.seconds:g} s", "image-steps/s", f"USD, {spec.tune.iterations} iterations",
        f"USD, {spec.tune.seconds:g} s",
    )  # fmt: skip
    notes = [f"{prediction.title}: {prediction.refusal}" for prediction in predictions if prediction.refusal]
    notes += [
        f"{prediction.title}: tune.max_seconds = {spec.tune.max_seconds:g} ends tuning after about"
        f" {prediction.cut_after} of {spec.tune.iterations} iterations; the cost is that of all of them."
        for prediction in predictions
        if prediction.cut_after
    ]
    notes += [
        f"{prediction.title}, ask Slurm for: {prediction.slurm}" for prediction in predictions if prediction.slurm
    ]
    notes += dict.fromkeys(sentence for prediction in predictions for sentence in prediction.basis)
    title = f"Prediction for {spec.name}: computed from FLOPs and a stated efficiency, not measured."
    columns = list(map(_prediction_column, predictions))
    lines = [*textwrap.wrap(title, width), *side_by_side(names, columns, width), *_wrapped(notes, width)]
    return printable("\n".join(lines))


def _prediction_column(prediction: Prediction) -> tuple[str, ...]:
    fits = "no" if prediction.refusal else "perhaps" if prediction.tight else "yes"
    count = f"{prediction.processes} x " if prediction.processes > 1 else ""
    peak, seconds = prediction.peak_bytes, prediction.iteration_seconds
    steps = prediction.iterations_in_time
    return (
        count + prediction.title,
        fits,
        "—" if prediction.micro_batch_size is None else f"{prediction.micro_batch_size}",
        "—" if peak is None else f"{peak / 1e9:.1f} of {prediction.memory_bytes / 1e9:.0f} GB",
        _number(prediction.iterations_per_second),
        "—" if seconds is None else span(seconds),
        "—" if steps is None else f"{steps} iterations",
        _number(prediction.image_steps_per_second),
        _number(prediction.iterations_usd),
        _number(prediction.time_usd),
    )


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.3g}"
