"""Reads the NVIDIA GPUs of this machine from the driver (NVML), without torch and without touching a setting."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import takewhile
from typing import Any, NamedTuple

from fluxkit.machine.readings import Device, Reading, Value, attempt, reason

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
        with driver() as nvml:
            return _visible_gpus(nvml, environment)
    except Exception as error:  # noqa: BLE001 - no library, no driver, no permission: all mean no GPU, with the reason
        absent = Reading(value=None, source=DRIVER, unavailable=reason(error))
        return {"nvidia_driver": absent, "gpus_visible": absent}, ()


@contextmanager
def driver() -> Iterator[Any]:
    """The driver's library, open.

    Raises:
        ImportError: its Python binding is not installed.
        NVMLError: there is no driver, or it may not be asked.
    """
    import pynvml

    pynvml.nvmlInit()
    try:
        yield pynvml
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
        named = (_find(installed, word.strip()) for word in wanted.split(","))
        chosen = [gpu for gpu in takewhile(lambda gpu: gpu is not None, named) if gpu]
    slices = [gpu.slices[0] if gpu.slices else gpu for gpu in chosen if gpu.slices or is_mig_slice(gpu.uuid)]
    return tuple(slices[:1] or chosen)


def not_there(installed: tuple[Gpu, ...], wanted: str | None) -> str | None:
    """The first device that CUDA_VISIBLE_DEVICES names and this machine lacks; what hides all on purpose is none."""
    for word in map(str.strip, (wanted or "").split(",")):
        if _find(installed, word) is None:
            return word if _NAME.fullmatch(word) else None
    return None


def _find(installed: tuple[Gpu, ...], word: str) -> Gpu | None:
    if word.isdecimal():
        return installed[int(word)] if int(word) < len(installed) else None
    slices = [part for gpu in installed for part in gpu.slices]
    matches = [gpu for gpu in (*installed, *slices) if word and gpu.uuid.startswith(word)]
    return matches[0] if len(matches) == 1 else None


def is_mig_slice(uuid: str) -> bool:
    """Whether a device is a part of a divided GPU."""
    return uuid.startswith("MIG-")


def _visible_gpus(nvml: Any, environment: Mapping[str, str]) -> tuple[dict[str, Reading], tuple[Device, ...]]:
    installed = tuple(_installed_gpus(nvml))
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
        facts = {name: attempt(DRIVER, partial(query, nvml, gpu.handle)) for name, query in QUERIES.items()}
        readings |= {f"gpu_{index}_{name}": reading for name, reading in facts.items()}
        name, size = facts["name"].value, facts["memory_bytes"].value
        devices.append(
            Device(
                kind="cuda",
                name=str(name or "NVIDIA GPU"),
                memory_bytes=size if isinstance(size, int) else None,
                uuid=gpu.uuid,
            )
        )
    return readings, tuple(devices)


def _installed_gpus(nvml: Any) -> Iterator[Gpu]:
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


def _nvlinks(nvml: Any, handle: Any) -> int:
    """How many links to other GPUs are up; a GPU without any knows no such call, or says so of its first link."""
    active = int(nvml.nvmlDeviceGetNvLinkState(handle, 0))
    for link in range(1, MOST_NVLINKS):
        try:
            active += int(nvml.nvmlDeviceGetNvLinkState(handle, link))
        except nvml.NVMLError:
            break
    return active


def _foreign_processes(nvml: Any, handle: Any) -> int:
    """Processes on the GPU that are not this one; a container may hide those of others."""
    calls = (nvml.nvmlDeviceGetComputeRunningProcesses, nvml.nvmlDeviceGetGraphicsRunningProcesses)
    return len({process.pid for call in calls for process in call(handle)} - {os.getpid()})


def _event_reasons(nvml: Any, handle: Any) -> int:
    """Why the clocks are what they are, in NVML's bits."""
    try:
        return int(nvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
    except nvml.NVMLError:  # its name before CUDA 12.1
        return int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))


SM_CLOCK, MEMORY_CLOCK, GPU_SENSOR, SINCE_LOADED = 1, 2, 0, 0
"""NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU and NVML_VOLATILE_ECC."""
# What a GPU is, what it is set to, and what goes on on it. Each call stands alone, because a GPU may not know it.
# Source: NVML API reference.
QUERIES: dict[str, Callable[[Any, Any], Value]] = {
    "name": lambda nvml, gpu: nvml.nvmlDeviceGetName(gpu),
    "uuid": lambda nvml, gpu: nvml.nvmlDeviceGetUUID(gpu),
    "memory_bytes": lambda nvml, gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).total,
    "power_limit_watts": lambda nvml, gpu: nvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1000,
    "memory_used_bytes": lambda nvml, gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used,
    "power_limit_default_watts": lambda nvml, gpu: nvml.nvmlDeviceGetPowerManagementDefaultLimit(gpu) / 1000,
    "sm_clock_hertz": lambda nvml, gpu: nvml.nvmlDeviceGetClockInfo(gpu, SM_CLOCK) * 1e6,
    "sm_clock_max_hertz": lambda nvml, gpu: nvml.nvmlDeviceGetMaxClockInfo(gpu, SM_CLOCK) * 1e6,
    "application_clock_hertz": lambda nvml, gpu: nvml.nvmlDeviceGetApplicationsClock(gpu, SM_CLOCK) * 1e6,
    "application_clock_default_hertz": (
        lambda nvml, gpu: nvml.nvmlDeviceGetDefaultApplicationsClock(gpu, SM_CLOCK) * 1e6
    ),
    "memory_clock_hertz": lambda nvml, gpu: nvml.nvmlDeviceGetClockInfo(gpu, MEMORY_CLOCK) * 1e6,
    "memory_clock_max_hertz": lambda nvml, gpu: nvml.nvmlDeviceGetMaxClockInfo(gpu, MEMORY_CLOCK) * 1e6,
    "temperature_celsius": lambda nvml, gpu: nvml.nvmlDeviceGetTemperature(gpu, GPU_SENSOR),
    "utilisation_percent": lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu,
    "event_reasons": _event_reasons,
    "persistence_mode": lambda nvml, gpu: bool(nvml.nvmlDeviceGetPersistenceMode(gpu)),
    "ecc_mode": lambda nvml, gpu: bool(nvml.nvmlDeviceGetEccMode(gpu)[0]),
    "ecc_errors_uncorrected": lambda nvml, gpu: nvml.nvmlDeviceGetTotalEccErrors(gpu, 1, SINCE_LOADED),
    "row_remap_pending": lambda nvml, gpu: bool(nvml.nvmlDeviceGetRemappedRows(gpu)[2]),
    "mig_mode": lambda nvml, gpu: bool(nvml.nvmlDeviceGetMigMode(gpu)[0]),
    "compute_mode": lambda nvml, gpu: COMPUTE_MODES[nvml.nvmlDeviceGetComputeMode(gpu)],
    "pcie_generation": lambda nvml, gpu: nvml.nvmlDeviceGetCurrPcieLinkGeneration(gpu),
    "pcie_generation_max": lambda nvml, gpu: nvml.nvmlDeviceGetMaxPcieLinkGeneration(gpu),
    "pcie_width": lambda nvml, gpu: nvml.nvmlDeviceGetCurrPcieLinkWidth(gpu),
    "pcie_width_max": lambda nvml, gpu: nvml.nvmlDeviceGetMaxPcieLinkWidth(gpu),
    "nvlinks_active": _nvlinks,
    "foreign_processes": _foreign_processes,
}
