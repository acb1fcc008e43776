"""Plans as a table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluxkit.errors import printable
from fluxkit.spec.prices import Prices
from fluxkit.units import aligned, amount

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxkit.plan.plan import Plan
    from fluxkit.spec.run_spec import RunSpec


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
