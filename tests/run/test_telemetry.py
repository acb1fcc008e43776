"""What the launcher's sampler sees, what it makes of it, and what it costs."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from fluxkit.machine.nvml_sampler import throttle_reasons
from fluxkit.run.telemetry import Cores, Sample, Sampler, decimated, phase_telemetry


def sample(at, phase="tune", *, busy=0.0, engine=0.0, own=0.0, stolen=0.0, reasons=0, **values):
    return Sample(at, phase, values, Cores(busy, stolen, engine, own), reasons, None)


def test_foreign_load_is_what_is_left(monkeypatch):
    """Busy cores less the engine's and the launcher's own are the others'."""
    monkeypatch.setattr("psutil.cpu_count", lambda logical: 4 if logical else 2)
    samples = [sample(0.0), sample(10.0, busy=25.0, engine=18.0, own=1.0, stolen=2.0), sample(20.0, "evaluate")]
    (tune,) = phase_telemetry(samples)
    assert (tune.phase, tune.samples, tune.logical_cores) == ("tune", 2, 4)
    assert tune.engine_cores == pytest.approx(1.8)
    assert tune.foreign_cores == pytest.approx(0.6)
    assert tune.stolen_cores == pytest.approx(0.2)


def test_a_short_phase_has_no_load():
    """Over less than a second the kernel's hundredths say nothing, so nothing is said."""
    (tune,) = phase_telemetry([sample(0.0), sample(0.5, busy=1.0)])
    assert tune.foreign_cores is None


def test_throttling_of_any_sample_is_kept():
    """Reasons of all samples of a phase are named; the power limit is a share and no reason."""
    (tune,) = phase_telemetry([sample(0.0, reasons=0x4 | 0x1), sample(1.0, reasons=0x40), sample(2.0)])
    assert tune.throttle_reasons == ("hardware thermal slowdown",)
    assert tune.power_capped_share == pytest.approx(1 / 3)
    assert throttle_reasons(0x1 | 0x2 | 0x4 | 0x10 | 0x100) == ()


def test_a_charger_that_is_pulled_out_in_mid_run_is_seen(tmp_path, monkeypatch):
    """The power supply is looked at as each phase begins and every ten seconds, so that a pulled charger is seen."""
    for name, text in {
        "AC/type": "Mains",
        "AC/online": "1",
        "BAT0/type": "Battery",
        "BAT0/status": "Discharging",
    }.items():
        file = tmp_path / "sys/class/power_supply" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    at, clock = {"phase": "load"}, [100.0]
    monkeypatch.setattr("fluxkit.run.telemetry.time.monotonic", lambda: clock[0])
    sampler = Sampler(lambda: at["phase"], root=tmp_path).watch(os.getpid())
    looks = [("load", 1, 0), ("tune", 1, 1), ("tune", 0, 2), ("tune", 0, 13), ("inference", 1, 14), ("evaluate", 0, 15)]
    for phase, online, seconds in looks:
        at["phase"], clock[0] = phase, 100.0 + seconds
        (tmp_path / "sys/class/power_supply/AC/online").write_text(f"{online}\n")
        sampler._samples.append(sampler._sample())
    shares = {phase.phase: phase.battery_share for phase in sampler.telemetry(0).phases}
    assert shares == {"tune": pytest.approx(1 / 3), "inference": 0.0}


def test_a_machine_without_a_battery_has_no_share_of_it(tmp_path):
    """Where the kernel lists no power supply, nothing is said of one."""
    sampler = Sampler(lambda: "tune", root=tmp_path).watch(os.getpid())
    sampler._samples.append(sampler._sample())
    assert sampler.telemetry(0).phases[0].battery_share is None


def test_a_sleep_is_that_of_the_phase_that_it_fell_into(monkeypatch):
    """A sleep, by which one clock gets ahead of the other, is told of the phase that it happened in."""
    at, ahead = {"phase": "tune"}, 5000.0
    clocks = {time.CLOCK_BOOTTIME: lambda: 100.0 + ahead, time.CLOCK_MONOTONIC: lambda: 100.0}
    monkeypatch.setattr("fluxkit.machine.conditions.time.clock_gettime", lambda clock: clocks[clock]())
    sampler = Sampler(lambda: at["phase"]).watch(os.getpid())
    for phase, slept in [("tune", 0.0), ("tune", 0.0), ("evaluate", 60.0), ("inference", 0.0), ("inference", 900.0)]:
        at["phase"], ahead = phase, ahead + slept
        sampler._samples.append(sampler._sample())
    phases = {phase.phase: phase.suspended_seconds for phase in sampler.telemetry(0).phases}
    assert phases == {"tune": 60.0, "inference": 900.0}  # a sleep between two looks may have begun in either phase


def test_series_are_decimated():
    """A stored series has at most so many points, each the mean of a group; one without values is left out."""
    samples = [sample(float(n), clock=float(n), nothing=None) for n in range(10)]
    series = decimated(samples, most=4)
    assert series == {"at_seconds": (1.0, 4.0, 7.0, 9.0), "clock": (1.0, 4.0, 7.0, 9.0)}


def test_the_sampler_watches_a_process_tree():
    """A busy child of the engine is the engine's load, and what looking cost is known."""
    code = "import time\nend = time.time() + 2.5\nwhile time.time() < end: pass"
    with subprocess.Popen([sys.executable, "-c", code]) as child:
        with Sampler(lambda: "tune", interval_seconds=0.1).watch(child.pid) as sampler:
            time.sleep(1.8)
        child.kill()
    seen = sampler.telemetry(attempt=0)
    assert seen.samples > 5
    assert seen.phases[0].engine_cores > 0.1
    assert 0 < seen.sampler_cpu_seconds < seen.wall_seconds
    assert max(seen.series["memory_available_bytes"]) > 0


def test_the_sampler_costs_next_to_nothing():
    """Twenty looks cost less than 2 % of the half seconds between them, in processor time."""
    sampler = Sampler(lambda: "tune").watch(os.getpid())
    sampler._sample()
    began = time.thread_time()
    for _ in range(20):
        sampler._sample()
    assert (time.thread_time() - began) / 20 < 0.02 * 0.5


def test_a_machine_that_cannot_be_watched_is_still_measured(monkeypatch):
    """An error in a look leaves a sampler without samples, and never reaches the run."""

    def broken():
        raise RuntimeError("no such thing")

    monkeypatch.setattr("psutil.cpu_times", broken)
    with Sampler(lambda: None, interval_seconds=0.01).watch(os.getpid()) as sampler:
        time.sleep(0.05)
    assert sampler.telemetry(0).samples == 0
    assert sampler.energy().class_ == "unavailable"
