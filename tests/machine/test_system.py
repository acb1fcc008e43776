"""Probing made-up machines, and this one."""

from __future__ import annotations

import getpass
import json
import socket
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from fluxkit.machine.conditions import measuring_conditions
from fluxkit.machine.readings import attempt
from fluxkit.machine.system import (
    System,
    cpu_quota,
    hardware,
    libraries,
    memory_limit,
    physical_cores,
    probe,
)


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
    readings = hardware(root({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}))
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


def test_a_hypervisor_shows_in_the_cpu_flags(root):
    """A virtual machine is recognised by its CPU's flag."""
    place = root({"proc/cpuinfo": "flags\t\t: fpu hypervisor amx\n"})
    assert measuring_conditions(place, {})["virtual_machine"].value is True


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


@pytest.mark.parametrize(
    ("governors", "words"),
    [(("powersave",) * 2, "powersave"),
     (("performance", "powersave", "powersave"), "performance on 1 of 3 processors, powersave on 2 of 3 processors")],
)  # fmt: skip
def test_a_governor_is_that_of_all_processors(root, governors, words):
    """One word where they agree; where they differ, each governor with how many have it."""
    cpu = "sys/devices/system/cpu/cpu"
    found = hardware(root({f"{cpu}{n}/cpufreq/scaling_governor": f"{each}\n" for n, each in enumerate(governors)}))
    assert found["cpu_governor"].value == words


@pytest.mark.parametrize(
    ("installed", "cuda", "cudnn"),
    [
        ({"torch": "2.13.0+cpu"}, None, "torch 2.13.0+cpu is built for the CPU alone"),
        (
            {"torch": "2.13.0+cu126"},
            "12.6",
            "torch 2.13.0+cu126 does not name it, and no nvidia-cudnn package is installed",
        ),
        ({"torch": "2.13.0", "nvidia-cuda-runtime": "13.0.96", "nvidia-cudnn-cu13": "9.15"}, "13.0.96", "9.15"),
        ({}, None, "torch is not installed"),
    ],
)
def test_nvidias_libraries_are_named_by_their_packages(monkeypatch, installed, cuda, cudnn):
    """CUDA, cuDNN and NCCL come from package metadata or torch's build, or have a reason; nothing is loaded."""

    def version(name):
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr("fluxkit.machine.system.version", version)
    found = libraries()
    assert found["cuda_version"].value == cuda
    assert cudnn in {found["cudnn_version"].value, found["cudnn_version"].unavailable}
