"""GPUs of a made-up driver, and which of them a process sees."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from fluxkit.machine.nvml_probe import Gpu, gpus, not_there, visible

FULL = (Gpu("a", "GPU-aaaa"), Gpu("b", "GPU-bbbb"), Gpu("c", "GPU-bbcc"))


SLICED = Gpu("d", "GPU-dddd", (Gpu("d0", "MIG-1111"), Gpu("d1", "MIG-2222")))


class FakeNvmlError(Exception):
    pass


def fake_nvml(*, gpu_count=2, mig=False, broken=()):
    """A driver library with `gpu_count` GPUs; the calls named in `broken` fail."""

    def call(name, give):
        def run(*arguments):
            if name in broken:
                raise FakeNvmlError(f"{name} is not supported")
            return give(*arguments)

        return run

    nvml = ModuleType("pynvml")
    nvml.NVMLError = FakeNvmlError
    calls = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlSystemGetDriverVersion": lambda: "570.10",
        "nvmlDeviceGetCount": lambda: gpu_count,
        "nvmlDeviceGetHandleByIndex": lambda index: f"GPU-{index}",
        "nvmlDeviceGetUUID": lambda handle: handle,
        "nvmlDeviceGetName": lambda handle: f"Card of {handle}",
        "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(total=80 * 10**9),
        "nvmlDeviceGetEnforcedPowerLimit": lambda _: 700_000,
        "nvmlDeviceGetMigMode": lambda _: (int(mig), int(mig)),
        "nvmlDeviceGetMaxMigDeviceCount": lambda _: 7,
        "nvmlDeviceGetMigDeviceHandleByIndex": lambda handle, index: f"MIG-{handle}-{index}",
    }
    for name, give in calls.items():
        setattr(nvml, name, call(name, give))
    return nvml


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        (None, ["GPU-aaaa", "GPU-bbbb", "GPU-bbcc"]),
        ("", []),
        ("-1", []),
        ("1", ["GPU-bbbb"]),
        ("2, 0", ["GPU-bbcc", "GPU-aaaa"]),
        ("0,9,1", ["GPU-aaaa"]),
        ("GPU-bbb", ["GPU-bbbb"]),
        ("GPU-b", []),
        ("NoDevFiles", []),
    ],
)
def test_cuda_visible_devices(wanted, chosen):
    """Indices and UUIDs choose and order the GPUs, and the first that is not valid ends the list."""
    assert [gpu.uuid for gpu in visible(FULL, wanted)] == chosen


@pytest.mark.parametrize(
    ("wanted", "lacking"),
    [
        (None, None),
        ("", None),
        ("-1", None),
        ("NoDevFiles", None),
        ("1,0", None),
        ("0,9,1", "9"),
        ("GPU-zz", "GPU-zz"),
        ("GPU-bbbb,MIG-12ab", "MIG-12ab"),
    ],
)
def test_a_device_that_is_not_there_is_named(wanted, lacking):
    """The first name in vain is told; values that mean to hide all, or are no names, are not."""
    assert not_there(FULL, wanted) == lacking


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        (None, ["MIG-1111"]),
        ("MIG-2222", ["MIG-2222"]),
        ("1", ["MIG-1111"]),
        ("0", ["GPU-aaaa"]),
        ("GPU-d", ["MIG-1111"]),
    ],
)
def test_a_process_sees_one_mig_slice_at_most(wanted, chosen):
    """A divided GPU is seen as one of its slices, and then as nothing else beside it."""
    assert [gpu.uuid for gpu in visible((FULL[0], SLICED), wanted)] == chosen


def test_gpus_are_read_from_the_driver(monkeypatch):
    """Every visible GPU becomes a device with readings of its own."""
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml())
    readings, devices = gpus({"CUDA_VISIBLE_DEVICES": "1"})
    assert [(device.name, device.uuid, device.memory_bytes) for device in devices] == [
        ("Card of GPU-1", "GPU-1", 80 * 10**9)
    ]
    assert readings["gpu_0_power_limit_watts"].value == 700
    assert readings["gpus_installed"].value == 2
    assert readings["gpus_visible"].value == 1


def test_a_mig_slice_is_the_device(monkeypatch):
    """On a divided GPU the device is the slice."""
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(mig=True))
    assert [device.uuid for device in gpus({})[1]] == ["MIG-GPU-0-0"]


def test_what_a_driver_does_not_support_is_a_reason(monkeypatch):
    """A call that a GPU does not support leaves the others alone."""
    broken = ("nvmlDeviceGetEnforcedPowerLimit", "nvmlDeviceGetMigMode")
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(broken=broken))
    readings, devices = gpus({})
    assert len(devices) == 2
    assert "not supported" in readings["gpu_1_power_limit_watts"].unavailable


@pytest.mark.parametrize("broken", ["nvmlInit", "nvmlDeviceGetCount"])
def test_a_driver_that_fails_means_no_gpu(monkeypatch, broken):
    """Without a working driver there is no GPU, with the reason and never an exception."""
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(broken=(broken,)))
    readings, devices = gpus({})
    assert devices == ()
    assert "not supported" in readings["nvidia_driver"].unavailable


def test_a_missing_driver_library_means_no_gpu(monkeypatch):
    """Without the Python binding there is no GPU either, and the reason names it."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "pynvml" in gpus({})[0]["nvidia_driver"].unavailable
