"""Spec x system -> what will be started; refuses what cannot work before anything is loaded."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from fluxkit.errors import MachineError
from fluxkit.machine.cuda_check import check_cuda
from fluxkit.machine.provenance import Kit
from fluxkit.machine.readings import PlacedDevice
from fluxkit.machine.system import ENGINE_PACKAGES, System
from fluxkit.plan.arithmetic import check_arithmetic
from fluxkit.plan.duration import expected_times, inference_seconds
from fluxkit.plan.micro_batches import choose_batches, fits
from fluxkit.plan.placement import place
from fluxkit.plan.sizes import Sizes, sizes_of
from fluxkit.plan.storage import check_storage, stop_note
from fluxkit.spec.run_spec import RunSpec
from fluxkit.units import counted, size_text
from fluxkit.values import Amount, Frozen, Share, Whole

MAX_OVERSUBSCRIPTION = 4
"""More threads than this per logical core is a mistake in the spec, not a measurement."""


GPU_THREADS = 4
"""Of a process whose GPU does the work: its host launches kernels, draws noise and scores pictures. More threads would
wait for each other over work of microseconds."""


class Plan(Frozen):
    """How a spec runs on this machine."""

    device: Literal["cpu", "cuda"]
    device_names: tuple[str, ...]
    """Name of each process's device."""
    device_uuids: tuple[str, ...] = ()
    """Of this machine's processes, in order; empty on a CPU."""
    processes: Annotated[int, Field(ge=1, le=1024)]
    nodes: Annotated[int, Field(ge=1, le=256)] = 1
    """Machines that the processes are shared out among."""
    threads_per_process: Whole
    micro_batch_size: Whole
    """Samples per forward pass of tuning on each process."""
    accumulation_steps: Whole
    """Forward passes per optimiser step: global batch / (processes x micro-batch)."""
    inference_micro_batch_size: Whole
    """Images per forward pass of the inference speed on each process."""
    parameters: Whole
    """Transformer parameters, by formula."""
    trainable_parameters: Whole
    """Parameters that the optimiser changes, by formula."""
    forward_flops_per_sample: Whole
    """FLOPs (2 per multiply-add, matrix products only) of one transformer forward pass of one sample."""
    train_flops_per_iteration: Whole
    """FLOPs of one optimiser step over the global batch."""
    predicted_peak_bytes: Whole | None = None
    """Peak bytes of all processes, by formula: of their tensors on a GPU, of all that is resident on a CPU; null where
    the formula does not hold."""
    predicted_seconds: Amount | None = None
    """Seconds of `tune.iterations` steps, by FLOPs and stated efficiency; null on a device that is not known."""
    predicted_batch_seconds: Amount | None = None
    """Seconds of all denoising steps of one whole batch of the inference speed; null likewise."""
    predicted_inference_coverage: Share | None = None
    """Share of that batch which the spec's limits leave time for; null likewise."""
    notes: tuple[str, ...] = ()
    """What was decided and why, in sentences."""


class Job(Frozen):
    """What `launch` hands to `python -m fluxkit.engine RUN_FOLDER`, as `job.json` inside that folder."""

    spec: RunSpec
    plan: Plan
    seed: Whole
    """Of everything random in tuning: the spec's seed plus the repeat."""
    kit: Kit | None = None
    """Which fluxkit began the run."""
    attempt: Whole = 0
    """0 at first, one more for every resume; a resumed attempt continues from `checkpoint/`."""
    graded_since: Whole = 0
    """The first attempt whose scores count: those before it graded in other micro-batches, or on other files."""


def make_plan(spec: RunSpec, system: System, *, to_run: bool = True, sizes: Sizes | None = None) -> Plan:
    """How `spec` runs on `system`; `to_run` False: only to be read, so the engine need not be installed.

    With `sizes` the model's files are not looked for: the plan is for another machine.

    Raises:
        MachineError: it cannot run here; the sentence says what would help.
    """
    placement = place(spec, system, to_run=to_run)
    missing = _missing_packages(spec, system, placement.devices, to_run=to_run)
    sizes = sizes or sizes_of(spec)
    batches = choose_batches(spec, sizes, placement.devices)
    storage: list[str] = []
    if spec.execution.device == "cuda" or spec.tune.method == "full":  # adapters on a CPU are small, its memory one
        check_arithmetic(spec, placement.devices, lambda other: fits(other, sizes, placement.devices))
        storage = check_storage(spec, sizes, system)
    threads, about_threads = _choose_threads(spec, system)
    cores, name = threads * spec.execution.processes, placement.devices[0].name
    times = expected_times(spec, sizes, name, cores=cores, micro_batch=batches.inference)
    preparation = _preparation_note(spec, sizes)
    stopping = stop_note(spec, sizes, (times.tuning_seconds or 0.0) / spec.tune.iterations, batches.tuning)
    return Plan(
        device=spec.execution.device,
        device_names=tuple(device.name for device in placement.devices),
        device_uuids=placement.uuids,
        processes=spec.execution.processes,
        nodes=spec.execution.nodes,
        threads_per_process=threads,
        micro_batch_size=batches.tuning,
        accumulation_steps=spec.tune.global_batch_size // (spec.execution.processes * batches.tuning),
        inference_micro_batch_size=batches.inference,
        parameters=sizes.cost.parameters,
        trainable_parameters=sizes.cost.trainable_parameters,
        forward_flops_per_sample=sizes.cost.forward_flops,
        train_flops_per_iteration=sizes.cost.train_flops,
        predicted_peak_bytes=batches.peak_bytes,
        predicted_seconds=times.tuning_seconds,
        predicted_batch_seconds=times.batch_seconds,
        predicted_inference_coverage=times.inference_coverage,
        notes=(
            *placement.notes, *missing, *batches.notes, *storage, preparation, *about_threads, *times.notes,
            *([stopping] if stopping else ()),
        ),
    )  # fmt: skip


def measuring_seconds(spec: RunSpec, plan: Plan) -> float:
    """Seconds that a run tunes and measures for sure, as far as the plan knows; loading and grading come on top."""
    tuning = min(max(spec.tune.seconds, plan.predicted_seconds or 0.0), spec.tune.max_seconds)
    if not plan.predicted_batch_seconds:
        return tuning + min(spec.inference.min_seconds, spec.inference.max_seconds)
    rate = spec.inference.batch_size * spec.inference.num_inference_steps / plan.predicted_batch_seconds
    return tuning + inference_seconds(spec, plan.inference_micro_batch_size * plan.processes, rate)


def _missing_packages(spec: RunSpec, system: System, devices: Sequence[PlacedDevice], *, to_run: bool) -> list[str]:
    """What to install before the plan can be run, by the packages' metadata alone; in notes if it is only to be read.

    Raises:
        MachineError: packages that measure are not here, or do not fit the device.
    """
    notes = []
    missing = [name for name in ENGINE_PACKAGES if name not in system.packages]
    if missing:
        notes.append(f"The engine is not installed ({', '.join(missing)} missing); run: pip install 'fluxkit[engine]'.")
    if spec.execution.quantization == "int8" and "torchao" not in system.packages:
        notes.append("execution.quantization = \"int8\" needs torchao; run: pip install 'fluxkit[int8]'.")
    if notes and to_run:
        raise MachineError(notes[0])
    if spec.execution.device == "cuda":
        check_cuda(system, devices)
    return notes


def _preparation_note(spec: RunSpec, sizes: Sizes) -> str:
    if not spec.model.can_draw:
        return (
            "Random weights have no quality: speed, memory and energy are measured, and nothing is encoded, generated"
            " or graded."
        )
    cached = size_text(sizes.cache_bytes)
    return f"Opened and encoded images and captions take {cached} in the cache; fluxkit cache says where and clears it."


def _choose_threads(spec: RunSpec, system: System) -> tuple[int, list[str]]:
    """Threads per process, with notes: as asked, or the physical cores shared out; few of them for a GPU."""
    readings = {name: reading.value for name, reading in system.readings.items()}
    logical = int(readings.get("cpu_logical_cores") or 1)
    usable = int(readings.get("cpu_usable_cores") or logical)
    physical = int(readings.get("cpu_usable_physical_cores") or usable)
    processes = spec.execution.processes // spec.execution.nodes
    most = GPU_THREADS if spec.execution.device == "cuda" else physical
    threads = spec.execution.threads or max(1, min(most, physical // processes))
    if threads * processes > MAX_OVERSUBSCRIPTION * logical:
        raise MachineError(
            f"{processes} x {threads} threads on {logical} logical cores would measure the scheduler; "
            "lower execution.processes or execution.threads."
        )
    if spec.execution.threads:
        notes = [f"{counted(threads, 'thread')} per process, as the spec asks."]
    else:
        cores = counted(physical, "usable physical core")
        enough = " A GPU's host needs no more." if threads < physical // processes else ""
        notes = [f"{counted(threads, 'thread')} per process: {cores}, {counted(processes, 'process')}.{enough}"]
    if threads * processes > usable:
        notes.append(f"{threads * processes} threads share {counted(usable, 'usable core')}, so each is slowed down.")
    return threads, notes
