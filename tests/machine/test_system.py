"""Probing made-up machines, and this one."""

from __future__ import annotations

import getpass
import json
import socket
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from fluxkit.machine.conditions import load_and_power, power_source
from fluxkit.machine.container import container_engine
from fluxkit.machine.nvml_probe import Gpu, gpus, not_there, visible
from fluxkit.machine.readings import attempt
from fluxkit.machine.system import System, cpu_quota, memory_limit, physical_cores, probe, processor, surroundings

FULL = (Gpu("a", "GPU-aaaa"), Gpu("b", "GPU-bbbb"), Gpu("c", "GPU-bbcc"))
SLICED = Gpu("d", "GPU-dddd", (Gpu("d0", "MIG-1111"), Gpu("d1", "MIG-2222")))


@pytest.fixture
def root(tmp_path):
    """Makes a root folder of files: root({"proc/cpuinfo": "..."})."""

    def make(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return make


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


def test_this_machine_is_seen():
    """The probe of any machine names its CPU, its cores and its Python."""
    system = probe()
    assert system.devices[0].kind == "cpu"
    assert system.number("cpu_usable_cores") >= 1
    assert system.number("cpu_usable_physical_cores") >= 1
    assert system.readings["python_version"].value.endswith(sys.version.split()[0])


def test_every_reading_has_a_value_or_a_reason():
    """What could not be read says why; what was read says where."""
    for name, reading in probe().readings.items():
        assert (reading.value is None) == (reading.unavailable is not None), name
        assert reading.source, name


def test_nothing_identifies_the_user():
    """Host name, user name and home folder are in no reading."""
    text = probe().model_dump_json()
    words = json.dumps(sorted({str(value) for value in json.loads(text)["readings"].values()}))
    assert str(Path.home()) not in text
    assert len(socket.gethostname()) < 4 or socket.gethostname() not in words
    assert len(getpass.getuser()) < 5 or getpass.getuser() not in words


def test_it_round_trips_through_json():
    """A look at a machine written as JSON reads back equal."""
    system = probe()
    assert System.model_validate_json(system.model_dump_json()) == system


def test_a_reader_that_fails_is_a_reason():
    """An error while reading becomes `unavailable`, without the path."""

    def fail():
        raise PermissionError(13, "Permission denied", "/secret/home")

    assert attempt("somewhere", fail).unavailable == "permission denied"


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": "0::/\n"}, None),
        (
            {
                "proc/self/cgroup": "0::/job/step\n",
                "sys/fs/cgroup/job/cpu.max": "400000 100000\n",
                "sys/fs/cgroup/job/step/cpu.max": "max 100000\n",
            },
            4.0,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/job\n2:cpu,cpuacct:/job\n",
                "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000\n",
            },
            2.0,
        ),
        (
            {
                "proc/self/cgroup": "2:cpu:/elsewhere\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
    ],
    ids=["v2", "v2-no-limit", "v2-no-file", "v2-parent", "v1", "v1-no-limit"],
)
def test_cpu_quota(root, files, cores):
    """The tightest limit of all control groups around the process holds, in either version."""
    assert cpu_quota(root(files)) == cores


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "8000000000\n"}, 8_000_000_000),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, None),
        (
            {
                "proc/self/cgroup": "4:memory:/a/b\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "4000000000\n",
                "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "6000000000\n",
            },
            4_000_000_000,
        ),
    ],
    ids=["v2", "v2-no-limit", "v1-parent"],
)
def test_memory_limit(root, files, limit):
    """The tightest memory limit around the process holds, in either version."""
    assert memory_limit(root(files)) == limit


def test_a_quota_lowers_the_usable_cores(root):
    """Half a core is still one usable core, so that a plan has a thread to give."""
    readings = processor(root({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}))
    assert readings["cpu_usable_cores"].value == 1
    assert readings["cpu_quota_cores"].value == 0.5


def test_threads_of_one_core_are_one_physical_core(root):
    """Logical CPUs with the same package and core id count once."""
    files = {}
    for cpu, core in enumerate([0, 1, 0, 1]):
        files[f"sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id"] = "0\n"
        files[f"sys/devices/system/cpu/cpu{cpu}/topology/core_id"] = f"{core}\n"
    assert physical_cores({0, 1, 2, 3}, root(files)) == 2
    assert physical_cores({0, 2}, root(files)) == 1


@pytest.mark.parametrize(
    ("files", "environment", "name"),
    [
        ({}, {}, "none"),
        ({".dockerenv": ""}, {}, "docker"),
        ({"run/.containerenv": ""}, {}, "podman"),
        ({}, {"container": "podman"}, "podman"),
        ({".dockerenv": ""}, {"APPTAINER_CONTAINER": "/x.sif"}, "apptainer"),
        ({}, {"SINGULARITY_CONTAINER": "/x.sif"}, "apptainer"),
    ],
)
def test_container(root, files, environment, name):
    """The mark that a container engine leaves tells which one it is."""
    assert container_engine(root(files), environment) == name


@pytest.mark.parametrize(
    ("supplies", "source"),
    [
        ({"AC/type": "Mains", "AC/online": "1", "BAT0/type": "Battery", "BAT0/status": "Charging"}, "mains"),
        ({"AC/type": "Mains", "AC/online": "0", "BAT0/type": "Battery", "BAT0/status": "Discharging"}, "battery"),
        ({"BAT0/type": "Battery", "BAT0/status": "Full"}, "mains"),
    ],
)
def test_power_source(root, supplies, source):
    """A charger that is plugged in means mains; a battery that empties means battery."""
    assert power_source(root({f"sys/class/power_supply/{name}": text for name, text in supplies.items()})) == source


def test_a_machine_without_power_supplies_says_so(root):
    """A server lists no power supply, which is a reason and not a value."""
    place = root({"sys/class/power_supply/.keep": ""})
    (place / "sys/class/power_supply/.keep").unlink()
    assert load_and_power(place)["power_source"].unavailable == "the kernel lists no power supply"


def test_a_hypervisor_shows_in_the_cpu_flags(root):
    """A virtual machine is recognised by its CPU's flag."""
    place = root({"proc/cpuinfo": "flags\t\t: fpu hypervisor amx\n"})
    assert surroundings(place, {})["virtual_machine"].value is True


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


def test_the_fingerprint_tells_machines_apart(machine):
    """Names, memory, cores and the number of devices are in the fingerprint."""
    prints = {
        machine(2).fingerprint("cpu", 1),
        machine(64).fingerprint("cpu", 1),
        machine(2, memory_bytes=10**10).fingerprint("cpu", 1),
        machine(2, gpus=4).fingerprint("cuda", 1),
        machine(2, gpus=4).fingerprint("cuda", 4),
    }
    assert len(prints) == 5
    assert machine(2, gpus=4).fingerprint("cuda", 1) == machine(64, gpus=1).fingerprint("cuda", 1)
