"""Readings that tell whether a machine is fit to measure: clocks, heat, load, limits, stolen time, timer, disk.

None of them needs root, and none changes anything.
"""

import ctypes
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from fluxkit.machine.container import container_engine, existing
from fluxkit.machine.environment import overriding
from fluxkit.machine.readings import (
    CPUS,
    ROOT,
    Look,
    Reading,
    attempts,
    control_groups,
    core_of,
    read_counters,
    read_number,
    read_numbers,
    read_text,
    read_words,
)

TIMEX_BYTES = 512
"""More than any kernel's `struct timex` takes; all zero, it asks and sets nothing."""
TIME_ERROR = 5


def measuring_conditions(root: Path = ROOT, environment: Mapping[str, str] = os.environ) -> dict[str, Reading]:
    """What a measurement depends on beside the hardware, by name."""
    import psutil

    cpufreq = root / CPUS / "cpu0/cpufreq"
    clock_source = "sys/devices/system/clocksource/clocksource0/current_clocksource"
    tf32 = environment.get("NVIDIA_TF32_OVERRIDE")
    looks: dict[str, Look] = {
        # Who else may be there.
        "load_average_1_minute": ("os.getloadavg", lambda: os.getloadavg()[0]),
        "load_average_5_minutes": ("os.getloadavg", lambda: os.getloadavg()[1]),
        "load_average_15_minutes": ("os.getloadavg", lambda: os.getloadavg()[2]),
        "suspended_seconds": (
            "clock_gettime, since the machine started", suspended_seconds, "this system has no clock of it"),
        "power_source": ("/sys/class/power_supply", lambda: power_source(root)),
        "container": ("/.dockerenv, /run/.containerenv, APPTAINER_CONTAINER, SINGULARITY_CONTAINER",
                      lambda: container_engine(root, environment)),
        "virtual_machine": ("the hypervisor flag in /proc/cpuinfo", lambda: is_virtual_machine(root)),
        # What the processor's clock may do.
        "cpu_turbo": (
            f"/{CPUS}/intel_pstate/no_turbo or cpufreq/boost", lambda: turbo(root), "the kernel does not show it"),
        "cpu_frequency_min_hertz": (f"/{CPUS}/cpu0/cpufreq", lambda: read_number(cpufreq / "scaling_min_freq") * 1e3),
        "cpu_frequency_max_hertz": (f"/{CPUS}/cpu0/cpufreq", lambda: read_number(cpufreq / "scaling_max_freq") * 1e3),
        "cpu_energy_preference": (
            f"/{CPUS}/cpu0/cpufreq", lambda: read_text(cpufreq / "energy_performance_preference")),
        "cpu_simultaneous_multithreading": (
            f"/{CPUS}/smt/active", lambda: read_text(root / CPUS / "smt/active") == "1"),
        "numa_nodes": (
            "/sys/devices/system/node/online", lambda: read_text(root / "sys/devices/system/node/online")),
        # Its heat, and how often that has lowered its clock since the machine started.
        "temperature_celsius": (
            "/sys/class/thermal", lambda: hottest_celsius(thermal_zones(root)), "the kernel lists no thermal zone"),
        "cpu_thermal_throttle_count": (
            f"/{CPUS}/cpu*/thermal_throttle", lambda: throttle_count(root), "the kernel counts none"),
        # Who else wants processor, memory and disk.
        **{f"pressure_{name}_percent": (f"/proc/pressure/{name}", partial(pressure_percent, root, name))
           for name in ("cpu", "memory", "io")},
        "runnable_threads": (
            "/proc/loadavg", lambda: int(read_text(root / "proc/loadavg").split()[3].split("/")[0])),
        "stolen_share": ("/proc/stat, since the machine started", lambda: stolen_share(root)),
        # What a control group takes away, and what went to swap.
        "cpu_affinity": ("sched_getaffinity", lambda: ranges(sorted(os.sched_getaffinity(0)))),
        "cgroup_throttled_count": (
            "cgroup cpu.stat", lambda: throttled(root)[0], "no control group counts it"),
        "cgroup_throttled_seconds": (
            "cgroup cpu.stat", lambda: throttled(root)[1], "no control group counts it"),
        "swap_out_bytes": ("psutil.swap_memory, since the machine started", lambda: psutil.swap_memory().sout),
        # The clock that everything is timed with.
        "clock_source": (f"/{clock_source}", lambda: read_text(root / clock_source)),
        "timer_resolution_seconds": (
            "time.get_clock_info('perf_counter')", lambda: time.get_clock_info("perf_counter").resolution),
        "clock_synchronised": ("adjtimex", clock_is_synchronised),
        # Room for what a run writes.
        "shared_memory_free_bytes": ("statvfs of /dev/shm", lambda: shutil.disk_usage("/dev/shm").free),  # noqa: S108 - asked for its size
        # Variables that override what a run sets. Of most only whether they are there: a value may be private.
        "tf32_override": (
            "NVIDIA_TF32_OVERRIDE", lambda: tf32 if tf32 in {"0", "1", None} else "set", "it is not set"),
        "overriding_variables": (
            "the environment", lambda: ", ".join(overriding(environment)), "none is set"),
    }  # fmt: skip
    return attempts(looks) | disk_free(Path.cwd())


def disk_free(folder: Path) -> dict[str, Reading]:
    """Bytes that may be written on the disk of a folder, which need not be there yet."""
    there = existing(folder)
    where = "the working directory" if there == Path.cwd() else "the folder for results"
    return attempts({"disk_free_bytes": (f"statvfs of {where}", lambda: shutil.disk_usage(there).free)})


def suspended_seconds() -> float | None:
    """How long the machine has slept since it started: by the clock that goes on in its sleep and the one that stops.

    Source: clock_gettime(2): CLOCK_MONOTONIC stops on Linux; on macOS it goes on, and CLOCK_UPTIME_RAW stops.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
    if hasattr(time, "CLOCK_UPTIME_RAW"):
        return time.clock_gettime(time.CLOCK_MONOTONIC) - time.clock_gettime(time.CLOCK_UPTIME_RAW)
    return None


def power_source(root: Path) -> str:
    """`mains` or `battery`; the battery of a mouse or a headset, which has the scope of a device, says nothing of it.

    Raises:
        OSError: the kernel does not say.
    """
    folders = sorted((root / "sys/class/power_supply").iterdir())
    if not folders:
        raise OSError("the kernel lists no power supply")
    supplies = [
        [" ".join(read_words(folder / name)[:1]) for name in ("type", "online", "status", "scope")]
        for folder in folders
    ]
    own = [(kind, online, state) for kind, online, state, scope in supplies if scope != "Device"]
    plugged_in = any(kind != "Battery" and online == "1" for kind, online, _ in own)
    return "battery" if not plugged_in and any(state == "Discharging" for _, _, state in own) else "mains"


def is_virtual_machine(root: Path) -> bool:
    """Whether a hypervisor lies below this system.

    Raises:
        OSError: the processor has no flag that would say so.
    """
    lines = (root / "proc/cpuinfo").read_text("utf-8").splitlines()
    flags = [line for line in lines if line.startswith("flags")]
    if not flags:
        raise OSError("this architecture has no such flag")
    return "hypervisor" in flags[0].split()


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
        return "off" if read_text(intel) == "1" else "on"
    if others.is_file():
        return "on" if read_text(others) == "1" else "off"
    return None


def thermal_zones(root: Path) -> list[Path]:
    """The files of all temperature sensors."""
    return sorted((root / "sys/class/thermal").glob("thermal_zone*/temp"))


def hottest_celsius(zones: Iterable[Path]) -> float | None:
    """Degrees Celsius of the hottest thermal zone that can be read."""
    hottest = max(read_numbers(zones), default=None)
    return None if hottest is None else hottest / 1000


def throttle_count(root: Path) -> int | None:
    """Times that cores and packages were throttled by heat: every logical processor counts its core's and package's.

    Each core and each package counts once, by the processor that counted most; without topology each is its own.
    """
    most: dict[tuple[str, ...], float] = {}
    for file in (root / CPUS).glob("cpu[0-9]*/thermal_throttle/*_throttle_count"):
        cpu, what = file.parents[1], file.name.split("_")[0]
        package, core = core_of(cpu) or (cpu.name, cpu.name)
        key = (what, package) if what == "package" else (what, package, core)
        most[key] = max(most.get(key, 0.0), read_number(file))
    return int(sum(most.values())) if most else None


def pressure_percent(root: Path, name: str) -> float:
    """Percent of the last 10 s in which some process waited for `cpu`, `memory` or `io`."""
    first = read_text(root / "proc/pressure" / name).splitlines()[0]
    return float(dict(word.split("=") for word in first.split()[1:])["avg10"])


def stolen_share(root: Path) -> float:
    """Share of processor time that the hypervisor gave to others. Source: proc(5), eighth number of `cpu`."""
    numbers = [int(word) for word in read_text(root / "proc/stat").splitlines()[0].split()[1:9]]
    return numbers[7] / sum(numbers)


def throttled(root: Path) -> tuple[int | None, float | None]:
    """How often, and for how many seconds, the quotas of all control groups around this process stopped it.

    Source: the kernel's documentation: `throttled_usec` of version 2, `throttled_time` (nanoseconds) of version 1.
    """
    groups = [read_counters(folder / "cpu.stat") for folder in control_groups("cpu", root)]
    counts = [group["nr_throttled"] for group in groups if "nr_throttled" in group]
    seconds = [
        group[name] * unit
        for group in groups
        for name, unit in (("throttled_usec", 1e-6), ("throttled_time", 1e-9))
        if name in group
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
