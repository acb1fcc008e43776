"""Readers of the operating system: each gives a value with its source, or the reason why there is none."""

from __future__ import annotations

import os
import platform
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from fluxkit.values import FROZEN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path("/")
"""Where /proc and /sys lie; tests read made-up machines from elsewhere."""
NO_LIMIT_BYTES = 1 << 60
"""Version 1 of cgroups writes "no limit" as a number near 2^63."""


class Reading(BaseModel):
    """One fact about the machine."""

    model_config = FROZEN

    value: bool | int | float | str | None
    """What was read; null where it could not be."""
    source: str
    """File, call or command it was read from."""
    unavailable: str | None = None
    """Why there is no value."""


class Device(BaseModel):
    """One device that can run the workload, as seen at run time."""

    model_config = FROZEN

    kind: str
    """`cpu` or `cuda`."""
    name: str
    """The maker's name of it."""
    memory_bytes: int | None
    """Memory that it may use."""
    uuid: str | None = None
    """The GPU's or MIG slice's own id."""


def attempt(source: str, read: Callable[[], bool | float | str | None], none: str = "it is not stated") -> Reading:
    """What `read` gives, or `unavailable` with the reason (`none` if it gives None): a probe never stops a run."""
    try:
        value = read()
    except Exception as error:  # noqa: BLE001 - whatever a foreign machine raises is a reason, not a crash
        return Reading(value=None, source=source, unavailable=reason(error))
    if value is None or value == "":
        return Reading(value=None, source=source, unavailable=none)
    return Reading(value=value, source=source)


def reason(error: Exception) -> str:
    """Why, in words; an operating system's error leaves out the path, which the source already names."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


def operating_system() -> dict[str, Reading]:
    """System, kernel, machine architecture and Python."""
    return {
        "operating_system": attempt("platform.freedesktop_os_release", _operating_system),
        "kernel": attempt("platform.release", lambda: f"{platform.system()} {platform.release()}"),
        "machine_architecture": attempt("platform.machine", platform.machine),
        "python_version": attempt(
            "platform.python_version", lambda: f"{platform.python_implementation()} {platform.python_version()}"
        ),
    }


def processor(root: Path = ROOT) -> dict[str, Reading]:
    """CPU model, cores, and how many of them this process may use."""
    import psutil

    quota = attempt("cgroup cpu.max or cpu.cfs_quota_us", lambda: cpu_quota(root), none="no limit is set")
    return {
        "cpu_model": attempt("/proc/cpuinfo or platform.processor", lambda: _cpu_model(root)),
        "cpu_physical_cores": attempt("psutil.cpu_count(logical=False)", lambda: psutil.cpu_count(logical=False)),
        "cpu_logical_cores": attempt("psutil.cpu_count", lambda: psutil.cpu_count(logical=True)),
        "cpu_quota_cores": quota,
        "cpu_usable_cores": attempt("sched_getaffinity and cgroup", lambda: _within(quota, len(_affinity()))),
        "cpu_usable_physical_cores": attempt(
            "sched_getaffinity, cgroup and /sys/devices/system/cpu",
            lambda: _within(quota, physical_cores(_affinity(), root)),
        ),
        "cpu_governor": attempt("/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor", lambda: governor(root)),
    }


def memory(root: Path = ROOT) -> dict[str, Reading]:
    """Memory, its limit and swap, in bytes."""
    import psutil

    return {
        "memory_total_bytes": attempt("psutil.virtual_memory", lambda: psutil.virtual_memory().total),
        "memory_available_bytes": attempt("psutil.virtual_memory", lambda: psutil.virtual_memory().available),
        "memory_limit_bytes": attempt(
            "cgroup memory.max or memory.limit_in_bytes", lambda: memory_limit(root), none="no limit is set"
        ),
        "swap_total_bytes": attempt("psutil.swap_memory", lambda: psutil.swap_memory().total),
        "swap_used_bytes": attempt("psutil.swap_memory", lambda: psutil.swap_memory().used),
    }


def conditions(root: Path = ROOT) -> dict[str, Reading]:
    """What can slow a measurement down: load of others and running on a battery."""
    return {
        "load_average_1_minute": attempt("os.getloadavg", lambda: os.getloadavg()[0]),
        "load_average_5_minutes": attempt("os.getloadavg", lambda: os.getloadavg()[1]),
        "load_average_15_minutes": attempt("os.getloadavg", lambda: os.getloadavg()[2]),
        "power_source": attempt("/sys/class/power_supply", lambda: power_source(root)),
    }


def surroundings(root: Path = ROOT, environment: Mapping[str, str] = os.environ) -> dict[str, Reading]:
    """Whether this is a container or a virtual machine."""
    return {
        "container": attempt(
            "/.dockerenv, /run/.containerenv, APPTAINER_CONTAINER, SINGULARITY_CONTAINER",
            lambda: container(root, environment),
        ),
        "virtual_machine": attempt("the hypervisor flag in /proc/cpuinfo", lambda: _virtual_machine(root)),
    }


def container(root: Path, environment: Mapping[str, str]) -> str:
    """`apptainer`, `podman`, `docker` or `none`."""
    # Apptainer first: it may run an image that was built for docker and still carries docker's mark.
    if "APPTAINER_CONTAINER" in environment or "SINGULARITY_CONTAINER" in environment:
        return "apptainer"
    # With --read-only Podman hides its mark below an empty /run, but not the variable.
    if (root / "run/.containerenv").exists() or environment.get("container") == "podman":
        return "podman"
    return "docker" if (root / ".dockerenv").exists() else "none"


def power_source(root: Path) -> str:
    """`mains` or `battery`.

    Raises:
        OSError: the kernel does not say.
    """
    supplies = [_fields(entry) for entry in sorted((root / "sys/class/power_supply").iterdir())]
    if not supplies:
        raise OSError("the kernel lists no power supply")
    chargers = [supply for supply in supplies if supply.get("type") != "Battery"]
    if any(supply.get("online") == "1" for supply in chargers):
        return "mains"
    return "battery" if any(supply.get("status") == "Discharging" for supply in supplies) else "mains"


def governor(root: Path) -> str:
    """The governor of all logical processors; where they differ, each with how many have it.

    Raises:
        OSError: the kernel does not show it.
    """
    cpus = root / "sys/devices/system/cpu"
    files = sorted(cpus.glob("cpu[0-9]*/cpufreq/scaling_governor")) or [cpus / "cpu0/cpufreq/scaling_governor"]
    count = Counter(file.read_text("ascii").strip() for file in files)
    if len(count) == 1:
        return next(iter(count))
    return ", ".join(f"{name} on {number} of {len(files)} processors" for name, number in sorted(count.items()))


def cpu_quota(root: Path) -> float | None:
    """Cores that the tightest control group around this process grants; None without a limit.

    Source: the kernel's documentation of cgroup v2 (`cpu.max`: "max" or quota, then period, in microseconds) and of
    v1's CFS bandwidth control (`cpu.cfs_quota_us`, -1 for none, over `cpu.cfs_period_us`).
    """
    grants = []
    for folder in control_groups(root, "cpu"):
        unified = _words(folder / "cpu.max")
        quota, period = unified if len(unified) == 2 else _version_1_quota(folder)  # noqa: PLR2004 - quota and period
        if quota not in {"max", "-1", ""}:
            grants.append(int(quota) / int(period))
    return min(grants, default=None)


def memory_limit(root: Path) -> int | None:
    """Bytes that the tightest control group around this process grants; None without a limit."""
    words = [
        word
        for folder in control_groups(root, "memory")
        for word in (*_words(folder / "memory.max"), *_words(folder / "memory.limit_in_bytes"))
    ]
    limits = [int(word) for word in words if word != "max" and int(word) < NO_LIMIT_BYTES]
    return min(limits, default=None)


def physical_cores(cpus: set[int], root: Path) -> int:
    """How many physical cores the logical `cpus` are on: two threads of one core share its arithmetic units.

    Where the kernel does not say (macOS), every physical core counts that psutil knows.
    """
    import psutil

    topology = root / "sys/devices/system/cpu"
    cores = set()
    for cpu in cpus:
        names = [topology / f"cpu{cpu}/topology" / name for name in ("physical_package_id", "core_id")]
        if not all(name.is_file() for name in names):
            return min(len(cpus), psutil.cpu_count(logical=False) or len(cpus))
        cores.add(tuple(name.read_text("ascii").strip() for name in names))
    return len(cores)


def _within(quota: Reading, cores: int) -> int:
    """Whole cores: at least 1, and no more than the quota."""
    return max(1, min(cores, int(quota.value)) if isinstance(quota.value, float) else cores)


def _affinity() -> set[int]:
    """Logical CPUs this process may run on; macOS has no such call."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def control_groups(root: Path, controller: str) -> list[Path]:
    """Folders of this process's control group and all around it: every limit on the way up holds."""
    folders = []
    for line in (root / "proc/self/cgroup").read_text("utf-8").splitlines():
        number, controllers, path = line.split(":", 2)
        if number != "0" and controller not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / ("" if number == "0" else controller)
        parts = [part for part in path.split("/") if part not in {"", ".."}]
        folders += [mount.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]
    return folders


def _version_1_quota(folder: Path) -> tuple[str, str]:
    quota, period = (_words(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    return (quota[0], period[0]) if quota and period else ("", "")


def _words(file: Path) -> list[str]:
    try:
        return file.read_text("ascii").split()
    except OSError:
        return []


def _fields(supply: Path) -> dict[str, str]:
    words = {name: _words(supply / name) for name in ("type", "online", "status")}
    return {name: word[0] for name, word in words.items() if word}


def _operating_system() -> str:
    if platform.system() == "Darwin":
        return f"macOS {platform.mac_ver()[0]}"
    return platform.freedesktop_os_release().get("PRETTY_NAME", "")


def _cpu_model(root: Path) -> str:
    """The kernel's name of the CPU; on arm64 Linux has none, so the architecture stands for it."""
    file = root / "proc/cpuinfo"
    for line in file.read_text("utf-8").splitlines() if file.is_file() else ():
        key, _, value = line.partition(":")
        if key.strip() in {"model name", "Model"} and value.strip():
            return " ".join(value.split())
    return platform.processor() or platform.machine()


def _virtual_machine(root: Path) -> bool:
    lines = (root / "proc/cpuinfo").read_text("utf-8").splitlines()
    flags = [line for line in lines if line.startswith("flags")]
    if not flags:
        raise OSError("this architecture has no such flag")
    return "hypervisor" in flags[0].split()
