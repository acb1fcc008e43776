"""What machine this is, probed without torch; each value with its source, or `unavailable` with the reason."""

import functools
import os
import platform
import re
from collections import Counter
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fluxkit.machine.conditions import measuring_conditions
from fluxkit.machine.nvml_probe import gpus
from fluxkit.machine.readings import (
    CPUS,
    ROOT,
    Device,
    Look,
    Reading,
    attempts,
    control_groups,
    core_of,
    read_text,
    read_words,
)
from fluxkit.values import Frozen, canonical_sha256

NO_LIMIT_BYTES = 1 << 60
"""Version 1 of cgroups writes "no limit" as a number near 2^63."""
WHEELS = {"cuda": "nvidia-cuda-runtime", "cudnn": "nvidia-cudnn", "nccl": "nvidia-nccl"}
SUFFIXES = ("-cu13", "-cu12", "-cu11", "")
"""Of a wheel's name: the major version of CUDA that it is for, which newer ones leave out."""
ENGINE_PACKAGES = (
    "torch", "diffusers", "transformers", "accelerate", "peft", "scikit-image", "safetensors", "pillow",
)  # fmt: skip
"""What `fluxkit[engine]` brings."""
PACKAGES = (
    "torch", "diffusers", "transformers", "accelerate", "peft", "scikit-image", "numpy", "tokenizers", "safetensors",
    "pillow", "torchao", "nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12",
)  # fmt: skip
"""Packages that can change a number."""


class System(Frozen):
    """One look at the machine."""

    readings: dict[str, Reading]
    """Facts by name, for example `cpu_logical_cores`, `load_average_1_minute`, `nvidia_driver`."""
    devices: tuple[Device, ...]
    """The CPU first, then every visible GPU."""
    packages: dict[str, str]
    """Versions of the packages that can change a number."""

    def devices_of(self, kind: str) -> tuple[Device, ...]:
        """The devices of one kind, in order."""
        return tuple(device for device in self.devices if device.kind == kind)

    def number(self, name: str) -> float | None:
        """The value of a reading where it is a number, else None."""
        reading = self.readings.get(name)
        value = reading.value if reading else None
        return value if isinstance(value, int | float) else None

    def fingerprint(self, kind: str, count: int) -> str:
        """Hash of what identifies the hardware of a row: kind, names, memory and how many; never a label.

        A CPU is identified by its usable cores too: one name covers machines of 2 and of 128.
        """
        devices = tuple((device.kind, device.name, device.memory_bytes) for device in self.devices_of(kind)[:count])
        cores = self.number("cpu_usable_cores") if kind == "cpu" else None
        return _fingerprint(devices, cores, count)


@functools.lru_cache(maxsize=1024, typed=True)
def _fingerprint(devices: tuple[tuple[str, str, int | None], ...], cores: float | None, count: int) -> str:
    """Kept, because every contrast of a comparison asks for it again."""
    return canonical_sha256([devices, cores, count])


def probe() -> System:
    """One look at this machine, in milliseconds. No host name, user name or home path is in it."""
    readings = hardware() | measuring_conditions() | libraries()
    gpu_readings, gpu_devices = gpus()
    sizes = [readings[name].value for name in ("memory_total_bytes", "memory_limit_bytes")]
    cpu = Device(
        kind="cpu",
        name=str(readings["cpu_model"].value or "CPU"),
        memory_bytes=min((size for size in sizes if isinstance(size, int)), default=None),
    )
    packages = {name: installed for name in PACKAGES if (installed := _installed(name))}
    return System(readings=readings | gpu_readings, devices=(cpu, *gpu_devices), packages=packages)


def hardware(root: Path = ROOT) -> dict[str, Reading]:
    """Operating system, processor and memory, and how much of them this process may use."""
    import psutil

    looks: dict[str, Look] = {
        "operating_system": ("platform.freedesktop_os_release", _operating_system),
        "kernel": ("platform.release", lambda: f"{platform.system()} {platform.release()}"),
        "machine_architecture": ("platform.machine", platform.machine),
        "python_version": (
            "platform.python_version", lambda: f"{platform.python_implementation()} {platform.python_version()}"),
        "cpu_model": ("/proc/cpuinfo or platform.processor", lambda: _cpu_model(root)),
        "cpu_physical_cores": ("psutil.cpu_count(logical=False)", lambda: psutil.cpu_count(logical=False)),
        "cpu_logical_cores": ("psutil.cpu_count", lambda: psutil.cpu_count(logical=True)),
        "cpu_quota_cores": ("cgroup cpu.max or cpu.cfs_quota_us", lambda: cpu_quota(root), "no limit is set"),
        "cpu_usable_cores": ("sched_getaffinity and cgroup", lambda: _in_quota(len(_affinity()), root)),
        "cpu_usable_physical_cores": (
            f"sched_getaffinity, cgroup and /{CPUS}", lambda: _in_quota(physical_cores(_affinity(), root), root)),
        "cpu_governor": (f"/{CPUS}/cpu*/cpufreq/scaling_governor", lambda: governor(root)),
        "memory_total_bytes": ("psutil.virtual_memory", lambda: psutil.virtual_memory().total),
        "memory_available_bytes": ("psutil.virtual_memory", lambda: psutil.virtual_memory().available),
        "memory_limit_bytes": (
            "cgroup memory.max or memory.limit_in_bytes", lambda: memory_limit(root), "no limit is set"),
        "swap_total_bytes": ("psutil.swap_memory", lambda: psutil.swap_memory().total),
        "swap_used_bytes": ("psutil.swap_memory", lambda: psutil.swap_memory().used),
    }  # fmt: skip
    return attempts(looks)


def libraries() -> dict[str, Reading]:
    """CUDA, cuDNN and NCCL, or why not; CUDA also from the name of torch's build, which may bring it by itself."""
    source = "metadata of the nvidia-* and torch packages"
    return attempts({f"{name}_version": (source, partial(_library_version, name)) for name in WHEELS})


def governor(root: Path) -> str:
    """The governor of all logical processors; where they differ, each with how many have it.

    Raises:
        OSError: the kernel does not show it.
    """
    files = sorted((root / CPUS).glob("cpu[0-9]*/cpufreq/scaling_governor"))
    count = Counter(read_text(file) for file in files or [root / CPUS / "cpu0/cpufreq/scaling_governor"])
    if len(count) == 1:
        return next(iter(count))
    return ", ".join(f"{name} on {number} of {len(files)} processors" for name, number in sorted(count.items()))


def cpu_quota(root: Path) -> float | None:
    """Cores that the tightest control group around this process grants; None without a limit.

    Source: the kernel's documentation of cgroup v2 (`cpu.max`: "max" or quota, then period, in microseconds) and of
    v1's CFS bandwidth control (`cpu.cfs_quota_us`, -1 for none, over `cpu.cfs_period_us`).
    """
    grants = []
    for folder in control_groups("cpu", root):
        words = read_words(folder / "cpu.max") or [
            *read_words(folder / "cpu.cfs_quota_us"),
            *read_words(folder / "cpu.cfs_period_us"),
        ]
        if len(words) == 2 and words[0] not in {"max", "-1"}:  # noqa: PLR2004 - quota and period
            grants.append(int(words[0]) / int(words[1]))
    return min(grants, default=None)


def memory_limit(root: Path) -> int | None:
    """Bytes that the tightest control group around this process grants; None without a limit."""
    words = [
        word
        for folder in control_groups("memory", root)
        for name in ("memory.max", "memory.limit_in_bytes")
        for word in read_words(folder / name)
    ]
    limits = [int(word) for word in words if word != "max" and int(word) < NO_LIMIT_BYTES]
    return min(limits, default=None)


def physical_cores(cpus: set[int], root: Path) -> int:
    """How many physical cores the logical `cpus` are on: two threads of one core share its arithmetic units.

    Where the kernel does not say (macOS), every physical core counts that psutil knows.
    """
    import psutil

    cores = {core_of(root / CPUS / f"cpu{cpu}") for cpu in cpus}
    return len(cores) if None not in cores else min(len(cpus), psutil.cpu_count(logical=False) or len(cpus))


def _in_quota(cores: int, root: Path) -> int:
    """Whole cores: at least 1, and no more than the quota."""
    with suppress(OSError, ValueError):  # a quota that can't be read is none
        cores = min(cores, int(cpu_quota(root) or cores))
    return max(1, cores)


def _affinity() -> set[int]:
    """Logical CPUs this process may run on; macOS has no such call."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


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


def _library_version(name: str) -> str:
    """Raises: LookupError: there is none, with the reason in words."""
    for suffix in SUFFIXES:
        if installed := _installed(WHEELS[name] + suffix):
            return installed
    torch = _installed("torch")
    if torch is None:
        raise LookupError("torch is not installed")
    build = torch.partition("+")[2]
    if build == "cpu":
        raise LookupError(f"torch {torch} is built for the CPU alone")
    digits = re.fullmatch(r"cu(\d+)(\d)", build)
    if name == "cuda" and digits:
        return f"{digits[1]}.{digits[2]}"
    raise LookupError(f"torch {torch} does not name it, and no {WHEELS[name]} package is installed")


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
