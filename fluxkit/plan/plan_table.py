"""Plans and predictions as tables for the terminal."""

from collections.abc import Sequence

from fluxkit.errors import printable
from fluxkit.plan.plan import Plan
from fluxkit.plan.predict import Prediction
from fluxkit.spec.run_spec import RunSpec
from fluxkit.units import aligned, amount, span


def plan_table(specs: Sequence[RunSpec], plans: Sequence[Plan]) -> str:
    """One column for each spec, one line for each fact, and the plan's reasons below."""
    rows = [("", *(spec.name for spec in specs))]
    columns = [_plan_facts(spec, plan) for spec, plan in zip(specs, plans, strict=True)]
    rows += [(name, *(column[name] for column in columns)) for name in columns[0]]
    notes = [f"{spec.name}: {note}" for spec, plan in zip(specs, plans, strict=True) for note in plan.notes]
    return printable("\n".join([*aligned(rows), *([""] if notes else []), *notes]))


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
        "cost": _cost_text(spec, plan),
    }


def _cost_text(spec: RunSpec, plan: Plan) -> str:
    prices = spec.prices()
    if prices.usd_per_hour is None:
        return "no price given (hardware.usd_per_hour)"
    iterations = f"{prices.usd(plan.predicted_seconds):.3g} USD" if plan.predicted_seconds else "not predicted"
    in_time = f"{prices.usd(spec.tune.seconds):.3g} USD"
    return f"{spec.tune.iterations} iterations {iterations}, {spec.tune.seconds:g} s {in_time}"


def prediction_table(spec: RunSpec, predictions: tuple[Prediction, ...]) -> str:
    """One line a device, and what the numbers rest on."""
    names = (
        "device", "fits", "micro-batch", "peak memory", "iterations/s", f"{spec.tune.iterations} iterations",
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
    notes += dict.fromkeys(sentence for prediction in predictions for sentence in prediction.basis)
    title = f"Prediction for {spec.name}: computed from FLOPs and a stated efficiency, not measured."
    lines = aligned([names, *map(_prediction_row, predictions)])
    return "\n".join([title, *lines, *([""] if notes else []), *notes])


def _prediction_row(prediction: Prediction) -> tuple[str, ...]:
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
