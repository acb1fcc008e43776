"""What the launcher's sampler sees, what it makes of it, and what it costs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from types import ModuleType, SimpleNamespace

import pytest

from fluxkit.machine.nvml_sampler import Gpus, throttle_reasons
from fluxkit.run.energy_meter import NVML_COUNTER, NVML_POWER, RAPL, EnergySample, Meter, energy_of
from fluxkit.run.telemetry import Cores, Sample, Sampler, decimated, phase_telemetry


class FakeNvmlError(Exception):
    pass


@pytest.fixture
def driver(monkeypatch):
    """Puts a made-up driver library in place; calls named in `broken` fail."""

    def make(*, broken=(), millijoules=1_000_000, reasons=0):
        nvml = ModuleType("pynvml")
        nvml.NVMLError = FakeNvmlError
        state = SimpleNamespace(millijoules=millijoules, reasons=reasons, closed=0, powers=[])

        def power(_handle):
            milliwatts = state.powers.pop(0) if state.powers else 300_000
            return failing() if milliwatts is None else milliwatts

        def shutdown():
            state.closed += 1

        calls = {
            "nvmlInit": lambda: None,
            "nvmlShutdown": shutdown,
            "nvmlDeviceGetHandleByUUID": lambda uuid: uuid,
            "nvmlDeviceGetTotalEnergyConsumption": lambda _: state.millijoules,
            "nvmlDeviceGetPowerUsage": power,
            "nvmlDeviceGetClockInfo": lambda _, which: 1980 if which == 1 else 2619,
            "nvmlDeviceGetTemperature": lambda _handle, _sensor: 55,
            "nvmlDeviceGetCurrentClocksEventReasons": lambda _: state.reasons,
        }
        for name, give in calls.items():
            setattr(nvml, name, failing if name in broken else give)
        monkeypatch.setitem(sys.modules, "pynvml", nvml)
        return state

    def failing(*_arguments):
        raise FakeNvmlError("Not Supported")

    return make


@pytest.fixture
def rapl(tmp_path):
    """Writes made-up RAPL domains: rapl({"intel-rapl:0": ("package-0", 5)})."""

    def write(domains, largest=1000):
        for folder, (name, count) in domains.items():
            place = tmp_path / "sys/class/powercap" / folder
            place.mkdir(parents=True, exist_ok=True)
            (place / "name").write_text(name + "\n")
            (place / "max_energy_range_uj").write_text(f"{largest}\n")
            (place / "energy_uj").write_text(f"{count}\n")
        return tmp_path

    return write


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


def test_series_are_decimated():
    """A stored series has at most so many points, each the mean of a group; one without values is left out."""
    samples = [sample(float(n), clock=float(n), nothing=None) for n in range(10)]
    series = decimated(samples, most=4)
    assert series == {"at_seconds": (1.0, 4.0, 7.0, 9.0), "clock": (1.0, 4.0, 7.0, 9.0)}


def test_a_gpu_is_sampled_by_uuid(driver):
    """Clocks, temperature, power and event reasons come from the driver, in base units."""
    state = driver(reasons=0x8)
    with Gpus(["GPU-1"]) as gpus:
        (seen,) = gpus.sample()
    assert seen == {
        "sm_clock_hertz": 1.98e9, "memory_clock_hertz": 2.619e9, "temperature_celsius": 55, "power_watts": 300.0,
        "event_reasons": 8,
    }  # fmt: skip
    assert state.closed == 1


def test_what_a_driver_refuses_is_none(driver):
    """One refused call leaves the others alone."""
    driver(broken=("nvmlDeviceGetTemperature", "nvmlDeviceGetCurrentClocksEventReasons"))
    with Gpus(["GPU-1"]) as gpus:
        (seen,) = gpus.sample()
    assert seen["temperature_celsius"] is None
    assert seen["event_reasons"] is None
    assert seen["power_watts"] == 300.0


@pytest.mark.parametrize("broken", ["nvmlInit", "nvmlDeviceGetHandleByUUID"])
def test_a_driver_that_fails_leaves_no_gpu(driver, broken):
    """Without a driver, or with a GPU it does not know, there are no samples and a reason."""
    driver(broken=(broken,))
    with Gpus(["GPU-1"]) as gpus:
        assert gpus.sample() == []
        assert "Not Supported" in Meter(gpus).missing


def test_energy_comes_from_the_gpus_counter(driver):
    """Joules count from the meter's making; net leaves out what the idle GPU would have used."""
    state = driver()
    meter = Meter(Gpus(["GPU-1"]))
    state.millijoules += 60_000_000
    assert (meter.joules(), meter.source, meter.idle_watts) == (60_000.0, NVML_COUNTER, 300.0)
    samples = [
        EnergySample(0.0, 0.0, None), EnergySample(10.0, 5_000.0, "tune"), EnergySample(90.0, 45_000.0, "tune"),
        EnergySample(100.0, 60_000.0, None),
    ]  # fmt: skip
    energy = energy_of(meter, samples)
    assert (energy.class_, energy.joules_gross, energy.seconds) == ("measured", 60_000.0, 100.0)
    assert energy.joules_net == pytest.approx(60_000 - 300 * 100)
    assert [(each.phase, each.joules_gross, each.seconds) for each in energy.phases] == [("tune", 40_000.0, 80.0)]
    short = energy_of(
        meter, [*samples, EnergySample(110.0, 61_000.0, "inference"), EnergySample(120.0, 64_000.0, "inference")]
    )
    assert [each.reason for each in short.phases] == [None, "too short: 10 s; 60 s are wanted"]


def test_energy_without_a_counter_is_estimated(driver, monkeypatch):
    """A GPU without an energy counter gives power x time, and the class says so."""
    driver(broken=("nvmlDeviceGetTotalEnergyConsumption",))
    now = [100.0]
    monkeypatch.setattr("fluxkit.run.energy_meter.time.monotonic", lambda: now[0])
    meter = Meter(Gpus(["GPU-1"]))
    now[0] += 2.0
    assert (meter.joules(), meter.source) == (600.0, NVML_POWER)
    energy = energy_of(meter, [EnergySample(0.0, 0.0, None), EnergySample(60.0, 18_000.0, None)])
    assert (energy.class_, energy.reason) == ("estimated", "the GPU has no energy counter")


def test_a_missed_reading_of_power_is_not_nought(driver, monkeypatch):
    """Over 40 s at 300 W in which every second reading fails, the last known power holds: 12,000 J."""
    state = driver(broken=("nvmlDeviceGetTotalEnergyConsumption",))
    now = [100.0]
    monkeypatch.setattr("fluxkit.run.energy_meter.time.monotonic", lambda: now[0])
    meter = Meter(Gpus(["GPU-1"]))
    for place in range(4):
        now[0] += 10.0
        state.powers = [None if place % 2 else 300_000]
        joules = meter.joules()
    assert joules == pytest.approx(12_000.0)


def test_idle_power_is_the_mean_of_a_few_readings(driver, monkeypatch):
    """One reading that is off, or that fails, does not decide what the idle GPU draws."""
    monkeypatch.setattr("fluxkit.run.energy_meter.IDLE_SECONDS", 0.0)
    state = driver()
    state.powers = [60_000, 300_000, 60_000, None, 60_000]
    assert Meter(Gpus(["GPU-1"])).idle_watts == pytest.approx(120.0)


def test_a_mig_slice_has_no_energy(driver):
    """The counter covers the whole GPU, so a slice of it has none of its own."""
    driver()
    assert "MIG slice" in Meter(Gpus(["MIG-1"])).missing


def test_rapl_counters_wrap(rapl, monkeypatch):
    """Packages and memory are added up, cores inside a package are not, and a counter that wrapped goes on."""
    monkeypatch.setattr("fluxkit.run.energy_meter.IDLE_SECONDS", 0.0)
    root = rapl({"intel-rapl:0": ("package-0", 900), "intel-rapl:0:0": ("core", 7), "intel-rapl:0:1": ("dram", 0)})
    meter = Meter(root=root)
    rapl({"intel-rapl:0": ("package-0", 100), "intel-rapl:0:0": ("core", 800), "intel-rapl:0:1": ("dram", 50)})
    assert meter.source == RAPL
    assert meter.joules() == pytest.approx((200 + 50) / 1e6)


def test_unreadable_counters_have_a_reason(tmp_path):
    """A machine without RAPL, or whose counters only root may read, has no energy and says why."""
    meter = Meter(root=tmp_path)
    assert meter.joules() is None
    energy = energy_of(meter, [])
    assert (energy.class_, energy.joules_gross) == ("unavailable", None)
    assert "no such file" in energy.reason


def test_a_short_run_has_no_energy(rapl, monkeypatch):
    """Below a minute the counter's steps are too coarse."""
    monkeypatch.setattr("fluxkit.run.energy_meter.IDLE_SECONDS", 0.0)
    meter = Meter(root=rapl({"intel-rapl:0": ("package-0", 0)}))
    energy = energy_of(meter, [EnergySample(0.0, 0.0, None), EnergySample(59.0, 9.0, None)])
    assert (energy.class_, energy.joules_gross) == ("unavailable", None)
    assert energy.reason.startswith("too short")


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
