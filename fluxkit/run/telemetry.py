"""A sampler in the launcher's process, twice a second: clocks, temperatures, power, memory, and who used the cores.

Nothing here may stop a run: what can't be read is None in its series.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self, get_args

from fluxkit.machine.conditions import hottest_celsius, power_source, suspended_seconds, thermal_zones
from fluxkit.machine.nvml_sampler import POWER_CAP, Gpus, throttle_reasons
from fluxkit.machine.readings import CPUS, ROOT, read_numbers
from fluxkit.record.facts import TimedPhase
from fluxkit.record.result import Energy, PhaseTelemetry, Telemetry
from fluxkit.run.energy_meter import EnergySample, Meter, energy_of

if TYPE_CHECKING:
    import psutil

INTERVAL_SECONDS = 0.5
LOOK_SECONDS = 10.0
"""Between looks at the engine's descendants and the charger: such a look costs time on the cores that are measured."""
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
    on_battery: bool | None = None
    suspended_seconds: float | None = None
    """Since the machine started."""


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
        self._phase, self._interval = phase, interval_seconds
        self._gpus = Gpus(uuids)
        self._meter = Meter(self._gpus if uuids else None, root)
        self._samples: list[Sample] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="telemetry", daemon=True)
        self._cpu_seconds, self._began, self._pid = 0.0, time.monotonic(), 0
        self._family: list[psutil.Process] = []
        self._looked, self._looked_in = -math.inf, ""
        self._root = root
        self._on_battery: bool | None = None
        self._clocks = [cpu / "cpufreq/scaling_cur_freq" for cpu in (root / CPUS).glob("cpu[0-9]*")][:FREQUENCIES]
        self._zones = thermal_zones(root)

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
            EnergySample(sample.at_seconds, sample.joules, sample.phase)
            for sample in self._samples
            if sample.joules is not None
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
        self._look_around(phase or "")
        values: dict[str, float | None] = {
            "cpu_frequency_hertz": _six_digit_mean(kilohertz * 1e3 for kilohertz in read_numbers(self._clocks)),
            "temperature_celsius": hottest_celsius(self._zones),
            "memory_available_bytes": psutil.virtual_memory().available,
        }
        reasons = 0 if gpus else None
        for index, gpu in enumerate(gpus):
            reasons = (reasons or 0) | int(gpu.pop("event_reasons") or 0)
            values |= {f"gpu_{index}_{name}": value for name, value in gpu.items()}
        cores, values["engine_resident_bytes"] = self._cores()
        return Sample(
            time.monotonic() - self._began, phase, values, cores, reasons, self._meter.joules(),
            self._on_battery, suspended_seconds(),
        )  # fmt: skip

    def _cores(self) -> tuple[Cores, float | None]:
        import psutil

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

    def _look_around(self, phase: str) -> None:
        """At what changes seldom: which processes are the engine's, and whether the charger is in."""
        import psutil

        now = time.monotonic()
        if not self._pid or (now - self._looked < LOOK_SECONDS and phase == self._looked_in):
            return
        self._looked, self._looked_in = now, phase
        self._on_battery = None
        with suppress(OSError):
            self._on_battery = power_source(self._root) == "battery"
        with suppress(psutil.Error):
            head = psutil.Process(self._pid)
            self._family = [head, *head.children(recursive=True)]


def phase_telemetry(samples: Sequence[Sample]) -> list[PhaseTelemetry]:
    """What was seen in each timed phase."""
    inside = {phase: [sample for sample in samples if sample.phase == phase] for phase in get_args(TimedPhase)}
    return [_of_phase(phase, within, _suspended(phase, samples)) for phase, within in inside.items() if within]


def _suspended(phase: TimedPhase, samples: Sequence[Sample]) -> float | None:
    """Seconds of sleep, to milliseconds, between two samples of which one or both are of the phase."""
    known = [(sample.phase, sample.suspended_seconds) for sample in samples if sample.suspended_seconds is not None]
    slept = [
        after - before for (earlier, before), (later, after) in itertools.pairwise(known) if phase in {earlier, later}
    ]
    return round(max(0.0, math.fsum(slept)), 3) if known else None


def _of_phase(phase: TimedPhase, samples: Sequence[Sample], suspended_seconds: float | None) -> PhaseTelemetry:
    import psutil

    reasons = [sample.reasons for sample in samples if sample.reasons is not None]
    capped = [bool(bits & POWER_CAP) for bits in reasons]
    on_battery = [sample.on_battery for sample in samples if sample.on_battery is not None]
    busy = _busy_cores(samples)
    return PhaseTelemetry(
        phase=phase,
        samples=len(samples),
        engine_cores=busy.engine if busy else None,
        foreign_cores=max(0.0, busy.busy - busy.engine - busy.own) if busy else None,
        stolen_cores=busy.stolen if busy else None,
        logical_cores=psutil.cpu_count(logical=True),
        power_capped_share=sum(capped) / len(capped) if capped else None,
        throttle_reasons=tuple(dict.fromkeys(word for bits in reasons for word in throttle_reasons(bits))),
        battery_share=sum(on_battery) / len(on_battery) if on_battery else None,
        suspended_seconds=suspended_seconds,
    )


def _busy_cores(samples: Sequence[Sample]) -> Cores | None:
    """Cores kept busy on average between the first and the last sample; None if that is too short."""
    known = [(sample.at_seconds, sample.cores) for sample in samples if sample.cores is not None]
    if len(known) < 2 or known[-1][0] - known[0][0] < LEAST_SECONDS:  # noqa: PLR2004 - a first and a last
        return None
    (began, first), (ended, last) = known[0], known[-1]
    return Cores(*(max(0.0, after - before) / (ended - began) for before, after in zip(first, last, strict=True)))


def decimated(samples: Sequence[Sample], most: int = MOST_POINTS) -> dict[str, tuple[float | None, ...]]:
    """Means over equal groups of samples, by name; a series without any value is left out."""
    size = max(1, math.ceil(len(samples) / most))
    groups = [samples[start : start + size] for start in range(0, len(samples), size)]
    names = dict.fromkeys(name for sample in samples for name in sample.values)
    series = {"at_seconds": tuple(_six_digit_mean(sample.at_seconds for sample in group) for group in groups)}
    for name in names:
        values = tuple(_six_digit_mean(sample.values.get(name) for sample in group) for group in groups)
        if any(value is not None for value in values):
            series[name] = values
    return series


def _six_digit_mean(values: Iterable[float | None]) -> float | None:
    """The mean in six digits, which is what sensors are worth; None of nothing."""
    known = [value for value in values if value is not None]
    return float(f"{math.fsum(known) / len(known):.6g}") if known else None
