"""Reads the NVIDIA GPUs of this machine from the driver (NVML), without torch and without touching a setting."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
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
SCREEN_BYTES = 500_000_000
"""Of one program that only draws: a server of a screen, its window manager, a browser."""
COMPUTE_MODES = ("default", "exclusive thread", "prohibited", "exclusive process")


class Gpu(NamedTuple):
    """A GPU, or a MIG slice of one, with NVML's handle of it."""

    handle: Any
    uuid: str
    slices: tuple[Gpu, ...] = ()
    """MIG slices of a GPU that is divided; it is then no device itself."""


def gpus(environment: Mapping[str, str] = os.environ) -> tuple[dict[str, Reading], tuple[Device, ...]]:
    """Readings about the driver and every visible GPU, and those GPUs as devices, numbered as CUDA numbers them."""
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
    opened, closed = _installed_gpus(nvml)
    installed, differ = cuda_order(nvml, opened, environment)
    wanted = environment.get("CUDA_VISIBLE_DEVICES")
    shown = visible(installed, wanted)
    readings = {
        "nvidia_driver": attempt(DRIVER, nvml.nvmlSystemGetDriverVersion),
        "gpus_installed": attempt(DRIVER, lambda: len(installed)),
        "gpus_visible": attempt(VISIBLE, lambda: len(shown)),
    }
    if closed:
        readings["gpus_closed"] = Reading(value=len(closed), source=f"{DRIVER}: {closed[0]}")
    if lacking := not_there(installed, wanted):
        readings["gpu_not_there"] = Reading(value=lacking, source=VISIBLE)
    if differ:
        readings["gpu_order"] = Reading(value=differ, source=f"{DRIVER} and CUDA_DEVICE_ORDER")
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


def _installed_gpus(nvml: Any) -> tuple[list[Gpu], list[str]]:
    """The GPUs that this process may open, in the driver's order, and of each other one why not.

    The driver counts all GPUs of the machine. Those that a job was not given are closed to it by its control group.
    """
    opened, closed = [], []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            opened.append(Gpu(handle, nvml.nvmlDeviceGetUUID(handle), tuple(_slices(nvml, handle))))
        except nvml.NVMLError as error:
            closed.append(reason(error))
    return opened, closed


def cuda_order(
    nvml: Any, installed: Sequence[Gpu], environment: Mapping[str, str]
) -> tuple[tuple[Gpu, ...], str | None]:
    """The GPUs in CUDA's order, and where they are of different kinds, which order that is.

    The driver's order is that of the PCI bus. CUDA's is too where CUDA_DEVICE_ORDER says so; otherwise the fastest come
    first. How fast CUDA takes them to be is not published: cores x clock are taken, then generation and memory.
    Source: NVIDIA's CUDA programming guide, environment variables.
    """
    if len({_known(partial(nvml.nvmlDeviceGetName, gpu.handle)) for gpu in installed}) <= 1:
        return tuple(installed), None
    if environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID":
        return tuple(installed), "of the PCI bus, as CUDA_DEVICE_ORDER asks"

    def speed(gpu: Gpu) -> float:
        return float(nvml.nvmlDeviceGetNumGpuCores(gpu.handle) * nvml.nvmlDeviceGetMaxClockInfo(gpu.handle, SM_CLOCK))

    speeds = {gpu.uuid: _known(partial(speed, gpu)) for gpu in installed}
    keys = {
        gpu.uuid: (
            speeds[gpu.uuid] if None not in speeds.values() else 0.0,
            _known(partial(QUERIES["compute_capability"], nvml, gpu.handle)) or 0.0,
            _known(partial(QUERIES["memory_bytes"], nvml, gpu.handle)) or 0,
        )
        for gpu in installed
    }
    return tuple(sorted(installed, key=lambda gpu: keys[gpu.uuid], reverse=True)), "the fastest first, as CUDA does"


def _known(ask: Callable[[], Any]) -> Any:
    """The answer, or None where the driver does not know the question."""
    return attempt(DRIVER, ask).value


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


class Foreign(NamedTuple):
    """What others do on a GPU."""

    processes: int
    """That compute, or draw with more than a screen needs."""
    screens: int
    """That only draw, with little memory: a desktop."""
    screen_bytes: int
    """Memory of the screens."""


def _foreign(nvml: Any, handle: Any) -> Foreign:
    """Processes on the GPU that are not this one; a container may hide those of others.

    A desktop's programs are in both lists where they draw by way of a compute context, so what draws is told apart by
    its memory. What a screen does to a speed shows in the utilisation.
    """
    drawing = {process.pid: process for process in nvml.nvmlDeviceGetGraphicsRunningProcesses(handle)}
    computing = {process.pid for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle)}
    memory = {pid: getattr(process, "usedGpuMemory", None) or 0 for pid, process in drawing.items()}
    screens = {pid for pid, size in memory.items() if size <= SCREEN_BYTES and pid != os.getpid()}
    others = (computing | set(drawing)) - screens - {os.getpid()}
    return Foreign(len(others), len(screens), sum(memory[pid] for pid in screens))


def _memory(nvml: Any, handle: Any) -> Any:
    """Total, used and what the driver reserves.

    Source: NVML API reference: version 2 says the reserve apart; version 1, of older drivers, counts it as used.
    """
    try:
        return nvml.nvmlDeviceGetMemoryInfo(handle, version=nvml.nvmlMemory_v2)
    except (nvml.NVMLError, AttributeError, TypeError):
        return nvml.nvmlDeviceGetMemoryInfo(handle)


def _compute_capability(nvml: Any, handle: Any) -> float:
    """As NVIDIA writes it: 9.0."""
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    return float(f"{major}.{minor}")


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
    "compute_capability": _compute_capability,
    "memory_bytes": lambda nvml, gpu: _memory(nvml, gpu).total,
    "memory_reserved_bytes": lambda nvml, gpu: getattr(_memory(nvml, gpu), "reserved", None),
    "power_limit_watts": lambda nvml, gpu: nvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1000,
    "memory_used_bytes": lambda nvml, gpu: _memory(nvml, gpu).used,
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
    "foreign_processes": lambda nvml, gpu: _foreign(nvml, gpu).processes,
    "screen_processes": lambda nvml, gpu: _foreign(nvml, gpu).screens,
    "screen_memory_bytes": lambda nvml, gpu: _foreign(nvml, gpu).screen_bytes,
}
