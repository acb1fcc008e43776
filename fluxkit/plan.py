"""Spec x system -> what will be started; refuses what cannot work before anything is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel

from fluxkit.errors import MachineError
from fluxkit.expected import expected_cache_bytes, expected_peak_bytes, expected_seconds
from fluxkit.footprint import Work, inference_peak_bytes, int8_saving_bytes, narrow_saving_bytes, tuning_peak_bytes
from fluxkit.frozen import FROZEN
from fluxkit.nvidia import check_cuda
from fluxkit.pipeline import PACK, PipelineSizes, pipeline_folder, read_sizes
from fluxkit.placement import check_meeting, devices_for, uuids
from fluxkit.spec import RunSpec
from fluxkit.weights import check_pipeline

if TYPE_CHECKING:
    from fluxkit.execution import Precision
    from fluxkit.system import Device, System

JOB_FILE = "job.json"
ENGINE_PACKAGES = (
    "torch", "diffusers", "transformers", "accelerate", "peft", "scikit-image", "safetensors", "pillow",
)  # fmt: skip
"""What `fluxkit[engine]` brings."""
MAX_OVERSUBSCRIPTION = 4
"""More threads than this per logical core is a mistake in the spec, not a measurement."""
NANO_CPU_MICRO_BATCH = 64
"""Measured on two cores: 1.4 x the speed of one pass over 256 images, whose activations do not fit the caches."""
SCHNELL_CPU_MICRO_BATCH = 2
SCHNELL_CUDA_MICRO_BATCH = 16
"""Needs 1.5 GiB of activations at 256 x 256 pixels and 12 GiB at 1024 x 1024, measured as 94 and 770 MiB an image."""
ADAMW_BYTES = 16
"""Per trainable parameter: FP32 value, gradient and two moments; a lower bound where activations are not predicted."""
PREDICTION_ERROR = 0.1
"""Predicted peaks of memory are held to measurement within this share."""
PRECISION_OF: dict[str, Precision] = {"ieee_float32": "float32", "tf32": "float32", "bfloat16": "bfloat16"}
"""In which precision tensors of an inference precision are stored."""
GIGABYTE = 10**9


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
    """Peak bytes of all tensors of all processes, by formula; null where the formula does not hold."""
    predicted_seconds: float | None = None
    """Seconds of `tune.iterations` steps, by FLOPs and stated efficiency; null on a device that is not known."""
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
    image, text = sizes.image_tokens(spec.data.resolution), sizes.text_tokens(spec.evaluate.max_sequence_length)
    rank = tune.lora_rank if tune.method == "lora" else None
    micro, inference_micro = _micro_batch(spec, notes), _inference_micro_batch(spec, notes)
    peaks = _predicted_bytes(spec, sizes, (micro, inference_micro))
    _check_memory(spec, peaks, devices, notes)
    cached = _size(expected_cache_bytes(spec, sizes))
    notes.append(f"Encoded images and captions take {cached} in the cache; fluxkit cache says where and clears it.")
    flops = sizes.transformer.train_flops(
        image,
        text,
        tune.global_batch_size,
        lora_rank=rank,
        gradient_checkpointing=execution.gradient_checkpointing,
    )
    return Plan(
        device=execution.device,
        device_names=tuple(device.name for device in devices),
        device_uuids=uuids(spec, system),
        processes=execution.processes,
        nodes=execution.nodes,
        threads_per_process=_threads(spec, system, notes),
        micro_batch_size=micro,
        accumulation_steps=tune.global_batch_size // (execution.processes * micro),
        inference_micro_batch_size=inference_micro,
        parameters=sizes.transformer.parameters(),
        trainable_parameters=_trainable(spec, sizes),
        forward_flops_per_sample=sizes.transformer.forward_flops(image, text),
        train_flops_per_iteration=flops,
        predicted_peak_bytes=expected_peak_bytes(spec, peaks),
        predicted_seconds=expected_seconds(spec, devices[0].name, flops),
        notes=tuple(notes),
    )


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


def _check_memory(spec: RunSpec, peaks: tuple[int, int], devices: tuple[Device, ...], notes: list[str]) -> None:
    """Refuses what exceeds the device by more than the prediction's error."""
    tuning, inference = peaks
    notes.append(
        f"Tensors of each process: {_size(tuning)} at the peak of tuning, {_size(inference)} at that of inference."
    )
    sharing = spec.execution.processes // spec.execution.nodes if spec.execution.device == "cpu" else 1
    need = max(tuning, inference) * sharing
    have = min((device.memory_bytes for device in devices if device.memory_bytes), default=None)
    if have is not None and need * (1 - PREDICTION_ERROR) > have:
        raise MachineError(
            f"{spec.name} needs about {_size(need)} of memory, but {devices[0].name} has {_size(have)}; "
            'use precision = "bfloat16", a smaller micro-batch, method = "lora" or a larger machine.'
        )


def _predicted_bytes(spec: RunSpec, sizes: PipelineSizes, micro: tuple[int, int]) -> tuple[int, int]:
    """Peak bytes of the tensors of one process: of tuning and of inference."""
    image, text = sizes.image_tokens(spec.data.resolution), sizes.text_tokens(spec.evaluate.max_sequence_length)
    tuning, inference = (Work(image, text, batch) for batch in micro)
    tuning_bytes = tuning_peak_bytes(
        sizes.transformer,
        tuning,
        lora_rank=spec.tune.lora_rank if spec.tune.method == "lora" else None,
        precision=spec.execution.precision,
        gradient_checkpointing=spec.execution.gradient_checkpointing,
        shares=spec.execution.processes if spec.execution.parallelism == "fsdp" else 1,
    )
    precision = PRECISION_OF[spec.execution.inference_precision]
    saved = int8_saving_bytes(sizes.transformer) if spec.execution.quantization == "int8" else 0
    narrow = spec.execution.inference_weights == "bfloat16"
    saved_inference = narrow_saving_bytes(sizes.transformer, spec.tune.lora_rank) if narrow else saved
    # Without checkpointing autograd keeps every block's weights as they were computed with, in bfloat16.
    saved_tuning = saved if spec.execution.gradient_checkpointing else 0
    return (
        (tuning_bytes or ADAMW_BYTES * sizes.transformer.parameters()) - saved_tuning,
        inference_peak_bytes(sizes.transformer, inference, precision=precision) - saved_inference,
    )


def _size(count: int) -> str:
    if count >= GIGABYTE:
        return f"{count / GIGABYTE:.1f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"  # noqa: PLR2004 - SI units


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
        notes.append(f"{_counted(threads, 'thread')} per process, as the spec asks.")
    else:
        cores = _counted(physical, "usable physical core")
        notes.append(f"{_counted(threads, 'thread')} per process: {cores}, {_counted(processes, 'process')}.")
    if threads * processes > usable:
        notes.append(f"{threads * processes} threads share {_counted(usable, 'usable core')}, so each is slowed down.")
    return threads


def _micro_batch(spec: RunSpec, notes: list[str]) -> int:
    share = spec.tune.global_batch_size // spec.execution.processes
    if spec.execution.micro_batch_size != "auto":
        return spec.execution.micro_batch_size
    if spec.model.family == "nano":
        notes.append(f"Tuning takes the {_counted(share, 'sample')} of a process in one pass, because nano is small.")
        return share
    notes.append("Tuning takes 1 sample per pass and accumulates the rest, the least memory that schnell can do with.")
    return 1


def _inference_micro_batch(spec: RunSpec, notes: list[str]) -> int:
    share = spec.inference.batch_size // spec.execution.processes
    if spec.execution.inference_micro_batch_size != "auto":
        return spec.execution.inference_micro_batch_size
    limit = {
        ("nano", "cpu"): NANO_CPU_MICRO_BATCH,
        ("nano", "cuda"): share,
        ("schnell", "cpu"): SCHNELL_CPU_MICRO_BATCH,
        ("schnell", "cuda"): SCHNELL_CUDA_MICRO_BATCH,
    }[spec.model.family, spec.execution.device]
    micro = next(size for size in range(min(limit, share), 0, -1) if share % size == 0)
    notes.append(f"Inference takes {_counted(micro, 'image')} per pass of the {share} that each process denoises.")
    return micro


def _counted(count: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"
