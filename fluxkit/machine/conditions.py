"""Readings that tell whether a machine is fit to measure: clocks, heat, load, limits, stolen time, timer, disk.

None of them needs root, and none changes anything.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fluxkit.machine.readings import ROOT, Reading, attempt, control_groups

if TYPE_CHECKING:
    from collections.abc import Mapping

CPUS = "sys/devices/system/cpu"
NO_SUCH = "the kernel does not show it"
PLACES = ("physical_package_id", "core_id")
"""Where a logical processor sits."""
OVERRIDING = (
    "MKL_NUM_THREADS", "MKL_DYNAMIC", "OMP_DYNAMIC", "OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY",
    "KMP_AFFINITY", "ONEDNN_MAX_CPU_ISA", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_LAUNCH_BLOCKING", "CUDA_DEVICE_MAX_CONNECTIONS", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)  # fmt: skip
"""Environment variables that change threads, memory or arithmetic behind a spec's back."""
TIMEX_BYTES = 512
"""More than any kernel's `struct timex` takes; all zero, it asks and sets nothing."""
TIME_ERROR = 5


def vitals(root: Path = ROOT, environment: Mapping[str, str] = os.environ) -> dict[str, Reading]:
    """All of them."""
    return clocks(root) | heat(root) | pressure(root) | limits(root) | timers(root) | places() | switches(environment)


def clocks(root: Path) -> dict[str, Reading]:
    """What the processor's clock may do."""
    policy = root / CPUS / "cpu0/cpufreq"
    return {
        "cpu_turbo": attempt(f"/{CPUS}/intel_pstate/no_turbo or cpufreq/boost", lambda: turbo(root), none=NO_SUCH),
        "cpu_frequency_min_hertz": attempt(f"/{CPUS}/cpu0/cpufreq", lambda: _number(policy / "scaling_min_freq") * 1e3),
        "cpu_frequency_max_hertz": attempt(f"/{CPUS}/cpu0/cpufreq", lambda: _number(policy / "scaling_max_freq") * 1e3),
        "cpu_energy_preference": attempt(
            f"/{CPUS}/cpu0/cpufreq", lambda: _text(policy / "energy_performance_preference")
        ),
        "cpu_simultaneous_multithreading": attempt(
            f"/{CPUS}/smt/active", lambda: _text(root / CPUS / "smt/active") == "1"
        ),
        "numa_nodes": attempt(
            "/sys/devices/system/node/online", lambda: _text(root / "sys/devices/system/node/online")
        ),
    }


def heat(root: Path) -> dict[str, Reading]:
    """Temperature, and how often the processor lowered its clock because of it since the machine started."""
    return {
        "temperature_celsius": attempt(
            "/sys/class/thermal", lambda: temperature(root), none="the kernel lists no thermal zone"
        ),
        "cpu_thermal_throttle_count": attempt(
            f"/{CPUS}/cpu*/thermal_throttle", lambda: throttle_count(root), none="the kernel counts none"
        ),
    }


def pressure(root: Path) -> dict[str, Reading]:
    """Who else wants the processor, memory and disk: pressure stall information, in percent of the last 10 s."""
    found = {
        f"pressure_{name}_percent": attempt(f"/proc/pressure/{name}", partial(_stalled, root, name))
        for name in ("cpu", "memory", "io")
    }
    found["runnable_threads"] = attempt(
        "/proc/loadavg", lambda: int(_text(root / "proc/loadavg").split()[3].split("/")[0])
    )
    found["stolen_share"] = attempt("/proc/stat, since the machine started", lambda: stolen_share(root))
    return found


def limits(root: Path) -> dict[str, Reading]:
    """What a control group takes away, and what goes to swap, since they were made."""
    import psutil

    return {
        "cpu_affinity": attempt("sched_getaffinity", lambda: ranges(sorted(os.sched_getaffinity(0)))),
        "cgroup_throttled_count": attempt(
            "cgroup cpu.stat", lambda: throttled(root)[0], none="no control group counts it"
        ),
        "cgroup_throttled_seconds": attempt(
            "cgroup cpu.stat", lambda: throttled(root)[1], none="no control group counts it"
        ),
        "swap_out_bytes": attempt("psutil.swap_memory, since the machine started", lambda: psutil.swap_memory().sout),
    }


def timers(root: Path) -> dict[str, Reading]:
    """What the clock is that everything is timed with."""
    source = "sys/devices/system/clocksource/clocksource0/current_clocksource"
    return {
        "clock_source": attempt(f"/{source}", lambda: _text(root / source)),
        "timer_resolution_seconds": attempt(
            "time.get_clock_info('perf_counter')", lambda: time.get_clock_info("perf_counter").resolution
        ),
        "clock_synchronised": attempt("adjtimex", clock_is_synchronised),
    }


def places() -> dict[str, Reading]:
    """Room for what a run writes."""
    return {
        "disk_free_bytes": attempt("statvfs of the working directory", lambda: shutil.disk_usage(Path.cwd()).free),
        "shared_memory_free_bytes": attempt("statvfs of /dev/shm", lambda: shutil.disk_usage("/dev/shm").free),  # noqa: S108 - asked for its size
    }


def switches(environment: Mapping[str, str]) -> dict[str, Reading]:
    """Variables that override what a run sets: of each only whether it is there, because a value may be private."""
    value = environment.get("NVIDIA_TF32_OVERRIDE")
    return {
        "tf32_override": attempt(
            "NVIDIA_TF32_OVERRIDE", lambda: value if value in {"0", "1", None} else "set", none="it is not set"
        ),
        "overriding_variables": attempt(
            "the environment", lambda: ", ".join(name for name in OVERRIDING if name in environment) or None,
            none="none is set",
        ),
    }  # fmt: skip


def clock_is_synchronised() -> bool:
    """Whether the kernel's clock follows a time server; asks and changes nothing. Source: adjtimex(2), modes 0.

    Raises:
        OSError: this system has no such call, or forbids it.
    """
    call = getattr(ctypes.CDLL(None, use_errno=True), "adjtimex", None)
    if call is None:
        raise OSError("this system has no such call")
    state = call(ctypes.create_string_buffer(TIMEX_BYTES))
    if state < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return bool(state != TIME_ERROR)


def turbo(root: Path) -> str | None:
    """`on` or `off`; None where the kernel does not show it."""
    intel, others = root / CPUS / "intel_pstate/no_turbo", root / CPUS / "cpufreq/boost"
    if intel.is_file():
        return "off" if _text(intel) == "1" else "on"
    if others.is_file():
        return "on" if _text(others) == "1" else "off"
    return None


def temperature(root: Path) -> float | None:
    """Degrees Celsius of the hottest thermal zone that can be read."""
    found = []
    for file in (root / "sys/class/thermal").glob("thermal_zone*/temp"):
        try:
            found.append(_number(file) / 1000)
        except (OSError, ValueError):  # a zone that is switched off
            continue
    return max(found, default=None)


def throttle_count(root: Path) -> int | None:
    """Times that cores and packages were throttled by heat: every logical processor counts its core's and package's.

    Each core and each package counts once, by the processor that counted most; without topology each is its own.
    """
    most: dict[tuple[str, ...], float] = {}
    for file in (root / CPUS).glob("cpu[0-9]*/thermal_throttle/*_throttle_count"):
        what, places = file.name.split("_")[0], [file.parents[1] / "topology" / name for name in PLACES]
        known = [_text(place) if place.is_file() else file.parents[1].name for place in places]
        key = (what, *(known[:1] if what == "package" else known))
        most[key] = max(most.get(key, 0.0), _number(file))
    return int(sum(most.values())) if most else None


def stolen_share(root: Path) -> float:
    """Share of processor time that the hypervisor gave to others. Source: proc(5), eighth number of `cpu`."""
    numbers = [int(word) for word in _text(root / "proc/stat").splitlines()[0].split()[1:9]]
    return numbers[7] / sum(numbers)


def throttled(root: Path) -> tuple[int | None, float | None]:
    """How often, and for how many seconds, the quotas of all control groups around this process stopped it.

    Source: the kernel's documentation: `throttled_usec` of version 2, `throttled_time` (nanoseconds) of version 1.
    """
    counts, seconds = [], []
    for folder in control_groups(root, "cpu"):
        try:
            lines = [line.split() for line in _text(folder / "cpu.stat").splitlines()]
        except OSError:
            continue
        facts = {words[0]: int(words[1]) for words in lines if len(words) == 2}  # noqa: PLR2004 - name and number
        counts += [facts["nr_throttled"]] if "nr_throttled" in facts else []
        seconds += [
            facts[name] * unit for name, unit in (("throttled_usec", 1e-6), ("throttled_time", 1e-9)) if name in facts
        ]
    return (sum(counts) if counts else None, sum(seconds) if seconds else None)


def ranges(numbers: list[int]) -> str:
    """Whole numbers as the kernel writes them: `0-3,8`."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][-1] == number - 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)


def _stalled(root: Path, name: str) -> float:
    """Percent of the last 10 s in which some process waited."""
    first = _text(root / "proc/pressure" / name).splitlines()[0]
    return float(dict(word.split("=") for word in first.split()[1:])["avg10"])


def _text(file: Path) -> str:
    return file.read_text("ascii", "replace").strip()


def _number(file: Path) -> float:
    return float(_text(file))
