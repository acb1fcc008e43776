"""How a spec would run on a device that is not here: predicted from exact FLOPs, memory and a stated efficiency."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import BaseModel

from fluxkit.errors import MachineError
from fluxkit.machine.device_peaks import REFERENCE_CORES, efficiency, flops_per_second
from fluxkit.machine.readings import Device, Reading
from fluxkit.machine.system import ENGINE_PACKAGES, System
from fluxkit.model.pipeline_files import SCHNELL_FOLDER, pipeline_folder
from fluxkit.plan.duration import devices_at_work, inference_seconds
from fluxkit.plan.micro_batches import CONTEXT_BYTES, Room
from fluxkit.plan.plan import make_plan
from fluxkit.plan.sizes import sizes_of
from fluxkit.spec.prices import Prices
from fluxkit.units import span
from fluxkit.values import FROZEN

if TYPE_CHECKING:
    from fluxkit.machine.device_peaks import Peaks, Work
    from fluxkit.plan.plan import Plan
    from fluxkit.plan.sizes import Sizes
    from fluxkit.spec.execution import InferencePrecision
    from fluxkit.spec.run_spec import RunSpec


class Prediction(BaseModel):
    """What to expect of a device; null where it is not known, and `refusal` where it would not run at all."""

    model_config = FROZEN
    device: str
    """Its name in `devices.toml`."""
    title: str
    processes: int
    refusal: str | None = None
    """Why it would not run there."""
    micro_batch_size: int | None = None
    """Samples per forward pass of tuning."""
    inference_micro_batch_size: int | None = None
    peak_bytes: int | None = None
    """Predicted peak of the tensors of one process."""
    memory_bytes: int
    tight: bool = False
    """Whether it fits only if the prediction of memory is not too low."""
    iterations_per_second: float | None = None
    iteration_seconds: float | None = None
    """Seconds of the constant-iteration protocol: `tune.iterations` steps."""
    iterations_in_time: int | None = None
    """Steps that the constant-time protocol reaches in `tune.seconds`."""
    image_steps_per_second: float | None = None
    tuning_seconds: float | None = None
    """Until both budgets are met, or `tune.max_seconds`."""
    inference_seconds: float | None = None
    iterations_usd: float | None = None
    """What `tune.iterations` steps cost: equal work; null without a price or a time."""
    time_usd: float | None = None
    """What `tune.seconds` of tuning cost: equal time; null without a price."""
    cut_after: int | None = None
    """Steps after which `tune.max_seconds` would end tuning; null where it would not."""
    basis: tuple[str, ...] = ()
    """Efficiencies that the seconds rest on, with their origin."""


def predict(spec: RunSpec, device: Peaks, usd_per_hour: float | None = None) -> Prediction:
    """What `spec` would need and give on `device`: as many of it as the spec has processes.

    Args:
        spec: what is asked.
        device: what it would run on.
        usd_per_hour: price of all of them together; the spec's if None.
    """
    price = spec.hardware.usd_per_hour if usd_per_hour is None else usd_per_hour
    execution = spec.execution.model_copy(update={"device": device.kind, "threads": 0})
    there = spec.model_copy(update={"execution": execution})
    known = {
        "device": device.name,
        "title": device.title,
        "processes": execution.processes,
        "memory_bytes": device.memory_bytes,
    }
    try:
        plan = make_plan(there, _machine(device, execution.processes), to_run=False, sizes=_sizes_anywhere(there))
    except MachineError as error:
        return Prediction(**known, refusal=str(error))
    return Prediction(**known, **_times(there, plan, device, price))


def _times(spec: RunSpec, plan: Plan, device: Peaks, price: float) -> dict[str, object]:
    at_work, precision = devices_at_work(spec), spec.execution.tuning_precision
    tuning = _rate(device, spec, "tuning", precision, at_work / plan.train_flops_per_iteration)
    images = _rate(
        device, spec, "inference", spec.execution.inference_precision, at_work / plan.forward_flops_per_sample
    )
    iteration_seconds = spec.tune.iterations / tuning if tuning else None
    peak = plan.predicted_peak_bytes and plan.predicted_peak_bytes // plan.processes
    together = plan.inference_micro_batch_size * plan.processes
    timed_seconds = inference_seconds(spec, together, images) if images else None
    return {
        "micro_batch_size": plan.micro_batch_size,
        "inference_micro_batch_size": plan.inference_micro_batch_size,
        "peak_bytes": peak,
        "tight": peak is not None
        and not Room(device.title, device.memory_bytes, CONTEXT_BYTES[device.kind]).holds(peak),
        "iterations_per_second": tuning,
        "iteration_seconds": iteration_seconds,
        "iterations_in_time": int(spec.tune.seconds * tuning) if tuning else None,
        "image_steps_per_second": images,
        "tuning_seconds": _tuning_seconds(spec, tuning),
        "inference_seconds": timed_seconds,
        "iterations_usd": _usd(price, iteration_seconds),
        "time_usd": _usd(price, spec.tune.seconds),
        "cut_after": _cut_after(spec, tuning),
        "basis": _basis(device, spec, precision),
    }


def _rate(device: Peaks, spec: RunSpec, work: Work, precision: InferencePrecision, per_flop: float) -> float | None:
    flops = flops_per_second(device, spec.model.family, work, precision)
    return flops * per_flop if flops else None


def _tuning_seconds(spec: RunSpec, speed: float | None) -> float | None:
    if not speed:
        return None
    return min(max(spec.tune.seconds, spec.tune.iterations / speed), spec.tune.max_seconds)


def _cut_after(spec: RunSpec, speed: float | None) -> int | None:
    if not speed or spec.tune.iterations / speed <= spec.tune.max_seconds:
        return None
    return math.ceil(spec.tune.max_seconds * speed)


def _usd(price: float, seconds: float | None) -> float | None:
    return Prices(price).usd(seconds) if price and seconds is not None else None


def _basis(device: Peaks, spec: RunSpec, tuning: InferencePrecision) -> tuple[str, ...]:
    asked: tuple[tuple[Work, InferencePrecision], ...] = (
        ("tuning", tuning),
        ("inference", spec.execution.inference_precision),
    )
    sentences = []
    for work, precision in asked:
        found, peak = efficiency(device, spec.model.family, work, precision), device.peak_flops_per_second(precision)
        if found and peak:
            sentences.append(
                f"{device.title}, {work} in {precision}: {found.share:.0%} of {peak / 1e12:.4g} TFLOP/s"
                f" ({device.flops_source}; {device.date}). Share: {found.origin}."
            )
        else:
            sentences.append(f"{device.title}, {work} in {precision}: no efficiency is known, so no time is predicted.")
    return tuple(sentences)


def _sizes_anywhere(spec: RunSpec) -> Sizes:
    """The sizes of a run whose weights need not be here; those of schnell are known without its files."""
    try:
        return sizes_of(spec, pipeline_folder(spec.model))
    except MachineError:
        if spec.model.family != "schnell":
            raise
        return sizes_of(spec, SCHNELL_FOLDER)


def _machine(device: Peaks, count: int) -> System:
    """A machine with so many of the device; nothing else about it is known."""
    cores = {"cpu_logical_cores": REFERENCE_CORES, "cpu_usable_cores": REFERENCE_CORES}
    known = Device(kind=device.kind, name=device.title, memory_bytes=device.memory_bytes)
    cpu = Device(kind="cpu", name="CPU", memory_bytes=None)
    return System(
        readings={name: Reading(value=value, source="assumed") for name, value in cores.items()},
        devices=(known,) if device.kind == "cpu" else (cpu, *[known] * count),
        packages=dict.fromkeys(ENGINE_PACKAGES, "assumed"),
    )


def prediction_table(spec: RunSpec, predictions: tuple[Prediction, ...]) -> str:
    """One line a device, and what the numbers rest on."""
    names = (
        "device", "fits", "micro-batch", "peak memory", "iterations/s", f"{spec.tune.iterations} iterations",
        f"in {spec.tune.seconds:g} s", "image-steps/s", f"USD, {spec.tune.iterations} iterations",
        f"USD, {spec.tune.seconds:g} s",
    )  # fmt: skip
    rows = [names, *(_row(each) for each in predictions)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(names))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    title = f"Prediction for {spec.name}: computed from FLOPs and a stated efficiency, not measured."
    notes = [f"{each.title}: {each.refusal}" for each in predictions if each.refusal]
    notes += [_cut_note(spec, each) for each in predictions if each.cut_after]
    notes += dict.fromkeys(sentence for each in predictions for sentence in each.basis)
    return "\n".join([title, *lines, *([""] if notes else []), *notes])


def _cut_note(spec: RunSpec, each: Prediction) -> str:
    return (
        f"{each.title}: tune.max_seconds = {spec.tune.max_seconds:g} ends tuning after about {each.cut_after} of"
        f" {spec.tune.iterations} iterations; the cost is that of all of them."
    )


def _row(each: Prediction) -> tuple[str, ...]:
    fits = "no" if each.refusal else "perhaps" if each.tight else "yes"
    count = f"{each.processes} x " if each.processes > 1 else ""
    memory = "—" if each.peak_bytes is None else f"{each.peak_bytes / 1e9:.1f} of {each.memory_bytes / 1e9:.0f} GB"
    return (
        count + each.title,
        fits,
        "—" if each.micro_batch_size is None else f"{each.micro_batch_size}",
        memory,
        _number(each.iterations_per_second),
        "—" if each.iteration_seconds is None else span(each.iteration_seconds),
        "—" if each.iterations_in_time is None else f"{each.iterations_in_time} iterations",
        _number(each.image_steps_per_second),
        _number(each.iterations_usd),
        _number(each.time_usd),
    )


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.3g}"
