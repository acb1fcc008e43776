"""GPUs opened by UUID to be read again and again: clocks, temperature, power, reasons of throttling, energy."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from typing import Any, Self

from fluxkit.machine.nvml_probe import QUERIES, driver, is_mig_slice
from fluxkit.machine.readings import reason

# Source: NVML API reference, nvmlClocksEventReasons. Idling, set clocks, sync boost and the display are no slowdown.
POWER_CAP = 0x4
THROTTLING = {
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}


def _watts(nvml: Any, handle: Any) -> float:
    return float(nvml.nvmlDeviceGetPowerUsage(handle) / 1000)


def _joules(nvml: Any, handle: Any) -> float:
    """Since the driver was loaded."""
    return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000)


SAMPLED: dict[str, Callable[[Any, Any], Any]] = {
    "sm_clock_hertz": QUERIES["sm_clock_hertz"],
    "memory_clock_hertz": QUERIES["memory_clock_hertz"],
    "temperature_celsius": QUERIES["temperature_celsius"],
    "power_watts": _watts,
    "event_reasons": QUERIES["event_reasons"],
}


class Gpus:
    """Handles of some GPUs; without a driver, or with none wanted, there are none and a reason."""

    def __init__(self, uuids: Iterable[str]) -> None:
        wanted = tuple(uuids)
        self.handles: list[Any] = []
        self.missing = None if wanted else "the run uses no GPU"
        if any(map(is_mig_slice, wanted)):
            self.missing = "the counters cover the whole GPU, of which the run has a MIG slice"
        self._driver = ExitStack()
        try:
            if wanted:
                self._nvml = self._driver.enter_context(driver())
                self.handles = [self._nvml.nvmlDeviceGetHandleByUUID(uuid) for uuid in wanted]
        except Exception as error:  # noqa: BLE001 - whatever a driver raises is a reason, not a crash
            self.missing = self.missing or reason(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the driver."""
        self.handles = []
        with suppress(Exception):  # a driver that can't be closed is gone
            self._driver.close()

    def sample(self) -> list[dict[str, float | None]]:
        """A look at each GPU, as in `SAMPLED`; None where the driver does not say."""
        return [{name: self._ask(query, handle) for name, query in SAMPLED.items()} for handle in self.handles]

    def joules(self) -> float | None:
        """Sum of the energy counters, in joules since the driver was loaded; None where one lacks it."""
        return self._sum(_joules)

    def watts(self) -> float | None:
        """Sum of the power drawn, in watts; None where one does not say."""
        return self._sum(_watts)

    def _sum(self, query: Callable[[Any, Any], float]) -> float | None:
        values = [self._ask(query, handle) for handle in self.handles]
        known = [value for value in values if value is not None]
        return sum(known) if known and len(known) == len(values) and not self.missing else None

    def _ask(self, query: Callable[[Any, Any], float], handle: Any) -> float | None:
        try:
            return query(self._nvml, handle)
        except (self._nvml.NVMLError, AttributeError):  # the GPU, or an older driver's library, does not know the call
            return None


def throttle_reasons(reasons: int) -> tuple[str, ...]:
    """The slowdowns in NVML's bits, in words."""
    return tuple(words for bit, words in THROTTLING.items() if reasons & bit)
