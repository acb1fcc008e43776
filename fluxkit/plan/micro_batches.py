"""How much fits: micro-batches chosen or checked by predicted bytes against the memory of the device.

Legend: a peak is what one process needs at its worst moment; a share is what one process has of a batch.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

from fluxkit.errors import MachineError
from fluxkit.machine.device_peaks import saturation
from fluxkit.machine.readings import PlacedDevice
from fluxkit.model.memory_formula import Peak, PeakBytes, predicted_peaks
from fluxkit.plan.arithmetic import lacking
from fluxkit.plan.sizes import Sizes
from fluxkit.spec.run_spec import RunSpec
from fluxkit.units import counted, size_text

CONTEXT_BYTES = 1_000_000_000
"""Of a GPU's memory that no tensor can have: the driver's context, kernels and workspaces. Set aside, not measured."""
NCCL_BYTES = 700_000_000
"""The same where several processes talk to each other: up to 32 channels, each with buffers of 9.4 MiB for either
neighbour. Source: NCCL's defaults: 4 MiB for its simple protocol, 4.9 and 0.5 for the others."""
REMEDIES = (
    ("execution.gradient_checkpointing", True),
    ("execution.precision", "bfloat16"),
    ("execution.inference_weights", "bfloat16"),
    ("execution.inference_weights", "as_computed"),
    ("execution.inference_precision", "bfloat16"),
    ("execution.quantization", "int8"),
    ("tune.method", "lora"),
)
"""What makes a run smaller, besides its micro-batches; weights as computed are what bfloat16 computes with."""


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

    @property
    def title(self) -> str:
        """What it has, in words, with the comma that something else follows."""
        less = (
            f", of which the driver and its context take {size_text(self.reserved_bytes)}"
            if self.reserved_bytes
            else ""
        )
        return f"{self.device} has {size_text(self.memory_bytes or 0)}{less},"

    def holds(self, need: Peak) -> bool:
        """Whether a need fits even if the prediction is too low by its error."""
        return self.memory_bytes is None or need.most + self.reserved_bytes <= self.memory_bytes

    def excludes(self, need: Peak) -> bool:
        """Whether a need does not fit even if the prediction is too high by its error."""
        return self.memory_bytes is not None and need.least + self.reserved_bytes > self.memory_bytes


def choose_batches(spec: RunSpec, sizes: Sizes, devices: Sequence[PlacedDevice]) -> Batches:
    """The micro-batches of tuning and inference, as asked, or the largest that fit and make it faster.

    Raises:
        MachineError: what is asked, or even one sample at a time, does not fit; with what would.
    """
    room, peaks, notes = _room_of(spec, devices), peak_bytes(spec, sizes), []
    tuning, inference = spec.execution.micro_batch_size, spec.execution.inference_micro_batch_size
    if tuning == "auto":
        share = spec.tune.global_batch_size // spec.execution.processes
        tuning = largest_divisor(share, share, lambda size: room.holds(peaks.tuning[size]))
        less = f"the most of its {share} that fit; it accumulates the rest"
        why = "all that a process has" if tuning == share else less
        notes.append(f"Tuning takes {counted(tuning, 'sample')} per pass: {why}.")
    if inference == "auto":
        share = spec.inference.batch_size // spec.execution.processes
        enough = largest_divisor(share, saturating_images(spec, sizes))
        inference = largest_divisor(share, enough, lambda size: room.holds(peaks.inference[size]))
        images = counted(inference, "image")
        why = "more are no faster" if inference == enough < share else "all of them"
        why = why if inference == enough else "the most that fit"
        notes.append(f"Inference takes {images} per pass of the {share} that each process denoises: {why}.")
    needs = peaks.tuning[tuning], peaks.inference[inference]
    while_tuning, in_inference = (size_text(need.total) for need in needs)
    notes.append(f"Predicted peak of each process: {while_tuning} while tuning, {in_inference} in inference.")
    # What cannot halve its micro-batch any more has to fit: it would run out of memory after it has loaded the model.
    if any(map(room.excludes, needs)) or not all(map(room.holds, _least(peaks))):
        raise MachineError(_refusal(spec, sizes, devices, needs))
    if not all(map(room.holds, needs)):
        notes.append(f"{room.title} so memory may run out; a run then halves its micro-batch.")
    return Batches(tuning, inference, _of_all_processes(spec, max(need.total for need in needs)), tuple(notes))


def fits(spec: RunSpec, sizes: Sizes, devices: Sequence[PlacedDevice]) -> bool:
    """Whether one sample at a time fits, even if the prediction is too low by its error."""
    return all(map(_room_of(spec, devices).holds, _least(peak_bytes(spec, sizes))))


def is_tight(spec: RunSpec, sizes: Sizes, devices: Sequence[PlacedDevice], batches: tuple[int, int]) -> bool:
    """Whether these micro-batches of tuning and inference fit only if the prediction is not too low."""
    room, peaks = _room_of(spec, devices), peak_bytes(spec, sizes)
    return not (room.holds(peaks.tuning[batches[0]]) and room.holds(peaks.inference[batches[1]]))


def _least(peaks: PeakBytes) -> tuple[Peak, Peak]:
    """With one sample at a time."""
    return peaks.tuning[1], peaks.inference[1]


def peak_bytes(spec: RunSpec, sizes: Sizes) -> PeakBytes:
    """Predicted peak of one process, by the size of its micro-batch."""
    return predicted_peaks(spec, sizes.transformer, sizes.sample, sizes.caption_numbers)


def expected_peak_bytes(spec: RunSpec, sizes: Sizes, batches: Batches) -> int | None:
    """Predicted peak of all processes together; None where the formula only bounds it from below."""
    peaks = peak_bytes(spec, sizes)
    return _of_all_processes(spec, max(peaks.tuning[batches.tuning].total, peaks.inference[batches.inference].total))


def _of_all_processes(spec: RunSpec, peak: int) -> int | None:
    bound = spec.tune.method == "full" and spec.execution.precision == "bfloat16"
    return None if bound else peak * spec.execution.processes


def _room_of(spec: RunSpec, devices: Sequence[PlacedDevice]) -> Room:
    """A GPU for each process, without what its driver keeps; processes on one CPU share its memory."""
    kind, processes = spec.execution.device, spec.execution.processes
    smallest = min(devices, key=lambda device: (device.memory_bytes or math.inf) - device.reserved_bytes)
    memory = smallest.memory_bytes
    if kind == "cpu":
        return Room(smallest.name, memory and memory // (processes // spec.execution.nodes))
    reserved = CONTEXT_BYTES + smallest.reserved_bytes + (NCCL_BYTES if processes > 1 else 0)
    return Room(smallest.name, memory, reserved)


def saturating_images(spec: RunSpec, sizes: Sizes) -> int:
    """Images of one pass with which the device denoises each of them no faster than with more."""
    return saturation(spec.model.family, spec.execution.device).tokens // sizes.sample.tokens


def largest_divisor(share: int, limit: int, fits: Callable[[int], bool] = lambda _size: True) -> int:
    """The largest divisor of `share` up to `limit` that fits; 1 if none does."""
    return next((size for size in range(min(limit, share), 1, -1) if share % size == 0 and fits(size)), 1)


def _refusal(spec: RunSpec, sizes: Sizes, devices: Sequence[PlacedDevice], needs: Sequence[Peak]) -> str:
    """Why a run does not fit, and what would."""
    room, need = _room_of(spec, devices), max(needs, key=lambda need: need.most)
    sentence = f"{spec.name} needs about {size_text(need.total)} of memory, but {room.title.rstrip(',')}"
    if spec.execution.device == "cpu" and spec.execution.processes > 1:
        sentence += " for each process"
    if fits(spec, sizes, devices):
        keys = ("micro_batch_size", "inference_micro_batch_size")
        automatic = [f"--set execution.{key}=auto" for key in keys if getattr(spec.execution, key) not in {"auto", 1}]
        return f"{sentence}; it would fit with {' '.join(automatic)}."
    smaller = list(_smaller(spec))
    able = (options for options, other in smaller if not lacking(other, devices) and fits(other, sizes, devices))
    if fitting := next(able, None):
        return f"{sentence}, even one sample at a time; it would fit with {fitting}."
    most, settings = min(
        (max(peak.most for peak in _least(peak_bytes(other, sizes))), options) for options, other in smaller
    )
    also = f" with {settings}" if settings else ""
    wanted = size_text(math.ceil((most + room.reserved_bytes) / 1e8) * 10**8)  # never less than it takes
    return f"{sentence}, even one sample at a time; no setting makes it fit, but a device with {wanted} would do{also}."


def _smaller(spec: RunSpec) -> Iterator[tuple[str, RunSpec]]:
    """Settings that may make the run smaller, as options of the command line, and the spec with them.

    The fewest come first.
    """
    for count in range(len(REMEDIES) + 1):
        for settings in combinations(REMEDIES, count):
            changed = spec.changed(settings) if settings else spec
            if changed:
                options = " ".join(f"--set {key}={str(value).lower()}" for key, value in settings)
                yield options, changed
