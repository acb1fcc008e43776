"""Joules from counters, from power, or the reason why there are none."""

from __future__ import annotations

import pytest

from fluxkit.machine.nvml_sampler import Gpus
from fluxkit.run.energy_meter import NVML_COUNTER, NVML_POWER, RAPL, EnergySample, Meter, energy_of


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
