"""How much fits: micro-batches chosen or checked by predicted bytes against the memory of the device.

Legend: a peak is what one process needs at its worst moment; a share is what one process has of a batch.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError

from fluxkit.errors import MachineError
from fluxkit.model.memory_formula import (
    FLOAT32,
    MOMENTS,
    Work,
    dequantized_bytes,
    inference_peak_bytes,
    int8_saving_bytes,
    narrow_saving_bytes,
    tuning_peak_bytes,
)
from fluxkit.plan.duration import captions_in_memory_bytes, is_lower_bound
from fluxkit.spec.run_spec import RunSpec
from fluxkit.units import counted, size_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fluxkit.machine.readings import Device
    from fluxkit.model.pipeline_files import PipelineSizes
    from fluxkit.spec.execution import Precision

NANO_CPU_MICRO_BATCH = 64
"""Measured on two cores: 1.4 x the speed of one pass over 256 images, whose activations do not fit the caches."""
SCHNELL_CPU_MICRO_BATCH = 2
"""Measured on one of schnell's blocks: from two samples on a CPU multiplies no faster, and a pass takes minutes."""
ADAMW_BYTES = 16
"""Per trainable parameter: FP32 value, gradient and two moments; a lower bound where activations are not predicted."""
PREDICTION_ERROR = 0.1
"""Predicted peaks of memory are held to measurement within this share."""
PROCESS_BYTES = {"cpu": 530_000_000, "cuda": 0}
"""Resident before the first tensor of the model: Python, torch and its family, measured.

On a GPU the driver's context and its kernels are not counted by torch, so they stand below."""
HEAP_SHARE = {"cpu": 0.1, "cuda": 0.0}
"""What the C heap keeps between tensors of changing sizes. Fitted: 2.35 GB were resident for 2.26 GB, 17.7 for 14.7."""
CONTEXT_BYTES = {"cpu": 0, "cuda": 1_000_000_000}
"""Of a GPU's memory that no tensor can have: the driver's context, kernels and workspaces. Set aside, not measured."""
PRECISION_OF: dict[str, Precision] = {"ieee_float32": "float32", "tf32": "float32", "bfloat16": "bfloat16"}
"""In which precision tensors of an inference precision are stored."""
REMEDIES = (
    ("execution.gradient_checkpointing", True),
    ("execution.precision", "bfloat16"),
    ("execution.inference_weights", "bfloat16"),
    ("execution.inference_precision", "bfloat16"),
    ("execution.quantization", "int8"),
    ("tune.method", "lora"),
)
"""What makes a run smaller, besides its micro-batches."""


class Batches(NamedTuple):
    """Micro-batches of a process."""

    tuning: int
    inference: int


class Peaks(NamedTuple):
    """Predicted peak bytes of one process: of tuning and of inference."""

    tuning: int
    inference: int


class Room(NamedTuple):
    """What each process may use of its device."""

    device: str
    memory_bytes: int | None
    """None where the machine does not say."""
    taken_bytes: int = 0
    """Of them, what no tensor can have."""

    def holds(self, need: int) -> bool:
        """Whether a need fits even if the prediction is too low by its error."""
        return self.memory_bytes is None or need * (1 + PREDICTION_ERROR) + self.taken_bytes <= self.memory_bytes

    def excludes(self, need: int) -> bool:
        """Whether a need does not fit even if the prediction is too high by its error."""
        return self.memory_bytes is not None and need * (1 - PREDICTION_ERROR) + self.taken_bytes > self.memory_bytes


def room_of(spec: RunSpec, devices: Sequence[Device]) -> Room:
    """A GPU for each process; processes on one CPU share its memory."""
    known = [device.memory_bytes for device in devices if device.memory_bytes]
    sharing = spec.execution.processes // spec.execution.nodes if spec.execution.device == "cpu" else 1
    return Room(devices[0].name, min(known) // sharing if known else None, CONTEXT_BYTES[spec.execution.device])


def choose_batches(spec: RunSpec, sizes: PipelineSizes, room: Room, notes: list[str]) -> Batches:
    """The micro-batches of tuning and inference, as asked, or the largest that fit.

    Raises:
        MachineError: what is asked, or even one sample at a time, does not fit; with what would.
    """

    def fits(batches: Batches) -> bool:
        return room.holds(max(predicted_peaks(spec, sizes, batches)))

    tuning = _tuning_batch(spec, notes, lambda size: fits(Batches(size, 1)))
    inference = _inference_batch(spec, notes, lambda size: fits(Batches(1, size)))
    batches = Batches(tuning, inference)
    peaks = predicted_peaks(spec, sizes, batches)
    notes.append(f"Predicted peak of each process: {size_text(peaks.tuning)} while tuning, "
                 f"{size_text(peaks.inference)} in inference.")  # fmt: skip
    if room.excludes(max(peaks)):
        raise MachineError(_refusal(spec, sizes, room, batches))
    if not room.holds(max(peaks)):
        notes.append(
            f"{room.device} has {size_text(room.memory_bytes or 0)}, so memory may run out; a run then halves its"
            " micro-batch."
        )
    return batches


def predicted_peaks(spec: RunSpec, sizes: PipelineSizes, batches: Batches) -> Peaks:
    """What one process needs at the peak of tuning and at that of inference, evaluation included."""
    image, text = sizes.image_tokens(spec.data.resolution), sizes.text_tokens(spec.evaluate.max_sequence_length)
    always = PROCESS_BYTES[spec.execution.device] + captions_in_memory_bytes(spec, sizes)
    heap = 1 + HEAP_SHARE[spec.execution.device]
    return Peaks(
        round(heap * (always + _tuning_bytes(spec, sizes, Work(image, text, batches.tuning)))),
        round(heap * (always + _inference_bytes(spec, sizes, Work(image, text, batches.inference)))),
    )


def _tuning_bytes(spec: RunSpec, sizes: PipelineSizes, work: Work) -> int:
    execution, model = spec.execution, sizes.transformer
    rank = spec.tune.lora_rank if spec.tune.method == "lora" else None
    peak = tuning_peak_bytes(
        model, work, lora_rank=rank, precision=execution.precision,
        gradient_checkpointing=execution.gradient_checkpointing, shares=_shares(spec),
    )  # fmt: skip
    # The state before a block of steps is kept, since a mark may fall into it; and the averaged weights.
    copies = FLOAT32 * _trainable(spec, sizes) * (1 + (spec.tune.ema_decay > 0)) // _shares(spec)
    if execution.quantization == "int8" and execution.gradient_checkpointing:
        copies += dequantized_bytes(model) - int8_saving_bytes(model)
    # Without checkpointing autograd keeps every block's weights as they were computed with, in bfloat16.
    return copies + (peak or ADAMW_BYTES * model.parameters() // _shares(spec))


def _inference_bytes(spec: RunSpec, sizes: PipelineSizes, work: Work) -> int:
    """Of the timed steps; and of evaluation, where the optimiser is still there and the precision is that of tuning."""
    model, trainable = sizes.transformer, FLOAT32 * _trainable(spec, sizes)
    precision = PRECISION_OF[spec.execution.inference_precision]
    # Adapters on 8-bit weights can't be fused.
    saved = int8_saving_bytes(model) - trainable if spec.execution.quantization == "int8" else 0
    narrow = narrow_saving_bytes(model, spec.tune.lora_rank) if spec.execution.inference_weights == "bfloat16" else 0
    timed = inference_peak_bytes(model, work, precision=precision) - saved - narrow
    if not spec.model.can_draw:
        return timed
    full = spec.tune.method == "full"
    tuned_in = "float32" if full else spec.execution.precision
    beside = trainable * (MOMENTS if full else 1 + MOMENTS)
    return max(timed, inference_peak_bytes(model, work, precision=tuned_in) - saved + beside)


def _shares(spec: RunSpec) -> int:
    return spec.execution.processes if spec.execution.parallelism == "fsdp" else 1


def _trainable(spec: RunSpec, sizes: PipelineSizes) -> int:
    model = sizes.transformer
    return model.parameters() if spec.tune.method == "full" else model.lora_parameters(spec.tune.lora_rank)


def expected_peak_bytes(spec: RunSpec, sizes: PipelineSizes, batches: Batches) -> int | None:
    """Predicted peak of all processes together; None where the formula only bounds it from below."""
    if is_lower_bound(spec):
        return None
    return max(predicted_peaks(spec, sizes, batches)) * spec.execution.processes


def _tuning_batch(spec: RunSpec, notes: list[str], fits: Callable[[int], bool]) -> int:
    share = spec.tune.global_batch_size // spec.execution.processes
    if spec.execution.micro_batch_size != "auto":
        return spec.execution.micro_batch_size
    micro = largest_divisor(share, share, fits)
    why = "all that a process has" if micro == share else f"the most of its {share} that fit; it accumulates the rest"
    notes.append(f"Tuning takes {counted(micro, 'sample')} per pass: {why}.")
    return micro


def _inference_batch(spec: RunSpec, notes: list[str], fits: Callable[[int], bool]) -> int:
    share = spec.inference.batch_size // spec.execution.processes
    if spec.execution.inference_micro_batch_size != "auto":
        return spec.execution.inference_micro_batch_size
    of_a_cpu = {"nano": NANO_CPU_MICRO_BATCH, "schnell": SCHNELL_CPU_MICRO_BATCH}[spec.model.family]
    micro = largest_divisor(share, of_a_cpu if spec.execution.device == "cpu" else share, fits)
    notes.append(f"Inference takes {counted(micro, 'image')} per pass of the {share} that each process denoises.")
    return micro


def largest_divisor(share: int, limit: int, fits: Callable[[int], bool] = lambda _size: True) -> int:
    """The largest divisor of `share` up to `limit` that fits; 1 if none does."""
    return next((size for size in range(min(limit, share), 1, -1) if share % size == 0 and fits(size)), 1)


def _refusal(spec: RunSpec, sizes: PipelineSizes, room: Room, batches: Batches) -> str:
    need = max(predicted_peaks(spec, sizes, batches))
    asked = f"{spec.name} needs about {size_text(need)} of memory, but {room.device} has "
    asked += size_text(room.memory_bytes or 0)
    if spec.execution.device == "cpu" and spec.execution.processes > 1:
        asked += " for each process"
    if room.holds(_least(spec, sizes)):
        keys = ("micro_batch_size", "inference_micro_batch_size")
        automatic = [f"--set execution.{key}=auto" for key in keys if getattr(spec.execution, key) not in {"auto", 1}]
        return f"{asked}; it would fit with {' '.join(automatic)}."
    smaller = list(_smaller(spec, sizes))
    fitting = next((settings for settings, least in smaller if room.holds(least)), None)
    if fitting:
        return f"{asked}, even one sample at a time; it would fit with {fitting}."
    settings, least = min(smaller, key=lambda each: each[1])
    wanted = size_text(round(least * (1 + PREDICTION_ERROR)) + room.taken_bytes)
    also = f" with {settings}" if settings else ""
    return f"{asked}, even one sample at a time; no setting makes it fit, but a device with {wanted} would do{also}."


def _least(spec: RunSpec, sizes: PipelineSizes) -> int:
    """The peak of one sample at a time."""
    return max(predicted_peaks(spec, sizes, Batches(1, 1)))


def _smaller(spec: RunSpec, sizes: PipelineSizes) -> Iterator[tuple[str, int]]:
    """Settings that may make the run smaller, as options of the command line, with its least peak; the fewest first."""
    for count in range(len(REMEDIES) + 1):
        for chosen in combinations(REMEDIES, count):
            changed = _with(spec, chosen)
            if changed:
                yield " ".join(f"--set {key}={str(value).lower()}" for key, value in chosen), _least(changed, sizes)


def _with(spec: RunSpec, settings: Sequence[tuple[str, object]]) -> RunSpec | None:
    """The spec with other values, or None where that is no change or can't be."""
    values = spec.model_dump(mode="json", by_alias=True)
    for key, value in settings:
        table, name = key.split(".")
        if values[table][name] == value:
            return None
        values[table][name] = value
    try:
        return RunSpec.model_validate(values)
    except ValidationError:
        return None
