"""Joules of the devices that do the work: from their own counters, from sampled power, or the reason why not.

Source: NVML's total energy counter (Volta and later); Linux's powercap interface to RAPL, whose counters wrap.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from fluxkit.machine.nvml_sampler import Gpus
from fluxkit.machine.readings import ROOT, read_text, read_words, reason
from fluxkit.record.facts import TimedPhase
from fluxkit.record.result import Energy, PhaseEnergy

LEAST_SECONDS = 60.0
"""Of a run or a phase: a counter that moves in steps says little over less."""
IDLE_SECONDS = 0.25
"""How long idle power is measured before the engine starts."""
IDLE_READINGS = 5
"""Of a GPU's power in that time: a single one may be of the moment at which something else was drawn."""
NVML_COUNTER, NVML_POWER = "NVML total energy counter", "NVML power, sampled twice a second"
RAPL = "Linux RAPL counters"


class EnergySample(NamedTuple):
    """The meter at one moment."""

    at_seconds: float
    joules: float
    phase: str | None


class Meter:
    """Joules since it was made; `missing` says why there are none."""

    def __init__(self, gpus: Gpus | None = None, root: Path = ROOT) -> None:
        self.missing: str | None = None
        self.class_: Literal["measured", "estimated"] = "measured"
        self.source = RAPL
        self._count: Callable[[], float | None] = lambda: None
        if gpus is None:
            self._open_rapl(root)
        elif gpus.joules() is not None:
            self.source, self._count = NVML_COUNTER, gpus.joules
        elif gpus.watts() is not None:
            self.class_, self.source, self._count = "estimated", NVML_POWER, PowerIntegral(gpus).joules
        else:
            self.missing = gpus.missing or "the GPU states neither energy nor power"
        self._first = self._count() or 0.0
        self.idle_watts = None if self.missing else _mean_watts(gpus) if gpus else self._idle_watts()

    def joules(self) -> float | None:
        """Joules since the meter was made; read at least every minute, because counters wrap."""
        count = None if self.missing else self._count()
        return None if count is None else count - self._first

    def _open_rapl(self, root: Path) -> None:
        try:
            domains = [RaplDomain(folder) for folder in _rapl_folders(root)]
        except OSError as error:
            self.missing = f"the processor's energy counters can't be read: {reason(error)}"
        else:
            self._count = lambda: sum(domain.joules() for domain in domains)
            self.missing = None if domains else "the processor shows no energy counters"

    def _idle_watts(self) -> float:
        before, began = self.joules() or 0.0, time.monotonic()
        time.sleep(IDLE_SECONDS)
        return ((self.joules() or 0.0) - before) / (time.monotonic() - began)


def _mean_watts(gpus: Gpus) -> float | None:
    """Of a few readings; None where there was none."""
    known = []
    for _ in range(IDLE_READINGS):
        watts = gpus.watts()
        known += [] if watts is None else [watts]
        time.sleep(IDLE_SECONDS / IDLE_READINGS)
    return sum(known) / len(known) if known else None


class PowerIntegral:
    """Energy of GPUs without a counter: the power that they draw, over time."""

    def __init__(self, gpus: Gpus) -> None:
        self._gpus, self._joules = gpus, 0.0
        self._watts, self._moment = gpus.watts() or 0.0, time.monotonic()

    def joules(self) -> float:
        """Joules since the first reading."""
        now, watts = time.monotonic(), self._gpus.watts()
        # A reading that the driver refuses does not mean that nothing was drawn: the last one holds.
        self._watts = self._watts if watts is None else watts
        self._joules += self._watts * (now - self._moment)
        self._moment = now
        return self._joules


class RaplDomain:
    """A part of the processor with an energy counter, which wraps."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "energy_uj"
        self._range = int(read_text(folder / "max_energy_range_uj"))
        self._last, self._total = int(read_text(self._file)), 0

    def joules(self) -> float:
        """Joules since the first reading."""
        now = int(read_text(self._file))
        self._total += now - self._last if now >= self._last else now + self._range - self._last
        self._last = now
        return self._total / 1e6


def _rapl_folders(root: Path) -> list[Path]:
    """Packages and their memory: cores are inside the package, and `psys` holds it all once more."""
    folders = sorted((root / "sys/class/powercap").iterdir())
    return [folder for folder in folders if " ".join(read_words(folder / "name")).startswith(("package", "dram"))]


def energy_of(meter: Meter, samples: Sequence[EnergySample]) -> Energy:
    """Energy between the first and the last sample, and of each timed phase between."""
    if meter.missing or not samples:
        return Energy(class_="unavailable", reason=meter.missing or "nothing was sampled")
    seconds = samples[-1].at_seconds - samples[0].at_seconds
    if seconds < LEAST_SECONDS:
        return Energy(class_="unavailable", source=meter.source, reason=too_short(seconds), seconds=seconds)
    gross = samples[-1].joules - samples[0].joules
    return Energy(
        class_=meter.class_,
        joules_gross=gross,
        joules_net=_net(gross, seconds, meter.idle_watts),
        idle_watts=meter.idle_watts,
        source=meter.source,
        reason="the GPU has no energy counter" if meter.class_ == "estimated" else None,
        seconds=seconds,
        phases=tuple(_phase_energies(samples, meter.idle_watts)),
    )


def too_short(seconds: float, what: str = "") -> str | None:
    """Why so many seconds give no energy; None if they do."""
    if seconds >= LEAST_SECONDS:
        return None
    return f"too short: {seconds:.0f} s{what}; {LEAST_SECONDS:.0f} s are wanted"


def _phase_energies(samples: Sequence[EnergySample], idle_watts: float | None) -> Iterator[PhaseEnergy]:
    for phase in get_args(TimedPhase):
        inside = [sample for sample in samples if sample.phase == phase]
        if len(inside) > 1:
            seconds, gross = inside[-1].at_seconds - inside[0].at_seconds, inside[-1].joules - inside[0].joules
            yield PhaseEnergy(
                phase=phase,
                joules_gross=gross,
                joules_net=_net(gross, seconds, idle_watts),
                seconds=seconds,
                reason=too_short(seconds),
            )


def _net(gross: float, seconds: float, idle_watts: float | None) -> float | None:
    return None if idle_watts is None else gross - idle_watts * seconds
