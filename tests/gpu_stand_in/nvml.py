"""NVML with made-up cards: the calls of `pynvml`, answered or refused as the driver would on such a machine.

The errors, the constants and the structures are those of the installed nvidia-ml-py. A call that is not made up here
is missing, so that the product's next one is noticed.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import pynvml as real

from fluxkit.machine.system import System, probe
from gpu_stand_in.cards import installed
from gpu_stand_in.library import locked_torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpu_stand_in.cards import Card, Installed

DRIVER = "580.65.06"
MOST_SLICES = 7
ENERGY_MILLIJOULES = 10**9


class Handle(NamedTuple):
    """What NVML hands out for a GPU or for a MIG slice of one."""

    gpu: Installed
    place: int | None = None
    """Of the slice."""

    @property
    def card(self) -> Card:
        return self.gpu.card

    @property
    def uuid(self) -> str:
        return self.gpu.uuid if self.place is None else self.gpu.slice_uuid(self.place)


def refuse(code: int) -> Any:
    """Raises: NVMLError: the driver's, of that code."""
    raise real.NVMLError(code)


def of_whole(answer: Callable[..., Any], knows: Callable[[Card], bool] = lambda _card: True) -> Callable[..., Any]:
    """A call that no slice knows, and of the cards only some."""

    def call(handle: Handle, *arguments: int) -> Any:
        if handle.place is not None or not knows(handle.card):
            refuse(real.NVML_ERROR_NOT_SUPPORTED)
        return answer(handle, *arguments)

    return call


def pynvml_with(gpus: tuple[Installed, ...]) -> ModuleType:
    """A module that takes the place of `pynvml` on a machine with these cards; without any there is no driver."""
    module = ModuleType("pynvml")
    shared = {name: getattr(real, name) for name in dir(real) if name.startswith(("NVML", "c_nvml", "nvmlMemory"))}
    for name, value in {**shared, **_machine(gpus), **_identity(), **_state()}.items():
        setattr(module, name, value)
    return module


def _machine(gpus: tuple[Installed, ...]) -> dict[str, Callable[..., Any]]:
    def initialise() -> None:
        if not gpus:
            refuse(real.NVML_ERROR_LIBRARY_NOT_FOUND)

    def by_index(index: int) -> Handle:
        if index >= len(gpus):
            refuse(real.NVML_ERROR_INVALID_ARGUMENT)
        return refuse(real.NVML_ERROR_NO_PERMISSION) if gpus[index].is_closed else Handle(gpus[index])

    def by_uuid(uuid: str) -> Handle:
        handles = [Handle(gpu, place) for gpu in gpus for place in (None, *range(gpu.slices))]
        found = next((handle for handle in handles if handle.uuid == uuid), None)
        if found is None:
            return refuse(real.NVML_ERROR_NOT_FOUND)
        return refuse(real.NVML_ERROR_NO_PERMISSION) if found.gpu.is_closed else found

    return {
        "nvmlInit": initialise,
        "nvmlShutdown": lambda: None,
        "nvmlSystemGetDriverVersion": lambda: DRIVER,
        "nvmlDeviceGetCount": lambda: len(gpus),
        "nvmlDeviceGetHandleByIndex": by_index,
        "nvmlDeviceGetHandleByUUID": by_uuid,
    }


def _identity() -> dict[str, Callable[..., Any]]:
    def mig_mode(handle: Handle) -> list[int]:
        if not handle.card.can_divide:
            refuse(real.NVML_ERROR_NOT_SUPPORTED)
        return (
            refuse(real.NVML_ERROR_INVALID_ARGUMENT) if handle.place is not None else [int(handle.gpu.slices > 0)] * 2
        )

    def slice_by_index(handle: Handle, index: int) -> Handle:
        return Handle(handle.gpu, index) if index < handle.gpu.slices else refuse(real.NVML_ERROR_NOT_FOUND)

    def name(handle: Handle) -> str:
        return handle.card.name if handle.place is None else f"{handle.card.name} MIG {handle.card.slice_name}"

    return {
        "nvmlDeviceGetUUID": lambda handle: handle.uuid,
        "nvmlDeviceGetName": name,
        "nvmlDeviceGetMigMode": mig_mode,
        "nvmlDeviceGetMaxMigDeviceCount": lambda _handle: MOST_SLICES,
        "nvmlDeviceGetMigDeviceHandleByIndex": slice_by_index,
        "nvmlDeviceGetMemoryInfo": memory_info,
        "nvmlDeviceGetNumGpuCores": of_whole(lambda handle: handle.card.cores),
        "nvmlDeviceGetCudaComputeCapability": lambda handle: handle.card.compute_capability,
    }


def memory_info(handle: Handle, version: int | None = None) -> Any:
    """Of an idle card. Version 1 counts the driver's reserve as used, version 2 says it apart."""
    share = 1 if handle.place is None else 2
    total, reserved = handle.card.memory_bytes // share, handle.card.reserved_bytes // share
    if version is None:
        return real.c_nvmlMemory_t(total, total - reserved, reserved)
    if version != real.nvmlMemory_v2:
        refuse(real.NVML_ERROR_ARGUMENT_VERSION_MISMATCH)
    return real.c_nvmlMemory_v2_t(version, total, reserved, total - reserved, 0)


def _state() -> dict[str, Callable[..., Any]]:
    """An idle, healthy card at its full clocks; a consumer's card also has a screen."""

    def link_state(handle: Handle, link: int) -> int:
        links = handle.card.nvlinks or 0
        return 1 if link < links else refuse(real.NVML_ERROR_INVALID_ARGUMENT) if links else 0

    clock = of_whole(lambda _handle, kind: 1980 if kind == real.NVML_CLOCK_SM else 2619)
    application_clock = of_whole(lambda _handle, _kind: 1410, lambda card: card.has_application_clocks)
    limit = of_whole(lambda handle: handle.card.power_limit_watts * 1000)
    generation = of_whole(lambda handle: 5 if handle.card.compute_capability >= (9, 0) else 4)
    reasons = of_whole(lambda _handle: 1)  # idle
    return {
        "nvmlDeviceGetEnforcedPowerLimit": limit,
        "nvmlDeviceGetPowerManagementDefaultLimit": limit,
        "nvmlDeviceGetPowerUsage": limit,
        "nvmlDeviceGetTotalEnergyConsumption": of_whole(
            lambda _handle: ENERGY_MILLIJOULES, lambda card: card.compute_capability >= (7, 0)
        ),
        "nvmlDeviceGetClockInfo": clock,
        "nvmlDeviceGetMaxClockInfo": clock,
        "nvmlDeviceGetApplicationsClock": application_clock,
        "nvmlDeviceGetDefaultApplicationsClock": application_clock,
        "nvmlDeviceGetTemperature": of_whole(lambda _handle, _sensor: 41),
        "nvmlDeviceGetUtilizationRates": of_whole(lambda _handle: SimpleNamespace(gpu=0, memory=0)),
        "nvmlDeviceGetCurrentClocksEventReasons": reasons,
        "nvmlDeviceGetCurrentClocksThrottleReasons": reasons,
        "nvmlDeviceGetPersistenceMode": of_whole(lambda _handle: 1),
        "nvmlDeviceGetEccMode": of_whole(lambda _handle: [1, 1], lambda card: card.has_ecc),
        "nvmlDeviceGetTotalEccErrors": of_whole(lambda _handle, _kind, _counter: 0, lambda card: card.has_ecc),
        "nvmlDeviceGetRemappedRows": of_whole(lambda _handle: (0, 0, 0, 0), lambda card: card.can_divide),
        "nvmlDeviceGetComputeMode": lambda _handle: 0,
        "nvmlDeviceGetCurrPcieLinkGeneration": generation,
        "nvmlDeviceGetMaxPcieLinkGeneration": generation,
        "nvmlDeviceGetCurrPcieLinkWidth": of_whole(lambda _handle: 16),
        "nvmlDeviceGetMaxPcieLinkWidth": of_whole(lambda _handle: 16),
        "nvmlDeviceGetNvLinkState": of_whole(link_state, lambda card: card.nvlinks is not None),
        "nvmlDeviceGetComputeRunningProcesses": lambda _handle: [],
        "nvmlDeviceGetGraphicsRunningProcesses": lambda handle: [] if handle.card.has_ecc else [SimpleNamespace(pid=1)],
    }


@contextmanager
def driver_of(*words: str) -> Iterator[None]:
    """While it lasts this machine's driver shows these cards."""
    with mock.patch.dict(sys.modules, {"pynvml": pynvml_with(installed(*words))}):
        yield


def machine_with(*words: str) -> System:
    """This machine with these cards, and with a torch that is built for them."""
    with driver_of(*words):
        system = probe()
    built = system.packages | {"torch": locked_torch().partition("+")[0], "nvidia-cuda-runtime": "13.0.96"}
    return system.model_copy(update={"packages": built})
