"""How long tuning and the inference speed take, where the rate of the devices is known."""

import math
from typing import NamedTuple

from fluxkit.machine.device_peaks import REFERENCE_CORES, Compiling, expected_rates
from fluxkit.plan.sizes import Sizes
from fluxkit.spec.run_spec import RunSpec
from fluxkit.spec.workload import MIN_TIMED_STEPS
from fluxkit.units import span


class Times(NamedTuple):
    """What a plan expects of time; None where no rate is known."""

    tuning_seconds: float | None = None
    """Of `tune.iterations` steps."""
    batch_seconds: float | None = None
    """Of all steps of one whole batch of the inference speed."""
    inference_coverage: float | None = None
    """Share of that batch that the limits leave time for, in whole micro-batches."""
    notes: tuple[str, ...] = ()


def expected_times(spec: RunSpec, sizes: Sizes, device_name: str, *, cores: int, micro_batch: int) -> Times:
    """Times of tuning and inference.

    CPUs differ by factors. A core of one that is not known is taken for one of the CPU in `devices.toml`, which tells
    minutes from days.

    Args:
        spec: what is asked.
        sizes: of its model.
        device_name: of the first device.
        cores: CPU threads of all processes.
        micro_batch: images per forward pass of the inference speed on each process.
    """
    rates = expected_rates(device_name, spec.execution.device, spec.model.family)
    if rates is None:
        return Times()
    count = cores / REFERENCE_CORES if rates.assumed else devices_at_work(spec)
    flops_per_second = {kind: rate * count for kind, rate in rates.flops_per_second.items()}
    precision, notes = spec.execution.inference_precision, []
    tuning_seconds = batch_seconds = coverage = None
    if tuning := flops_per_second.get(("tuning", spec.execution.tuning_precision)):
        tuning_seconds = spec.tune.iterations * sizes.cost.train_flops / tuning
        compiling = rates.compiling.get(spec.execution.tuning_precision)
        notes += [_tuning_note(spec, tuning_seconds), *compiling_notes(spec, compiling, tuning_seconds)]
    if inference := flops_per_second.get(("inference", precision)):
        image_steps = inference / sizes.cost.forward_flops
        batch_seconds = spec.inference.batch_size * spec.inference.num_inference_steps / image_steps
        timed = inference_seconds(spec, micro_batch * spec.execution.processes, image_steps) * image_steps
        coverage = min(1.0, timed / (spec.inference.batch_size * spec.inference.num_inference_steps))
        exact = flops_per_second.get(("inference", "ieee_float32"))
        notes.append(_inference_note(spec, batch_seconds, exact and batch_seconds * inference / exact, coverage))
    if rates.assumed and notes:
        notes.append(
            f"These times take its cores for those of “{rates.device.title}” in devices.toml; they may be far off."
        )
    return Times(tuning_seconds, batch_seconds, coverage, tuple(notes))


def inference_seconds(spec: RunSpec, together: int, image_steps_per_second: float) -> float:
    """Seconds that the inference speed is timed: whole micro-batches until both minima, or the limit, are reached."""
    step = together / image_steps_per_second
    trajectory = spec.inference.num_inference_steps * step
    wanted = min(max(spec.inference.min_seconds, MIN_TIMED_STEPS * step), spec.inference.max_seconds)
    return math.ceil(wanted / trajectory) * trajectory


def _tuning_note(spec: RunSpec, seconds: float) -> str:
    tune = spec.tune
    words = f"{tune.iterations} iterations take about {span(seconds)}"
    if seconds <= tune.max_seconds:
        return f"{words}."
    done = max(1, math.ceil(tune.iterations * tune.max_seconds / seconds))
    return f"{words}; tune.max_seconds = {tune.max_seconds:g} ends tuning after about {done}, and the result says so."


def compiling_notes(spec: RunSpec, known: Compiling | None, tuning_seconds: float) -> list[str]:
    """After how many steps compiled blocks would have paid for their compiling, where that is known and allowed.

    Args:
        spec: what is asked.
        known: what compiling gives the device.
        tuning_seconds: of `tune.iterations` steps that are not compiled.
    """
    if known is None or spec.changed([("execution.compile", not spec.execution.compile)]) is None:
        return []
    saved = tuning_seconds * (1 - known.step_share) / spec.tune.iterations
    even = math.ceil(known.seconds / saved)
    pays = "pays" if even <= spec.tune.iterations else "does not pay"
    note = (
        f"Compiled blocks take about {span(known.seconds)} before tuning and {1 - known.step_share:.0%} off each step:"
        f" execution.compile = true is even after {even} steps and {pays} for itself within {spec.tune.iterations}"
        f" iterations ({known.origin})."
    )
    return [note]


def _inference_note(spec: RunSpec, seconds: float, in_fp32: float | None, coverage: float) -> str:
    inference, precision = spec.inference, spec.execution.inference_precision
    words = f"One batch of {inference.batch_size} images takes about {span(seconds)} in {precision}"
    if in_fp32 and precision != "ieee_float32":
        words += f", and about {span(in_fp32)} in ieee_float32"
    if coverage >= 1:
        return f"{words}."
    return (
        f"{words}; inference.max_seconds = {inference.max_seconds:g} leaves time for {coverage:.1%} of it in whole"
        " micro-batches, which is the coverage that the result will state."
    )


def devices_at_work(spec: RunSpec) -> int:
    """One for each process of a GPU run; the processes of a CPU run share one."""
    return spec.execution.processes if spec.execution.device == "cuda" else 1
