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


def fake_nvml(*, gpu_count=2, mig=False, broken=(), **more):
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
    for name, give in (calls | more).items():
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


def closed(*places):
    """Handles of GPUs, some of which this process may not open."""

    def handle(index):
        if index in places:
            raise FakeNvmlError("Insufficient Permissions")
        return f"GPU-{index}"

    return handle


@pytest.mark.parametrize(("wanted", "uuid"), [(None, "GPU-1"), ("0", "GPU-1"), ("1", "GPU-3"), ("GPU-3", "GPU-3")])
def test_what_is_closed_is_not_numbered(monkeypatch, wanted, uuid):
    """A job that was given two GPUs of four knows them as 0 and 1, and how many are closed to it."""
    nvml = fake_nvml(gpu_count=4, nvmlDeviceGetHandleByIndex=closed(0, 2))
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    readings, devices = gpus({} if wanted is None else {"CUDA_VISIBLE_DEVICES": wanted})
    assert devices[0].uuid == uuid
    assert (readings["gpus_installed"].value, readings["gpus_closed"].value) == (2, 2)
    assert readings["gpus_closed"].source == "NVML: Insufficient Permissions"


NAMES = {"GPU-0": "Tesla T4", "GPU-1": "NVIDIA H100", "GPU-2": "Tesla T4"}
CORES = {"Tesla T4": 2560, "NVIDIA H100": 16896}
CAPABILITY = {"Tesla T4": (7, 5), "NVIDIA H100": (9, 0)}


@pytest.mark.parametrize("tells_cores", [True, False])
@pytest.mark.parametrize(
    ("environment", "order"),
    [
        ({}, ["GPU-1", "GPU-0", "GPU-2"]),
        ({"CUDA_VISIBLE_DEVICES": "0"}, ["GPU-1"]),
        ({"CUDA_VISIBLE_DEVICES": "2,0"}, ["GPU-2", "GPU-1"]),
        ({"CUDA_DEVICE_ORDER": "FASTEST_FIRST", "CUDA_VISIBLE_DEVICES": "1"}, ["GPU-0"]),
        ({"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, ["GPU-0", "GPU-1", "GPU-2"]),
        ({"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "0"}, ["GPU-0"]),
    ],
)
def test_unlike_gpus_are_numbered_as_cuda_does(monkeypatch, environment, order, tells_cores):
    """The fastest is 0 unless CUDA_DEVICE_ORDER asks for the bus; by generation where the driver tells no cores."""
    more = {
        "nvmlDeviceGetName": NAMES.get,
        "nvmlDeviceGetMaxClockInfo": lambda _handle, _kind: 1600,
        "nvmlDeviceGetCudaComputeCapability": lambda handle: CAPABILITY[NAMES[handle]],
    }
    if tells_cores:
        more["nvmlDeviceGetNumGpuCores"] = lambda handle: CORES[NAMES[handle]]
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(gpu_count=3, **more))
    readings, devices = gpus(environment)
    assert [device.uuid for device in devices] == order
    assert "gpu_order" in readings


def test_like_gpus_have_the_drivers_order(monkeypatch):
    """Nothing is said of an order where every number means the same kind of card."""
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(nvmlDeviceGetName=lambda _handle: "NVIDIA A100"))
    assert "gpu_order" not in gpus({})[0]


def process(pid, megabytes=None):
    return SimpleNamespace(pid=pid, usedGpuMemory=megabytes and megabytes * 10**6)


@pytest.mark.parametrize(
    ("computing", "drawing", "foreign", "screens"),
    [
        ([], [process(1, 120), process(2, 300)], 0, 2),
        ([process(3, 4)], [process(1, 120), process(3, 4)], 0, 2),
        ([process(9, 10)], [process(1, 120)], 1, 1),
        ([], [process(1)], 0, 1),
        ([process(7, 9000)], [process(7, 9000)], 1, 0),
        ([], [process(5, 2500)], 1, 0),
    ],
    ids=["a desktop", "draws by computing", "computes beside it", "memory not told", "a large one", "a game"],
)
def test_a_screen_is_told_from_others_work(monkeypatch, computing, drawing, foreign, screens):
    """Small programs that draw are a desktop's; what only computes, or draws with much memory, is somebody's work."""
    nvml = fake_nvml(
        gpu_count=1,
        nvmlDeviceGetComputeRunningProcesses=lambda _handle: computing,
        nvmlDeviceGetGraphicsRunningProcesses=lambda _handle: drawing,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    readings = gpus({})[0]
    assert readings["gpu_0_foreign_processes"].value == foreign
    assert readings["gpu_0_screen_processes"].value == screens


def test_the_drivers_reserve_is_read(monkeypatch):
    """Version 2 of the driver's memory says it apart; an older driver's is none, and its used bytes hold it."""
    nvml = fake_nvml(gpu_count=1)
    nvml.nvmlMemory_v2 = 2
    old = SimpleNamespace(total=100, used=30)
    new = SimpleNamespace(total=100, used=10, reserved=20)
    nvml.nvmlDeviceGetMemoryInfo = lambda _handle, version=None: new if version else old
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    readings = gpus({})[0]
    assert [readings[f"gpu_0_memory_{name}_bytes"].value for name in ("reserved", "used")] == [20, 10]
    nvml.nvmlDeviceGetMemoryInfo = lambda _handle: old
    readings = gpus({})[0]
    assert [readings[f"gpu_0_memory_{name}_bytes"].value for name in ("reserved", "used")] == [None, 30]
