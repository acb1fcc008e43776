"""What a GPU's host would wait for, and the bytes of all live tensors on the devices."""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from types import FrameType

HOST_READ = "host read"
"""The host asks for a value, so it waits until the device has computed all that was asked of it before."""
BLOCKING_COPY = "blocking copy"
"""Host to device without `non_blocking`: the host waits for the copy, and with it for all before it."""
PAGEABLE_COPY = "pageable copy"
"""Host to device with `non_blocking`, from memory that is not pinned: the driver first copies it to a place of its own,
and where it is large the host waits for that."""
PINNED_COPY = "pinned copy"
"""Host to device or back with `non_blocking` and pinned memory: nobody waits."""
SYNCHRONIZE = "synchronize"
"""The host asks to wait."""
OURS, THEIRS = ("/fluxkit/",), ("/diffusers/", "/transformers/", "/peft/", "/accelerate/", "/torchao/", "/torch/")


class Wait(NamedTuple):
    """One of the kinds above, and the innermost function of fluxkit, or else of a library, that brought it about."""

    kind: str
    place: str


class Waits:
    """Every wait of a process in order, and which of them lie between two events whose distance was asked for."""

    def __init__(self) -> None:
        self.all: list[Wait] = []
        self._timed: list[tuple[int, int]] = []

    def note(self, kind: str) -> None:
        self.all.append(Wait(kind, _place(sys._getframe(1))))

    def timed_between(self, first: int, last: int) -> None:
        """Says that what came after wait number `first` and before number `last` was part of a measured time."""
        self._timed.append((first, last))

    def timed(self) -> Counter[Wait]:
        """Those inside measured times."""
        numbers = {number for first, last in self._timed for number in range(first, last)}
        return Counter(self.all[number] for number in sorted(numbers))


def _place(frame: FrameType | None) -> str:
    library = "?"
    while frame is not None:
        file = frame.f_code.co_filename
        if any(part in file for part in OURS) and "gpu_stand_in" not in file:
            return f"{file.rpartition('/fluxkit/')[2]}:{frame.f_code.co_qualname}"
        if library == "?" and any(part in file for part in THEIRS):
            library = f"{file.rpartition('/site-packages/')[2]}:{frame.f_code.co_qualname}"
        frame = frame.f_back
    return library


class LiveBytes:
    """Bytes of all storages that are alive, and their peak. A workspace inside a kernel is not seen."""

    def __init__(self) -> None:
        self.now = self.peak = 0
        self._alive: dict[int, tuple[int, weakref.ref[torch.UntypedStorage]]] = {}

    def add(self, tensor: torch.Tensor) -> None:
        """Counts the tensor's storage, once."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._alive:
            size = storage.nbytes()
            self._alive[key] = size, weakref.ref(storage, lambda _: self._drop(key))
            self.now += size
            self.peak = max(self.peak, self.now)

    def _drop(self, key: int) -> None:
        self.now -= self._alive.pop(key)[0]

    def __contains__(self, key: int) -> bool:
        return key in self._alive

    def reset_peak(self) -> None:
        self.peak = self.now


waits = Waits()
live = LiveBytes()
pinned = LiveBytes()
"""Of the host."""
