"""How a spec would run on a device that is not here: predicted from exact FLOPs, memory and a stated efficiency."""

import math

from fluxkit.errors import MachineError
from fluxkit.machine.device_peaks import REFERENCE_CORES, Peaks, Work, compiling, efficiency, flops_per_second
from fluxkit.machine.readings import Device, Reading
from fluxkit.machine.system import ENGINE_PACKAGES, System
from fluxkit.model.pipeline_files import SCHNELL_FOLDER, pipeline_folder
from fluxkit.plan.duration import compiling_notes, devices_at_work, inference_seconds
from fluxkit.plan.micro_batches import is_tight
from fluxkit.plan.placement import place
from fluxkit.plan.plan import Plan, make_plan
from fluxkit.plan.sizes import Sizes, sizes_of
from fluxkit.plan.slurm import need_of, slurm_options
from fluxkit.spec.execution import InferencePrecision
from fluxkit.spec.prices import Prices
from fluxkit.spec.run_spec import RunSpec
from fluxkit.values import Frozen


class Prediction(Frozen):
    """What to expect of a device; null where it is not known, and `refusal` where it would not run at all."""

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
    slurm: str | None = None
    """Options of sbatch for one run; null where it would not run."""
    basis: tuple[str, ...] = ()
    """Efficiencies that the seconds rest on, with their origin."""


def predict(spec: RunSpec, device: Peaks, usd_per_hour: float | None = None) -> Prediction:
    """What `spec` would need and give on `device`: as many of it as the spec has processes.

    Args:
        spec: what is asked.
        device: what it would run on.
        usd_per_hour: price of all of them together; the spec's if None.
    """
    price = spec.prices().usd_per_hour if usd_per_hour is None else usd_per_hour
    execution = spec.execution.model_copy(update={"device": device.kind, "threads": 0})
    there = spec.model_copy(update={"execution": execution})
    facts = {
        "device": device.name,
        "title": device.title,
        "processes": execution.processes,
        "memory_bytes": device.memory_bytes,
    }
    machine = _machine(device, execution.processes)
    try:
        sizes = _sizes_anywhere(there)
        plan = make_plan(there, machine, to_run=False, sizes=sizes)
    except MachineError as error:
        return Prediction(**facts, refusal=str(error))
    batches = plan.micro_batch_size, plan.inference_micro_batch_size
    tight = is_tight(there, sizes, place(there, machine, to_run=False).devices, batches)
    return Prediction(**facts, tight=tight, **_performance(there, plan, device, price))


def _performance(spec: RunSpec, plan: Plan, device: Peaks, price: float | None) -> dict[str, object]:
    at_work, precision, tune = devices_at_work(spec), spec.execution.tuning_precision, spec.tune
    tuning = _rate(device, spec, "tuning", precision, at_work / plan.train_flops_per_iteration)
    images = _rate(
        device, spec, "inference", spec.execution.inference_precision, at_work / plan.forward_flops_per_sample
    )
    iteration_seconds = tune.iterations / tuning if tuning else None
    peak = plan.predicted_peak_bytes and plan.predicted_peak_bytes // plan.processes
    together, prices = plan.inference_micro_batch_size * plan.processes, Prices(price)
    cut = iteration_seconds is not None and iteration_seconds > tune.max_seconds
    timed = inference_seconds(spec, together, images) if images else None
    tuned = iteration_seconds and min(max(tune.seconds, iteration_seconds), tune.max_seconds)
    need = need_of(
        spec, (tuned or tune.seconds) + (timed or spec.inference.min_seconds), plan.threads_per_process,
        (plan.parameters, plan.trainable_parameters), plan.predicted_peak_bytes,
    )  # fmt: skip
    return {
        "micro_batch_size": plan.micro_batch_size,
        "inference_micro_batch_size": plan.inference_micro_batch_size,
        "peak_bytes": peak,
        "iterations_per_second": tuning,
        "iteration_seconds": iteration_seconds,
        "iterations_in_time": int(tune.seconds * tuning) if tuning else None,
        "image_steps_per_second": images,
        "tuning_seconds": tuned,
        "inference_seconds": timed,
        "slurm": slurm_options(spec, need),
        "iterations_usd": prices.usd(iteration_seconds) if price is not None and iteration_seconds else None,
        "time_usd": prices.usd(tune.seconds) if price is not None else None,
        "cut_after": math.ceil(tune.max_seconds * tuning) if tuning and cut else None,
        "basis": (*_basis(device, spec, precision), *_compiling(device, spec, iteration_seconds)),
    }


def _rate(device: Peaks, spec: RunSpec, work: Work, precision: InferencePrecision, per_flop: float) -> float | None:
    flops = flops_per_second(device, spec.model.family, work, precision)
    return flops * per_flop if flops else None


def _basis(device: Peaks, spec: RunSpec, tuning: InferencePrecision) -> tuple[str, ...]:
    kinds: tuple[tuple[Work, InferencePrecision], ...] = (
        ("tuning", tuning),
        ("inference", spec.execution.inference_precision),
    )
    sentences = []
    for work, precision in kinds:
        stated, peak = efficiency(device, spec.model.family, work, precision), device.peak_flops_per_second(precision)
        if stated and peak:
            sentences.append(
                f"{device.title}, {work} in {precision}: {stated.share:.0%} of {peak / 1e12:.4g} TFLOP/s"
                f" ({device.flops_source}; {device.date}). Share: {stated.origin}."
            )
        else:
            sentences.append(f"{device.title}, {work} in {precision}: no efficiency is known, so no time is predicted.")
    return tuple(sentences)


def _compiling(device: Peaks, spec: RunSpec, iteration_seconds: float | None) -> list[str]:
    known = compiling(device, spec.model.family, spec.execution.tuning_precision)
    notes = compiling_notes(spec, known, iteration_seconds) if iteration_seconds else []
    return [f"{device.title}: {note}" for note in notes]


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
    there = Device(kind=device.kind, name=device.title, memory_bytes=device.memory_bytes)
    cpu = Device(kind="cpu", name="CPU", memory_bytes=None)
    return System(
        readings={name: Reading(value=value, source="assumed") for name, value in cores.items()},
        devices=(there,) if device.kind == "cpu" else (cpu, *[there] * count),
        packages=dict.fromkeys(ENGINE_PACKAGES, "assumed"),
    )
