"""A sampler in the launcher's process, twice a second: clocks, temperatures, power, memory, and who used the cores.

Nothing here may stop a run: what can't be read is None in its series.
"""

from __future__ import annotations

import math
import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Self

from fluxkit.machine.nvml_sampler import POWER_CAP, Gpus, throttle_reasons
from fluxkit.machine.readings import ROOT
from fluxkit.record.facts import PhaseTelemetry, Telemetry
from fluxkit.run.energy_meter import EnergySample, Meter, energy_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    import psutil

    from fluxkit.record.facts import Energy, TimedPhase

INTERVAL_SECONDS = 0.5
FAMILY_SECONDS = 10.0
"""Between looks for new processes of the engine: a look reads all of /proc, on the cores that are being measured."""
MOST_POINTS = 240
"""Of a stored series."""
FREQUENCIES = 8
"""Cores whose clock is read; on a large node, reading them all would be noticed."""
LEAST_SECONDS = 1.0
"""The kernel counts processor time in hundredths: over less than this, shares of it would be noise."""


class Cores(NamedTuple):
    """Processor seconds so far."""

    busy: float
    stolen: float
    engine: float
    own: float


class Sample(NamedTuple):
    """One look."""

    at_seconds: float
    phase: str | None
    values: dict[str, float | None]
    cores: Cores | None
    reasons: int | None
    """NVML's event bits of all GPUs together; None without one."""
    joules: float | None


class Sampler:
    """Looks around every half second while in the `with` block; started with the engine's process id."""

    def __init__(
        self,
        phase: Callable[[], str | None],
        gpu_uuids: Iterable[str] = (),
        *,
        interval_seconds: float = INTERVAL_SECONDS,
        root: Path = ROOT,
    ) -> None:
        uuids = tuple(gpu_uuids)
        self._phase, self._interval, self._root = phase, interval_seconds, root
        self._gpus = Gpus(uuids)
        self._meter = Meter(self._gpus if uuids else None, root)
        self._samples: list[Sample] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="telemetry", daemon=True)
        self._cpu_seconds, self._began, self._pid = 0.0, time.monotonic(), 0
        self._family: list[psutil.Process] = []
        self._looked, self._looked_in = -math.inf, ""
        self._clocks = [
            path / "cpufreq/scaling_cur_freq" for path in (root / "sys/devices/system/cpu").glob("cpu[0-9]*")
        ][:FREQUENCIES]
        self._zones = sorted((root / "sys/class/thermal").glob("thermal_zone*/temp"))

    def watch(self, pid: int) -> Self:
        """Of which process tree the engine is."""
        self._pid, self._began = pid, time.monotonic()
        return self

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._gpus.close()

    def telemetry(self, attempt: int) -> Telemetry:
        """What was seen, decimated."""
        return Telemetry(
            attempt=attempt,
            interval_seconds=self._interval,
            samples=len(self._samples),
            sampler_cpu_seconds=self._cpu_seconds,
            wall_seconds=self._samples[-1].at_seconds if self._samples else 0.0,
            series=decimated(self._samples),
            phases=tuple(phase_telemetry(self._samples)),
        )

    def energy(self) -> Energy:
        """What the devices used."""
        metered = [
            EnergySample(each.at_seconds, each.joules, each.phase) for each in self._samples if each.joules is not None
        ]
        return energy_of(self._meter, metered)

    def _watch(self) -> None:
        began = time.thread_time()
        last = False
        while not last:
            last = self._stop.wait(self._interval if self._samples else 0.0)
            with suppress(Exception):  # a machine that can't be watched is still measured
                self._samples.append(self._sample())
            self._cpu_seconds = time.thread_time() - began

    def _sample(self) -> Sample:
        import psutil

        gpus, phase = self._gpus.sample(), self._phase()
        values: dict[str, float | None] = {
            "cpu_frequency_hertz": _mean(_numbers(self._clocks, 1e3)),
            "temperature_celsius": max(_numbers(self._zones, 1e-3), default=None),
            "memory_available_bytes": psutil.virtual_memory().available,
        }
        reasons = 0 if gpus else None
        for index, gpu in enumerate(gpus):
            reasons = (reasons or 0) | int(gpu.pop("event_reasons") or 0)
            values |= {f"gpu_{index}_{name}": value for name, value in gpu.items()}
        cores, resident = self._cores(phase or "")
        values["engine_resident_bytes"] = resident
        return Sample(time.monotonic() - self._began, phase, values, cores, reasons, self._meter.joules())

    def _cores(self, phase: str) -> tuple[Cores, float | None]:
        import psutil

        self._look_for_family(phase)
        system, own = psutil.cpu_times(), os.times()
        names = ("user", "nice", "system", "irq", "softirq")
        busy = sum(getattr(system, name, 0.0) for name in names)
        engine, resident = 0.0, 0.0
        for process in self._family:
            with suppress(psutil.Error):
                times = process.cpu_times()
                # Children that have ended and were waited for count with their parent.
                engine += times.user + times.system + times.children_user + times.children_system
                resident += process.memory_info().rss
        cores = Cores(busy, getattr(system, "steal", 0.0), engine, own.user + own.system)
        return cores, resident or None

    def _look_for_family(self, phase: str) -> None:
        import psutil

        now = time.monotonic()
        if not self._pid or (now - self._looked < FAMILY_SECONDS and phase == self._looked_in):
            return
        self._looked, self._looked_in = now, phase
        with suppress(psutil.Error):
            head = psutil.Process(self._pid)
            self._family = [head, *head.children(recursive=True)]


def phase_telemetry(samples: Sequence[Sample]) -> list[PhaseTelemetry]:
    """What was seen in each timed phase."""
    timed: tuple[TimedPhase, ...] = ("tune", "inference")
    return [_phase(name, inside) for name in timed if (inside := [each for each in samples if each.phase == name])]


def _phase(name: TimedPhase, samples: Sequence[Sample]) -> PhaseTelemetry:
    import psutil

    known = [each.reasons for each in samples if each.reasons is not None]
    capped = [bool(reasons & POWER_CAP) for reasons in known]
    busy = _busy(samples)
    return PhaseTelemetry(
        phase=name,
        samples=len(samples),
        engine_cores=busy.engine if busy else None,
        foreign_cores=max(0.0, busy.busy - busy.engine - busy.own) if busy else None,
        stolen_cores=busy.stolen if busy else None,
        logical_cores=psutil.cpu_count(logical=True),
        power_capped_share=sum(capped) / len(capped) if capped else None,
        throttle_reasons=tuple(dict.fromkeys(word for reasons in known for word in throttle_reasons(reasons))),
    )


def _busy(samples: Sequence[Sample]) -> Cores | None:
    """Cores kept busy on average between the first and the last sample; None if that is too short."""
    known = [(each.at_seconds, each.cores) for each in samples if each.cores is not None]
    if len(known) < 2 or known[-1][0] - known[0][0] < LEAST_SECONDS:  # noqa: PLR2004 - a first and a last
        return None
    (began, first), (ended, last) = known[0], known[-1]
    return Cores(*(max(0.0, after - before) / (ended - began) for before, after in zip(first, last, strict=True)))


def decimated(samples: Sequence[Sample], most: int = MOST_POINTS) -> dict[str, tuple[float | None, ...]]:
    """Means over equal groups of samples, by name; a series without any value is left out."""
    group = max(1, math.ceil(len(samples) / most))
    groups = [samples[start : start + group] for start in range(0, len(samples), group)]
    names = {name: None for each in samples for name in each.values}
    series: dict[str, tuple[float | None, ...]] = {
        "at_seconds": tuple(_mean(sample.at_seconds for sample in each) for each in groups)
    }
    for name in names:
        values = tuple(_mean(sample.values.get(name) for sample in each) for each in groups)
        if any(value is not None for value in values):
            series[name] = values
    return series


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean in six digits, which is what sensors are worth; None of nothing."""
    known = [value for value in values if value is not None]
    return float(f"{math.fsum(known) / len(known):.6g}") if known else None


def _numbers(files: Iterable[Path], factor: float) -> list[float]:
    """The numbers in those files that can be read."""
    found = []
    for file in files:
        with suppress(OSError, ValueError):
            found.append(int(file.read_text("ascii")) * factor)
    return found
