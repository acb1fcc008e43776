"""How much fits: micro-batches chosen or checked by predicted bytes against the memory of the device.

Legend: a peak is what one process needs at its worst moment; a share is what one process has of a batch.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

from pydantic import ValidationError

from fluxkit.errors import MachineError
from fluxkit.machine.readings import Device
from fluxkit.model.memory_formula import PeakBytes, predicted_peaks
from fluxkit.plan.sizes import Sizes
from fluxkit.spec.run_spec import RunSpec
from fluxkit.units import counted, size_text

NANO_CPU_MICRO_BATCH = 64
"""Measured on two cores: 1.4 x the speed of one pass over 256 images, whose activations do not fit the caches."""
SCHNELL_CPU_MICRO_BATCH = 2
"""Measured on one of schnell's blocks: from two samples on a CPU multiplies no faster, and a pass takes minutes."""
PREDICTION_ERROR = 0.1
"""Predicted peaks of memory are held to measurement within this share."""
CONTEXT_BYTES = {"cpu": 0, "cuda": 1_000_000_000}
"""Of a GPU's memory that no tensor can have: the driver's context, kernels and workspaces. Set aside, not measured."""
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
    """Micro-batches of a process, and why these."""

    tuning: int
    inference: int
    peak_bytes: int | None = None
    """Predicted peak of all processes together; None where the formula only bounds it from below."""
    notes: tuple[str, ...] = ()


class Room(NamedTuple):
    """What each process may use of its device."""

    device: str
    memory_bytes: int | None
    """None where the machine does not say."""
    reserved_bytes: int = 0
    """Of them, what no tensor can have."""

    def holds(self, need: int) -> bool:
        """Whether a need fits even if the prediction is too low by its error."""
        return self.memory_bytes is None or need * (1 + PREDICTION_ERROR) + self.reserved_bytes <= self.memory_bytes

    def excludes(self, need: int) -> bool:
        """Whether a need does not fit even if the prediction is too high by its error."""
        return self.memory_bytes is not None and need * (1 - PREDICTION_ERROR) + self.reserved_bytes > self.memory_bytes


def choose_batches(spec: RunSpec, sizes: Sizes, devices: Sequence[Device]) -> Batches:
    """The micro-batches of tuning and inference, as asked, or the largest that fit.

    Raises:
        MachineError: what is asked, or even one sample at a time, does not fit; with what would.
    """
    room, peaks, notes = _room_of(spec, devices), peak_bytes(spec, sizes), []
    tuning, inference = spec.execution.micro_batch_size, spec.execution.inference_micro_batch_size
    if tuning == "auto":
        share = spec.tune.global_batch_size // spec.execution.processes
        tuning = largest_divisor(share, share, lambda size: room.holds(max(peaks.tuning[size], peaks.inference[1])))
        less = f"the most of its {share} that fit; it accumulates the rest"
        why = "all that a process has" if tuning == share else less
        notes.append(f"Tuning takes {counted(tuning, 'sample')} per pass: {why}.")
    if inference == "auto":
        share = spec.inference.batch_size // spec.execution.processes
        of_a_cpu = {"nano": NANO_CPU_MICRO_BATCH, "schnell": SCHNELL_CPU_MICRO_BATCH}[spec.model.family]
        limit = of_a_cpu if spec.execution.device == "cpu" else share
        inference = largest_divisor(share, limit, lambda size: room.holds(max(peaks.tuning[1], peaks.inference[size])))
        images = counted(inference, "image")
        notes.append(f"Inference takes {images} per pass of the {share} that each process denoises.")
    of_tuning, of_inference = peaks.tuning[tuning], peaks.inference[inference]
    need = max(of_tuning, of_inference)
    notes.append(
        f"Predicted peak of each process: {size_text(of_tuning)} while tuning, {size_text(of_inference)} in inference."
    )
    if room.excludes(need):
        raise MachineError(_refusal(spec, sizes, room, need, least=max(peaks.tuning[1], peaks.inference[1])))
    if not room.holds(need):
        notes.append(
            f"{room.device} has {size_text(room.memory_bytes or 0)}, so memory may run out; a run then halves its"
            " micro-batch."
        )
    return Batches(tuning, inference, _of_all_processes(spec, need), tuple(notes))


def peak_bytes(spec: RunSpec, sizes: Sizes) -> PeakBytes:
    """Predicted peak bytes of one process, by the size of its micro-batch."""
    return predicted_peaks(spec, sizes.transformer, sizes.sample, sizes.caption_numbers)


def expected_peak_bytes(spec: RunSpec, sizes: Sizes, batches: Batches) -> int | None:
    """Predicted peak of all processes together; None where the formula only bounds it from below."""
    peaks = peak_bytes(spec, sizes)
    return _of_all_processes(spec, max(peaks.tuning[batches.tuning], peaks.inference[batches.inference]))


def _of_all_processes(spec: RunSpec, peak: int) -> int | None:
    bound = spec.tune.method == "full" and spec.execution.precision == "bfloat16"
    return None if bound else peak * spec.execution.processes


def _room_of(spec: RunSpec, devices: Sequence[Device]) -> Room:
    """A GPU for each process; processes on one CPU share its memory."""
    memories = [device.memory_bytes for device in devices if device.memory_bytes]
    sharing = spec.execution.processes // spec.execution.nodes if spec.execution.device == "cpu" else 1
    return Room(devices[0].name, min(memories) // sharing if memories else None, CONTEXT_BYTES[spec.execution.device])


def largest_divisor(share: int, limit: int, fits: Callable[[int], bool] = lambda _size: True) -> int:
    """The largest divisor of `share` up to `limit` that fits; 1 if none does."""
    return next((size for size in range(min(limit, share), 1, -1) if share % size == 0 and fits(size)), 1)


def _refusal(spec: RunSpec, sizes: Sizes, room: Room, need: int, *, least: int) -> str:
    """Why a run does not fit, and what would; `least` is its peak with one sample at a time."""
    sentence = f"{spec.name} needs about {size_text(need)} of memory, but {room.device} has "
    sentence += size_text(room.memory_bytes or 0)
    if spec.execution.device == "cpu" and spec.execution.processes > 1:
        sentence += " for each process"
    if room.holds(least):
        keys = ("micro_batch_size", "inference_micro_batch_size")
        automatic = [f"--set execution.{key}=auto" for key in keys if getattr(spec.execution, key) not in {"auto", 1}]
        return f"{sentence}; it would fit with {' '.join(automatic)}."
    smaller = list(_smaller(spec, sizes))
    fitting = next((settings for settings, peak in smaller if room.holds(peak)), None)
    if fitting:
        return f"{sentence}, even one sample at a time; it would fit with {fitting}."
    settings, peak = min(smaller, key=lambda option: option[1])
    wanted = size_text(round(peak * (1 + PREDICTION_ERROR)) + room.reserved_bytes)
    also = f" with {settings}" if settings else ""
    return f"{sentence}, even one sample at a time; no setting makes it fit, but a device with {wanted} would do{also}."


def _smaller(spec: RunSpec, sizes: Sizes) -> Iterator[tuple[str, int]]:
    """Settings that may make the run smaller, as options of the command line, with the peak of one sample at a time.

    The fewest come first.
    """
    for count in range(len(REMEDIES) + 1):
        for settings in combinations(REMEDIES, count):
            changed = _with(spec, settings)
            if changed:
                peaks = peak_bytes(changed, sizes)
                options = " ".join(f"--set {key}={str(value).lower()}" for key, value in settings)
                yield options, max(peaks.tuning[1], peaks.inference[1])


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
