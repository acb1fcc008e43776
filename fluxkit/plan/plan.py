"""Spec x system -> what will be started; refuses what cannot work before anything is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel

from fluxkit.errors import MachineError
from fluxkit.machine.cuda_check import check_cuda
from fluxkit.machine.system import ENGINE_PACKAGES
from fluxkit.model.pipeline_files import PACK, PipelineSizes, pipeline_folder, read_sizes
from fluxkit.model.weight_files import check_pipeline
from fluxkit.plan.duration import expected_cache_bytes, expected_times
from fluxkit.plan.micro_batches import choose_batches, expected_peak_bytes, room_of
from fluxkit.plan.placement import check_meeting, devices_for, uuids
from fluxkit.spec.run_spec import RunSpec
from fluxkit.units import counted, size_text
from fluxkit.values import FROZEN

if TYPE_CHECKING:
    from fluxkit.machine.system import System

MAX_OVERSUBSCRIPTION = 4
"""More threads than this per logical core is a mistake in the spec, not a measurement."""


class Plan(BaseModel):
    """How a spec runs on this machine."""

    model_config = FROZEN

    device: Literal["cpu", "cuda"]
    device_names: tuple[str, ...]
    """Name of each process's device."""
    device_uuids: tuple[str, ...] = ()
    """Of this machine's processes, in order; empty on a CPU."""
    processes: int
    nodes: int = 1
    """Machines that the processes are shared out among."""
    threads_per_process: int
    micro_batch_size: int
    """Samples per forward pass of tuning on each process."""
    accumulation_steps: int
    """Forward passes per optimiser step: global batch / (processes x micro-batch)."""
    inference_micro_batch_size: int
    """Images per forward pass of the inference speed on each process."""
    parameters: int
    """Transformer parameters, by formula."""
    trainable_parameters: int
    """Parameters that the optimiser changes, by formula."""
    forward_flops_per_sample: int
    """FLOPs (2 per multiply-add, matrix products only) of one transformer forward pass of one sample."""
    train_flops_per_iteration: int
    """FLOPs of one optimiser step over the global batch."""
    predicted_peak_bytes: int | None = None
    """Peak bytes of all processes, by formula: of their tensors on a GPU, of all that is resident on a CPU; null where
    the formula does not hold."""
    predicted_seconds: float | None = None
    """Seconds of `tune.iterations` steps, by FLOPs and stated efficiency; null on a device that is not known."""
    predicted_batch_seconds: float | None = None
    """Seconds of all denoising steps of one whole batch of the inference speed; null likewise."""
    predicted_inference_coverage: float | None = None
    """Share of that batch which the spec's limits leave time for; null likewise."""
    notes: tuple[str, ...] = ()
    """What was decided and why, in sentences."""


class Job(BaseModel):
    """What `launch` hands to `python -m fluxkit.engine RUN_FOLDER`, as `job.json` inside that folder."""

    model_config = FROZEN

    spec: RunSpec
    plan: Plan
    seed: int
    """Of everything random in tuning: the spec's seed plus the repeat."""
    attempt: int = 0
    """0 at first, one more for every resume; a resumed attempt continues from `checkpoint/`."""


def make_plan(spec: RunSpec, system: System, *, to_run: bool = True, sizes: PipelineSizes | None = None) -> Plan:
    """How `spec` runs on `system`; `to_run` False: only to be read, so the engine need not be installed.

    With `sizes` the model's files are not looked for: the plan is for another machine.

    Raises:
        MachineError: it cannot run here; the sentence says what would help.
    """
    notes: list[str] = []
    devices = devices_for(spec, system)
    check_meeting(spec, notes, to_run=to_run)
    _check_engine(spec, system, notes, to_run=to_run)
    sizes = sizes or _sizes(spec)
    _check_resolution(spec, sizes)
    tune, execution = spec.tune, spec.execution
    batches = choose_batches(spec, sizes, room_of(spec, devices), notes)
    notes.append(_preparation(spec, sizes))
    threads = _threads(spec, system, notes)
    flops, forward = _flops(spec, sizes)
    times = expected_times(
        spec, devices[0].name, threads * execution.processes, micro_batch=batches.inference, flops=(flops, forward)
    )
    return Plan(
        device=execution.device,
        device_names=tuple(device.name for device in devices),
        device_uuids=uuids(spec, system),
        processes=execution.processes,
        nodes=execution.nodes,
        threads_per_process=threads,
        micro_batch_size=batches.tuning,
        accumulation_steps=tune.global_batch_size // (execution.processes * batches.tuning),
        inference_micro_batch_size=batches.inference,
        parameters=sizes.transformer.parameters(),
        trainable_parameters=_trainable(spec, sizes),
        forward_flops_per_sample=forward,
        train_flops_per_iteration=flops,
        predicted_peak_bytes=expected_peak_bytes(spec, sizes, batches),
        predicted_seconds=times.tuning_seconds,
        predicted_batch_seconds=times.batch_seconds,
        predicted_inference_coverage=times.inference_coverage,
        notes=(*notes, *times.notes),
    )


def _flops(spec: RunSpec, sizes: PipelineSizes) -> tuple[int, int]:
    """Of one optimiser step, and of one forward pass of one sample."""
    tune, transformer = spec.tune, sizes.transformer
    image, text = sizes.image_tokens(spec.data.resolution), sizes.text_tokens(spec.evaluate.max_sequence_length)
    step = transformer.train_flops(
        image,
        text,
        tune.global_batch_size,
        lora_rank=tune.lora_rank if tune.method == "lora" else None,
        gradient_checkpointing=spec.execution.gradient_checkpointing,
    )
    return step, transformer.forward_flops(image, text)


def _preparation(spec: RunSpec, sizes: PipelineSizes) -> str:
    if not spec.model.can_draw:
        return (
            "Random weights have no quality: speed, memory and energy are measured, and nothing is encoded, drawn or"
            " graded."
        )
    cached = size_text(expected_cache_bytes(spec, sizes))
    return f"Encoded images and captions take {cached} in the cache; fluxkit cache says where and clears it."


def _sizes(spec: RunSpec) -> PipelineSizes:
    folder = pipeline_folder(spec.model)
    if spec.model.weights == "pretrained":
        check_pipeline(folder)
    return read_sizes(folder)


def _check_engine(spec: RunSpec, system: System, notes: list[str], *, to_run: bool) -> None:
    """Whether the packages that measure are here, by their metadata alone, and fit the device."""
    missing = [name for name in ENGINE_PACKAGES if name not in system.packages]
    if missing:
        sentence = f"The engine is not installed ({', '.join(missing)} missing); run: pip install 'fluxkit[engine]'."
        if to_run:
            raise MachineError(sentence)
        notes.append(sentence)
    if spec.execution.quantization == "int8" and "torchao" not in system.packages:
        sentence = "execution.quantization = \"int8\" needs torchao; run: pip install 'fluxkit[int8]'."
        if to_run:
            raise MachineError(sentence)
        notes.append(sentence)
    if spec.execution.device == "cuda":
        check_cuda(system)


def _check_resolution(spec: RunSpec, sizes: PipelineSizes) -> None:
    unit = sizes.vae_factor * PACK
    if spec.data.resolution % unit:
        raise MachineError(
            f"data.resolution = {spec.data.resolution} is not divisible by {unit}, the pixels per token of this model."
        )


def _trainable(spec: RunSpec, sizes: PipelineSizes) -> int:
    if spec.tune.method == "full":
        return sizes.transformer.parameters()
    return sizes.transformer.lora_parameters(spec.tune.lora_rank)


def _threads(spec: RunSpec, system: System, notes: list[str]) -> int:
    """Threads per process: as asked, or the physical cores that may be used, shared out."""
    processes, asked = spec.execution.processes // spec.execution.nodes, spec.execution.threads
    logical = int(system.number("cpu_logical_cores") or 1)
    usable = int(system.number("cpu_usable_cores") or logical)
    physical = int(system.number("cpu_usable_physical_cores") or usable)
    threads = asked or max(1, physical // processes)
    if threads * processes > MAX_OVERSUBSCRIPTION * logical:
        raise MachineError(
            f"{processes} x {threads} threads on {logical} logical cores would measure the scheduler; "
            "lower execution.processes or execution.threads."
        )
    if asked:
        notes.append(f"{counted(threads, 'thread')} per process, as the spec asks.")
    else:
        cores = counted(physical, "usable physical core")
        notes.append(f"{counted(threads, 'thread')} per process: {cores}, {counted(processes, 'process')}.")
    if threads * processes > usable:
        notes.append(f"{threads * processes} threads share {counted(usable, 'usable core')}, so each is slowed down.")
    return threads
