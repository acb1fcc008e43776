"""The table of `fluxkit doctor`: which reading is shown under which name, and what is thought of its value."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from fluxkit.machine.cuda_check import closed_gpus
from fluxkit.machine.nvml_sampler import POWER_CAP, throttle_reasons
from fluxkit.machine.system import System
from fluxkit.units import GIGABYTE, counted

Verdict = Literal["fit", "remark", "doubt", "unknown"]
HOT_CELSIUS = 90.0
BUSY_PERCENT = 10.0
MOST_STOLEN = 0.01
LEAST_DISK_BYTES = 5 * GIGABYTE
LEAST_SHARED_BYTES = 64 << 20
LEAST_MEMORY_BYTES = 2 * GIGABYTE
COARSE_SECONDS = 1e-6
"""A sample of a millisecond is to be a thousand ticks."""
GPU_IN_USE_BYTES = 1 * GIGABYTE
SOUND_CLOCKS = ("tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page")


class Judged(NamedTuple):
    """What is thought of a value."""

    verdict: Verdict
    advice: str = ""


FIT = Judged("fit")


class Row(NamedTuple):
    """One check."""

    check: str
    reading: str
    """Name of the reading; for a GPU without its `gpu_N_`."""
    judge: Callable[[Any, System, str], Judged] = lambda _value, _system, _name: FIT
    words: Callable[[Any], str] = str
    fit_if_absent: tuple[str, ...] = ()
    """Reasons for having no value that are good news."""


def _judge(bad: Callable[[Any], bool], verdict: Verdict, advice: str) -> Callable[[Any, System, str], Judged]:
    """The verdict and advice where a value is `bad`."""
    return lambda value, _system, _name: Judged(verdict, advice) if bad(value) else FIT


def _beside(
    other: str, bad: Callable[[Any, float], bool], verdict: Verdict, advice: str
) -> Callable[[Any, System, str], Judged]:
    """The same, beside another reading of the same device."""

    def judge(value: Any, system: System, name: str) -> Judged:
        prefix = "_".join(name.split("_")[:2]) + "_" if name.startswith("gpu_") else ""
        beside = system.number(prefix + other)
        return Judged(verdict, advice) if beside is not None and bad(value, beside) else FIT

    return judge


def _judge_event_reasons(value: Any, _system: System, _name: str) -> Judged:
    words = throttle_reasons(int(value))
    if words:
        return Judged("doubt", f"it lowers its clocks ({', '.join(words)}): look at its cooling and power supply")
    return Judged("remark", "it is at its power limit, which is usual under load") if int(value) & POWER_CAP else FIT


def _judge_gpus(_value: Any, system: System, _name: str) -> Judged:
    if closed := closed_gpus(system):
        return Judged("remark", f"{closed}: a job may open those that it was given")
    if "gpu_order" in system.readings:
        return Judged("remark", "they differ: name those to use by UUID in CUDA_VISIBLE_DEVICES (nvidia-smi -L)")
    return FIT


def _judge_gpu_memory(value: Any, system: System, name: str) -> Judged:
    screens = system.number(name.replace("memory_used_bytes", "screen_memory_bytes")) or 0
    return Judged("doubt", "somebody uses it: see nvidia-smi") if value - screens > GPU_IN_USE_BYTES else FIT


_percent, _celsius = "{:.0f} %".format, "{:.0f} °C".format


def _bytes(value: Any) -> str:
    return f"{value / GIGABYTE:.1f} GB"


def _hertz(value: Any) -> str:
    return f"{value / 1e9:.2f} GHz"


def _cores(value: Any) -> str:
    return "1 core" if value == 1 else f"{value:g} cores"


def _times(value: Any) -> str:
    return counted(int(value), "time")


def _yes(value: Any) -> str:
    return "yes" if value else "no"


def _on(value: Any) -> str:
    return "on" if value else "off"


def _nodes(value: Any) -> str:
    """Their numbers as the kernel lists them: one node is called 0."""
    return f"nodes {value}" if set(str(value)) & set(",-") else f"node {value}"


_GOVERNOR = "speeds will vary; an administrator can run: cpupower frequency-set -g performance"
_LOAD = "others are using the processor: wait, or close programs"
_QUOTA = "a CPU quota stops processes: give the container or job more CPUs than the run has threads"
_OLD_HEAT = "it has lowered its clock for heat since it started: see that a laptop stands free, and watch the count"

ROWS: tuple[Row, ...] = (
    Row("processor", "cpu_model"),
    Row("physical cores", "cpu_physical_cores"),
    Row(
        "cores to use", "cpu_usable_cores",
        _beside("cpu_logical_cores", lambda value, all_: value < all_, "remark", "not all cores may be used here"),
    ),
    Row("affinity", "cpu_affinity"),
    Row("threads per core", "cpu_simultaneous_multithreading", words=lambda value: "several" if value else "one"),
    Row("memory nodes (NUMA)", "numa_nodes", words=_nodes),
    Row("governor", "cpu_governor", _judge(lambda value: value != "performance", "remark", _GOVERNOR)),
    Row("turbo", "cpu_turbo", _judge(lambda value: value == "on", "remark", "its clock depends on heat")),
    Row("lowest clock", "cpu_frequency_min_hertz", words=_hertz),
    Row("highest clock", "cpu_frequency_max_hertz", words=_hertz),
    Row("energy preference", "cpu_energy_preference",
        _judge(lambda value: "power" in value, "remark", "it prefers saving power to speed")),
    Row("power source", "power_source",
        _judge(lambda value: value == "battery", "doubt", "plug the charger in"),
        fit_if_absent=("the kernel lists no power supply",)),
    Row("temperature", "temperature_celsius",
        _judge(lambda value: value >= HOT_CELSIUS, "doubt", "let it cool down"), _celsius),
    Row("throttled by heat", "cpu_thermal_throttle_count",
        _judge(lambda value: value > 0, "remark", _OLD_HEAT), lambda value: f"{_times(value)} since start"),
    Row("load, 1 minute", "load_average_1_minute",
        _beside("cpu_logical_cores", lambda value, cores: value > cores / 2, "doubt", _LOAD),
        "{:.2f}".format),
    Row("runnable threads", "runnable_threads",
        _beside("cpu_logical_cores", lambda value, cores: value > 1 + cores, "doubt", _LOAD)),
    Row("pressure: processor", "pressure_cpu_percent",
        _judge(lambda value: value > BUSY_PERCENT, "doubt", _LOAD), _percent),
    Row("pressure: memory", "pressure_memory_percent",
        _judge(lambda value: value > 1, "doubt", "memory is short: close programs"), _percent),
    Row("pressure: disk", "pressure_io_percent",
        _judge(lambda value: value > BUSY_PERCENT, "remark", "others are using the disk"), _percent),
    Row("CPU quota", "cpu_quota_cores", _judge(lambda _: True, "remark", _QUOTA), _cores,
        fit_if_absent=("no limit is set",)),
    Row("stopped by the quota", "cgroup_throttled_count",
        _judge(lambda value: value > 0, "remark", _QUOTA), lambda value: f"{_times(value)} since it was set",
        fit_if_absent=("no control group counts it",)),
    Row("virtual machine", "virtual_machine",
        _judge(bool, "remark", "its host may be shared; stolen time tells"), _yes),
    Row("stolen time", "stolen_share",
        _judge(lambda value: value > MOST_STOLEN, "doubt", "the host gives this machine's cores to others"),
        "{:.1%}".format),
    Row("container", "container"),
    Row("memory", "memory_total_bytes", words=_bytes),
    Row("memory limit", "memory_limit_bytes", words=_bytes, fit_if_absent=("no limit is set",)),
    Row("memory available", "memory_available_bytes",
        _judge(lambda value: value < LEAST_MEMORY_BYTES, "doubt", "close programs; nano needs about 1 GB"), _bytes),
    Row("swap in use", "swap_used_bytes",
        _judge(lambda value: value > GIGABYTE, "remark", "memory went to swap; close programs before measuring"),
        _bytes),
    Row("shared memory free", "shared_memory_free_bytes",
        _judge(lambda value: value < LEAST_SHARED_BYTES, "remark", "several processes need it: docker run --shm-size"),
        _bytes),
    Row("disk free here", "disk_free_bytes",
        _judge(lambda value: value < LEAST_DISK_BYTES, "doubt", "make room, or choose another --out"), _bytes),
    Row("clock source", "clock_source",
        _judge(lambda value: value not in SOUND_CLOCKS, "remark", "a slow clock costs time whenever it is read")),
    Row("timer resolution", "timer_resolution_seconds",
        _judge(lambda value: value > COARSE_SECONDS, "doubt", "steps of a millisecond can't be timed"),
        "{:.0e} s".format),
    Row("clock follows a time server", "clock_synchronised",
        _judge(lambda value: not value, "remark", "the times in results of several machines can't be put in order"),
        _yes),
    Row("overriding variables", "overriding_variables",
        _judge(bool, "remark", "unset them: a run leaves out what would change its arithmetic, and records the rest"),
        fit_if_absent=("none is set",)),
    Row("TF32 override", "tf32_override",
        _judge(lambda value: value != "0", "remark", "unset NVIDIA_TF32_OVERRIDE; a run leaves it out"),
        fit_if_absent=("it is not set",)),
    Row("NVIDIA driver", "nvidia_driver"),
    Row("CUDA", "cuda_version"),
    Row("cuDNN", "cudnn_version"),
    Row("NCCL", "nccl_version"),
    Row("GPUs to use", "gpus_visible", _judge_gpus),
)  # fmt: skip

GPU_ROWS: tuple[Row, ...] = (
    Row("name", "name"),
    Row("memory", "memory_bytes", words=_bytes),
    Row("memory in use", "memory_used_bytes", _judge_gpu_memory, _bytes),
    Row("other processes", "foreign_processes",
        _judge(lambda value: value > 0, "doubt", "end them, or choose another GPU with CUDA_VISIBLE_DEVICES")),
    Row("programs that only draw", "screen_processes",
        _judge(lambda value: value > 0, "remark", "a desktop's screen is on it: it takes little, unless it moves")),
    Row("utilisation", "utilisation_percent",
        _judge(lambda value: value > BUSY_PERCENT, "doubt", "somebody uses it; a container may hide who"), _percent),
    Row("clock now", "sm_clock_hertz", words=_hertz),
    Row("highest clock", "sm_clock_max_hertz", words=_hertz),
    Row("application clock", "application_clock_hertz",
        _beside("application_clock_default_hertz", lambda value, usual: value < usual, "remark",
                "it is set below the card's own: name it in hardware.label"), _hertz),
    Row("memory clock now", "memory_clock_hertz", words=_hertz),
    Row("highest memory clock", "memory_clock_max_hertz", words=_hertz),
    Row("slowdowns now", "event_reasons", _judge_event_reasons,
        lambda value: ", ".join(throttle_reasons(int(value))) or "none"),
    Row("temperature", "temperature_celsius", _judge(lambda value: value >= HOT_CELSIUS, "doubt", "let it cool down"),
        _celsius),
    Row("power limit", "power_limit_watts",
        _beside("power_limit_default_watts", lambda value, usual: abs(value - usual) >= 1, "remark",
                "it is not the card's own limit: name it in hardware.label"),
        "{:.0f} W".format),
    Row("persistence", "persistence_mode",
        _judge(lambda value: not value, "remark", "first calls are slow; fluxkit warms up"), _on),
    Row("ECC", "ecc_mode", words=_on),
    Row("ECC errors", "ecc_errors_uncorrected",
        _judge(lambda value: value > 0, "doubt", "its memory gave wrong values: have it checked")),
    Row("rows to be remapped", "row_remap_pending",
        _judge(bool, "doubt", "its memory waits for a repair at the next reset"), _yes),
    Row("divided (MIG)", "mig_mode", _judge(bool, "remark", "the run uses one slice, and the result says so"), _yes),
    Row("compute mode", "compute_mode",
        _judge(lambda value: value == "prohibited", "doubt", "an administrator has closed it to programs")),
    Row("PCIe generation", "pcie_generation",
        _beside("pcie_generation_max", lambda value, most: value < most, "remark",
                "lower than it can; an idle link sleeps, so look again under load"),
        "{:.0f}".format),
    Row("PCIe width", "pcie_width",
        _beside("pcie_width_max", lambda value, most: value < most, "doubt", "fewer lanes than it can: check its slot"),
        "x{:.0f}".format),
    Row("links to other GPUs", "nvlinks_active", words="{} NVLinks".format),
)  # fmt: skip
