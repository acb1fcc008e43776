"""Seconds on the device, synchronised at the edges; peak memory by name."""

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from fluxkit.record.facts import HostTime

WARM_UP_STEPS = 3
"""Untimed ones before the timed, in tuning and in inference; after a long one no more are needed."""
DIGITS = 9
"""Of a step's seconds: the clock tells nanoseconds, and what a difference has beyond them is none of it."""
LONG_SECONDS = 10.0
"""A step of this length has warmed a device up: what is cold in it is over within the first second."""


def synchronize(device: torch.device) -> None:
    """Waits until the device has done all its work; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Laps:
    """Durations of consecutive steps on `device`, without a synchronisation between them.

    On a CPU each lap is read from the host's clock. On a GPU events are recorded between the steps; the first
    lap also holds what the host waited beyond the events, so that the laps sum to synchronised host seconds.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        synchronize(device)
        self._began = time.perf_counter()
        self._host = [self._began]
        self._events = [self._record()] if device.type == "cuda" else []

    def lap(self) -> None:
        """Ends a step."""
        if self._device.type == "cuda":
            self._events.append(self._record())
        else:
            self._host.append(time.perf_counter())

    def seconds(self) -> list[float]:
        """Waits for the device, then gives each lap's duration."""
        synchronize(self._device)
        total = time.perf_counter() - self._began
        if self._device.type != "cuda":
            return [
                round(after - before, DIGITS) for before, after in zip(self._host[:-1], self._host[1:], strict=True)
            ]
        milliseconds = [
            before.elapsed_time(after) for before, after in zip(self._events[:-1], self._events[1:], strict=True)
        ]
        later = [value / 1000 for value in milliseconds[1:]]
        return [round(value, DIGITS) for value in (total - sum(later), *later)]

    @staticmethod
    def _record() -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def host_time(work: Callable[[], object], device: torch.device) -> HostTime | None:
    """How long the host issues `work`, and how long the device takes for it: medians; None on a CPU.

    Of work that takes long one repetition is enough.
    """
    if device.type != "cuda":
        return None
    taken: list[HostTime] = []
    while len(taken) < WARM_UP_STEPS and sum(one.device_seconds for one in taken) < LONG_SECONDS:
        synchronize(device)
        began, start, end = time.perf_counter(), *(torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        issued = time.perf_counter() - began
        synchronize(device)
        taken.append(HostTime(issue_seconds=issued, device_seconds=start.elapsed_time(end) / 1000))
    return HostTime(
        issue_seconds=median(one.issue_seconds for one in taken),
        device_seconds=median(one.device_seconds for one in taken),
    )


def reset_peak_memory(device: torch.device) -> None:
    """Starts a new peak; where the kernel does not allow that for the resident set, the old one goes on."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak_memory_bytes(device: torch.device) -> dict[str, int]:
    """Peaks since `reset_peak_memory`: `resident` of this process, on a GPU also allocated and reserved.

    Source: Linux proc(5), VmHWM and clear_refs; elsewhere getrusage(2), which never falls.
    """
    peaks = {"resident": _resident_peak_bytes()}
    if device.type == "cuda":
        peaks["cuda_allocated"] = torch.cuda.max_memory_allocated(device)
        peaks["cuda_reserved"] = torch.cuda.max_memory_reserved(device)
    return peaks


def _resident_peak_bytes() -> int:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
