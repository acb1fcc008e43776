"""GPUs of a made-up driver, read again and again."""

from __future__ import annotations

import pytest

from fluxkit.machine.nvml_sampler import Gpus
from fluxkit.run.energy_meter import Meter


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
