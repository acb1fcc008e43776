"""Reads the NVIDIA GPUs of this machine from the driver (NVML), without torch and without touching a setting."""

from __future__ import annotations

import os
import re
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

from fluxkit.machine.readings import Device, Reading, attempt, reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

DRIVER = "NVML"
VISIBLE = "NVML and CUDA_VISIBLE_DEVICES"
MOST_NVLINKS = 18
"""Of an H100 or H200; later ones have as many."""
_NAME = re.compile(r"\d{1,4}|(GPU|MIG)-[0-9A-Za-z/-]{1,60}")
COMPUTE_MODES = ("default", "exclusive thread", "prohibited", "exclusive process")


class Gpu(NamedTuple):
    """A GPU, or a MIG slice of one, with NVML's handle of it."""

    handle: Any
    uuid: str
    slices: tuple[Gpu, ...] = ()
    """MIG slices of a GPU that is divided; it is then no device itself."""


def gpus(environment: Mapping[str, str] = os.environ) -> tuple[dict[str, Reading], tuple[Device, ...]]:
    """Readings about the driver and every visible GPU, and those GPUs as devices.

    The order is the driver's, which is CUDA's where all GPUs are alike; the engine states the device it really used.
    """
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception as error:  # noqa: BLE001 - no library, no driver, no permission: all mean no GPU, with the reason
        return _none(reason(error)), ()
    try:
        return _seen(pynvml, environment)
    except pynvml.NVMLError as error:
        return _none(reason(error)), ()
    finally:
        pynvml.nvmlShutdown()


def visible(installed: tuple[Gpu, ...], wanted: str | None) -> tuple[Gpu, ...]:
    """The GPUs that CUDA shows for a value of CUDA_VISIBLE_DEVICES (None: not set).

    Source: NVIDIA's CUDA programming guide (indices or UUIDs, which may be shortened; the first that is not valid
    ends the list) and MIG user guide (a process sees one slice at most, and no whole GPU beside it).
    """
    if wanted is None:
        chosen = list(installed)
    else:
        found = (_find(installed, word.strip()) for word in wanted.split(","))
        chosen = [gpu for gpu in takewhile(lambda each: each is not None, found) if gpu]
    slices = [each.slices[0] if each.slices else each for each in chosen if each.slices or _is_slice(each)]
    return tuple(slices[:1] or chosen)


def not_there(installed: tuple[Gpu, ...], wanted: str | None) -> str | None:
    """The first device that CUDA_VISIBLE_DEVICES names and this machine lacks; what hides all on purpose is none."""
    for word in (each.strip() for each in (wanted or "").split(",")):
        if _find(installed, word) is None:
            return word if _NAME.fullmatch(word) else None
    return None


def _find(installed: tuple[Gpu, ...], word: str) -> Gpu | None:
    if word.isdecimal():
        return installed[int(word)] if int(word) < len(installed) else None
    each_slice = [part for gpu in installed for part in gpu.slices]
    matches = [gpu for gpu in (*installed, *each_slice) if word and gpu.uuid.startswith(word)]
    return matches[0] if len(matches) == 1 else None


def _is_slice(gpu: Gpu) -> bool:
    return gpu.uuid.startswith("MIG-")


def _none(why: str) -> dict[str, Reading]:
    return {name: Reading(value=None, source=DRIVER, unavailable=why) for name in ("nvidia_driver", "gpus_visible")}


def _seen(nvml: Any, environment: Mapping[str, str]) -> tuple[dict[str, Reading], tuple[Device, ...]]:
    installed = tuple(_installed(nvml))
    shown = visible(installed, environment.get("CUDA_VISIBLE_DEVICES"))
    readings = {
        "nvidia_driver": attempt(DRIVER, nvml.nvmlSystemGetDriverVersion),
        "gpus_installed": attempt(DRIVER, lambda: len(installed)),
        "gpus_visible": attempt(VISIBLE, lambda: len(shown)),
    }
    if lacking := not_there(installed, environment.get("CUDA_VISIBLE_DEVICES")):
        readings["gpu_not_there"] = Reading(value=lacking, source=VISIBLE)
    devices = []
    for index, gpu in enumerate(shown):
        facts = _facts(nvml, gpu)
        readings |= {f"gpu_{index}_{name}": reading for name, reading in facts.items()}
        devices.append(_device(facts, gpu))
    return readings, tuple(devices)


def _installed(nvml: Any) -> Iterator[Gpu]:
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        yield Gpu(handle, nvml.nvmlDeviceGetUUID(handle), tuple(_slices(nvml, handle)))


def _slices(nvml: Any, handle: Any) -> Iterator[Gpu]:
    """MIG slices of a GPU; none where it is not divided or cannot be."""
    try:
        current, _ = nvml.nvmlDeviceGetMigMode(handle)
        places = nvml.nvmlDeviceGetMaxMigDeviceCount(handle) if current else 0
    except nvml.NVMLError:
        return
    for index in range(places):
        try:
            part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
        except nvml.NVMLError:
            continue  # an empty place
        yield Gpu(part, nvml.nvmlDeviceGetUUID(part))


def _facts(nvml: Any, gpu: Gpu) -> dict[str, Reading]:
    return {
        "name": attempt(DRIVER, lambda: nvml.nvmlDeviceGetName(gpu.handle)),
        "uuid": attempt(DRIVER, lambda: gpu.uuid),
        "memory_bytes": attempt(DRIVER, lambda: nvml.nvmlDeviceGetMemoryInfo(gpu.handle).total),
        "power_limit_watts": attempt(DRIVER, lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(gpu.handle) / 1000),
    } | _state(nvml, gpu.handle)


def _state(nvml: Any, handle: Any) -> dict[str, Reading]:
    """What a GPU is set to and what goes on on it; each call alone, because a GPU may not know it."""
    # Source: NVML API reference; clock 1 is that of the multiprocessors and 2 the memory's; counter 0 is that since the
    # driver was loaded.
    calls: dict[str, Callable[[], bool | float | str | None]] = {
        "memory_used_bytes": lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used,
        "power_limit_default_watts": lambda: nvml.nvmlDeviceGetPowerManagementDefaultLimit(handle) / 1000,
        "sm_clock_hertz": lambda: nvml.nvmlDeviceGetClockInfo(handle, 1) * 1e6,
        "sm_clock_max_hertz": lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, 1) * 1e6,
        "application_clock_hertz": lambda: nvml.nvmlDeviceGetApplicationsClock(handle, 1) * 1e6,
        "application_clock_default_hertz": lambda: nvml.nvmlDeviceGetDefaultApplicationsClock(handle, 1) * 1e6,
        "memory_clock_hertz": lambda: nvml.nvmlDeviceGetClockInfo(handle, 2) * 1e6,
        "memory_clock_max_hertz": lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, 2) * 1e6,
        "temperature_celsius": lambda: nvml.nvmlDeviceGetTemperature(handle, 0),
        "utilisation_percent": lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu,
        "event_reasons": lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle),
        "persistence_mode": lambda: bool(nvml.nvmlDeviceGetPersistenceMode(handle)),
        "ecc_mode": lambda: bool(nvml.nvmlDeviceGetEccMode(handle)[0]),
        "ecc_errors_uncorrected": lambda: nvml.nvmlDeviceGetTotalEccErrors(handle, 1, 0),
        "row_remap_pending": lambda: bool(nvml.nvmlDeviceGetRemappedRows(handle)[2]),
        "mig_mode": lambda: bool(nvml.nvmlDeviceGetMigMode(handle)[0]),
        "compute_mode": lambda: COMPUTE_MODES[nvml.nvmlDeviceGetComputeMode(handle)],
        "pcie_generation": lambda: nvml.nvmlDeviceGetCurrPcieLinkGeneration(handle),
        "pcie_generation_max": lambda: nvml.nvmlDeviceGetMaxPcieLinkGeneration(handle),
        "pcie_width": lambda: nvml.nvmlDeviceGetCurrPcieLinkWidth(handle),
        "pcie_width_max": lambda: nvml.nvmlDeviceGetMaxPcieLinkWidth(handle),
        "nvlinks_active": lambda: _nvlinks(nvml, handle),
        "foreign_processes": lambda: len(_foreign(nvml, handle)),
    }
    return {name: attempt(DRIVER, read) for name, read in calls.items()}


def _nvlinks(nvml: Any, handle: Any) -> int:
    """How many links to other GPUs are up; a GPU without any knows no such call, or says so of its first link."""
    active = int(nvml.nvmlDeviceGetNvLinkState(handle, 0))
    for link in range(1, MOST_NVLINKS):
        try:
            active += int(nvml.nvmlDeviceGetNvLinkState(handle, link))
        except nvml.NVMLError:
            break
    return active


def _foreign(nvml: Any, handle: Any) -> set[int]:
    """Ids of processes on the GPU that are not this one; a container may hide those of others."""
    calls = (nvml.nvmlDeviceGetComputeRunningProcesses, nvml.nvmlDeviceGetGraphicsRunningProcesses)
    return {process.pid for call in calls for process in call(handle)} - {os.getpid()}


def _device(facts: dict[str, Reading], gpu: Gpu) -> Device:
    name, size = facts["name"].value, facts["memory_bytes"].value
    return Device(
        kind="cuda",
        name=str(name or "NVIDIA GPU"),
        memory_bytes=size if isinstance(size, int) else None,
        uuid=gpu.uuid,
    )
