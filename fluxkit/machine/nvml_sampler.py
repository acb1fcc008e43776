"""GPUs opened by UUID to be read again and again: clocks, temperature, power, reasons of throttling, energy."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from fluxkit.machine.readings import reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Source: NVML API reference, nvmlClocksEventReasons. Idling, set clocks, sync boost and the display are no slowdown.
POWER_CAP = 0x4
THROTTLING = {
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}
SM_CLOCK, MEMORY_CLOCK, GPU_SENSOR = 1, 2, 0
"""NVML_CLOCK_SM, NVML_CLOCK_MEM and NVML_TEMPERATURE_GPU."""


class GpuSample(NamedTuple):
    """One look at one GPU; None where the driver does not say."""

    sm_clock_hertz: float | None
    memory_clock_hertz: float | None
    temperature_celsius: float | None
    power_watts: float | None
    event_reasons: int | None


class Gpus:
    """Handles of some GPUs; without a driver, or with none wanted, there are none and a reason."""

    def __init__(self, uuids: Iterable[str]) -> None:
        self.handles: list[Any] = []
        self.missing: str | None = None
        self._nvml: Any = None
        wanted = tuple(uuids)
        if not wanted:
            self.missing = "the run uses no GPU"
            return
        try:
            import pynvml

            pynvml.nvmlInit()
        except Exception as error:  # noqa: BLE001 - whatever a driver raises is a reason, not a crash
            self.missing = reason(error)
            return
        self._nvml = pynvml
        try:
            self.handles = [pynvml.nvmlDeviceGetHandleByUUID(uuid) for uuid in wanted]
        except pynvml.NVMLError as error:
            self.missing = reason(error)
        if any(uuid.startswith("MIG-") for uuid in wanted):
            self.missing = "the counters cover the whole GPU, of which the run has a MIG slice"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the driver."""
        if self._nvml is not None:
            with suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()
            self._nvml, self.handles = None, []

    def sample(self) -> list[GpuSample]:
        """One look at each."""
        return [self._look(handle) for handle in self.handles]

    def joules(self) -> float | None:
        """Sum of the energy counters, in joules since the driver was loaded; None where one lacks it."""
        return self._sum("nvmlDeviceGetTotalEnergyConsumption")

    def watts(self) -> float | None:
        """Sum of the power drawn, in watts; None where one does not say."""
        return self._sum("nvmlDeviceGetPowerUsage")

    def _sum(self, call: str) -> float | None:
        values = [self._ask(call, handle) for handle in self.handles]
        if not values or self.missing:
            return None
        known = [value for value in values if value is not None]
        return sum(known) / 1000 if len(known) == len(values) else None

    def _look(self, handle: Any) -> GpuSample:
        reasons = self._ask("nvmlDeviceGetCurrentClocksEventReasons", handle)
        if reasons is None:  # its name before CUDA 12.1
            reasons = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
        return GpuSample(
            sm_clock_hertz=_times(self._ask("nvmlDeviceGetClockInfo", handle, SM_CLOCK), 1e6),
            memory_clock_hertz=_times(self._ask("nvmlDeviceGetClockInfo", handle, MEMORY_CLOCK), 1e6),
            temperature_celsius=self._ask("nvmlDeviceGetTemperature", handle, GPU_SENSOR),
            power_watts=_times(self._ask("nvmlDeviceGetPowerUsage", handle), 1e-3),
            event_reasons=None if reasons is None else int(reasons),
        )

    def _ask(self, call: str, *arguments: Any) -> float | None:
        ask: Callable[..., float] | None = getattr(self._nvml, call, None)
        if ask is None:
            return None
        try:
            return ask(*arguments)
        except self._nvml.NVMLError:
            return None


def throttle_reasons(reasons: int) -> tuple[str, ...]:
    """The slowdowns in NVML's bits, in words."""
    return tuple(words for bit, words in THROTTLING.items() if reasons & bit)


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
