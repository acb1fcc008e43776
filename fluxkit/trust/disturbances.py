"""Checks of what else went on: load of others, throttling, time that a hypervisor or a quota took away."""

from collections.abc import Iterator

from fluxkit.record.facts import TIMED_WORDS
from fluxkit.record.result import PhaseTelemetry, RunResult
from fluxkit.trust.finding import SPEED_SUBJECTS, SPEEDS, Finding, about

LOAD_REMARK, LOAD_DOUBT = 0.5, 1.0
"""Load average before the run / logical cores."""
FOREIGN_REMARK, FOREIGN_DOUBT = 0.05, 0.25
"""Share of the logical cores that others kept busy."""
STOLEN_REMARK, STOLEN_DOUBT = 0.01, 0.10
SUSPENDED_SECONDS = 1.0
"""Two clocks that are read one after the other differ by less."""
SWAP_REMARK_BYTES = 1 << 20
BUSY_PERCENT = 10.0
GPU_IN_USE_BYTES = 10**9
BELOW_THE_CARD = (
    ("power_limit_watts", "power_limit_default_watts", "power limit in watts"),
    ("application_clock_hertz", "application_clock_default_hertz", "application clock in hertz"),
    ("pcie_width", "pcie_width_max", "PCIe width in lanes"),
)
"""Readings of a GPU that are not to lie below another of the same; a link's generation sleeps while it idles."""
QUOTA_SHARE = 0.01
"""Throttled longer than this share of the run, a processor's speed is that of its quota."""


def load_before(result: RunResult) -> Iterator[Finding]:
    """Others were using the processor when the run began."""
    readings = result.system.before.readings
    load, cores = (readings.get(name) for name in ("load_average_1_minute", "cpu_logical_cores"))
    if result.order > 0 or load is None or cores is None or not load.value or not cores.value:
        # Later runs of a study still see the load of the run before them: no evidence of anyone else.
        return
    share = float(load.value) / float(cores.value)
    if share > LOAD_REMARK:
        evidence = f"Before the run the load average was {float(load.value):.1f} on {cores.value} logical cores."
        yield from about(SPEEDS, "C" if share > LOAD_DOUBT else "B", evidence)


def foreign_load(result: RunResult) -> Iterator[Finding]:
    """Others kept cores busy during a timed phase; a GPU's work suffers less from it than a CPU's."""
    for phase in _watched(result):
        share = share_of_cores(phase, phase.foreign_cores)
        if share > FOREIGN_REMARK:
            evidence = (
                f"During {TIMED_WORDS[phase.phase]} other processes kept {phase.foreign_cores:.2f} of"
                f" {phase.logical_cores} logical cores busy."
            )
            doubt = share > FOREIGN_DOUBT and result.plan.device == "cpu"
            yield Finding(SPEED_SUBJECTS[phase.phase], "C" if doubt else "B", evidence)


def stolen_time(result: RunResult) -> Iterator[Finding]:
    """The hypervisor gave this machine's cores to another one."""
    for phase in _watched(result):
        share = share_of_cores(phase, phase.stolen_cores)
        if share > STOLEN_REMARK:
            evidence = f"During {TIMED_WORDS[phase.phase]} the hypervisor took away {share:.0%} of the processor."
            doubt = share > STOLEN_DOUBT and result.plan.device == "cpu"
            yield Finding(SPEED_SUBJECTS[phase.phase], "C" if doubt else "B", evidence)


def gpu_throttled(result: RunResult) -> Iterator[Finding]:
    """A GPU lowered its clocks because it was too hot or its power supply said so."""
    for phase in _watched(result):
        if phase.throttle_reasons:
            reasons = ", ".join(phase.throttle_reasons)
            evidence = f"During {TIMED_WORDS[phase.phase]} a GPU lowered its clocks: {reasons}."
            yield Finding(SPEED_SUBJECTS[phase.phase], "X", evidence)


def cpu_throttled(result: RunResult) -> Iterator[Finding]:
    """A CPU lowered its clock because it was too hot: its sustained speed, not its peak, was measured."""
    count = _growth(result, "cpu_thermal_throttle_count")
    if count and result.plan.device == "cpu":
        yield from about(SPEEDS, "C", f"The processor lowered its clock {count:.0f} times because it was too hot.")


def quota_throttled(result: RunResult) -> Iterator[Finding]:
    """The control group's quota stopped the processes: what was measured is the quota."""
    count, seconds = _growth(result, "cgroup_throttled_count"), _growth(result, "cgroup_throttled_seconds")
    if not count or result.plan.device != "cpu":
        return
    total = result.summary.total_seconds
    little = seconds is not None and total is not None and seconds <= QUOTA_SHARE * total
    lost = "" if seconds is None else f", for {seconds:.1f} s together"
    evidence = f"The control group's CPU quota stopped the processes {count:.0f} times{lost}."
    yield from about(SPEEDS, "C" if little else "X", evidence)


def swapped(result: RunResult) -> Iterator[Finding]:
    """Memory went out to disk during the run."""
    written = _growth(result, "swap_out_bytes")
    if written and written > SWAP_REMARK_BYTES:
        yield from about(SPEEDS, "C", f"While it ran the system wrote {written:.3g} bytes of memory to swap.")


def on_battery(result: RunResult) -> Iterator[Finding]:
    """A laptop on its battery is another machine, be it for a part of a timed phase."""
    looks = (result.system.before, result.system.after)
    if any(
        look.readings["power_source"].value == "battery" for look in looks if look and "power_source" in look.readings
    ):
        yield from about(SPEEDS, "C", "The machine ran on its battery.")
        return
    for phase in _watched(result):
        if phase.battery_share:
            during = f"During {TIMED_WORDS[phase.phase]}"
            evidence = f"{during} the machine ran on its battery for {phase.battery_share:.0%} of the time."
            yield Finding(SPEED_SUBJECTS[phase.phase], "C", evidence)


def suspended(result: RunResult) -> Iterator[Finding]:
    """The machine slept in mid-run: its clocks and caches were cold again, and its own clock did not see it."""
    slept = [phase for phase in _watched(result) if (phase.suspended_seconds or 0.0) > SUSPENDED_SECONDS]
    for phase in slept:
        evidence = f"During {TIMED_WORDS[phase.phase]} the machine was suspended for {phase.suspended_seconds:.0f} s."
        yield Finding(SPEED_SUBJECTS[phase.phase], "C", evidence)
    # Between the attempts of a run that was continued it may sleep; that is no part of the run.
    seconds = None if slept or len(result.telemetry) > 1 else _growth(result, "suspended_seconds")
    if seconds and seconds > SUSPENDED_SECONDS:
        yield from about(SPEEDS, "C", f"The machine was suspended for {seconds:.0f} s while the run went on.")


def gpu_in_use(result: RunResult) -> Iterator[Finding]:
    """Somebody was on the GPU before the run began; inside a container only memory and utilisation may tell.

    A desktop's screen that lies idle is nobody.
    """
    for number in range(_gpus(result)):
        foreign, busy, used, screens = (
            result.system.before.number(f"gpu_{number}_{name}")
            for name in ("foreign_processes", "utilisation_percent", "memory_used_bytes", "screen_memory_bytes")
        )
        words = [f"{foreign:.0f} other processes"] if foreign else []
        words += [f"{busy:.0f} % utilisation"] if busy and busy > BUSY_PERCENT else []
        words += [f"{used / 1e9:.1f} GB in use"] if used and used - (screens or 0) > GPU_IN_USE_BYTES else []
        if words:
            yield from about(SPEEDS, "C", f"Before the run GPU {number} had {' and '.join(words)}.")


def gpu_held_back(result: RunResult) -> Iterator[Finding]:
    """A GPU that is set or connected below what it can do is another configuration of it, and has to be called so."""
    for number in range(_gpus(result)):
        for name, name_of_most, words in BELOW_THE_CARD:
            value, most = (result.system.before.number(f"gpu_{number}_{key}") for key in (name, name_of_most))
            if value is not None and most is not None and value < most:
                evidence = f"GPU {number} is held back: its {words} is {value:g}, and it can do {most:g}."
                yield from about(SPEEDS, "B", evidence)


def gpu_memory_errors(result: RunResult) -> Iterator[Finding]:
    """Memory that gave wrong values during the run puts everything in question."""
    errors = sum(_growth(result, f"gpu_{number}_ecc_errors_uncorrected") or 0 for number in range(_gpus(result)))
    if errors:
        yield from about((*SPEEDS, "quality"), "X", f"During the run GPU memory gave {errors:.0f} wrong values (ECC).")


def share_of_cores(phase: PhaseTelemetry, cores: float | None) -> float:
    """So many cores / all logical ones; 0 where either was not seen."""
    return cores / phase.logical_cores if cores is not None and phase.logical_cores else 0.0


def _watched(result: RunResult) -> Iterator[PhaseTelemetry]:
    """What the sampler saw, by attempt and timed phase."""
    return (phase for telemetry in result.telemetry for phase in telemetry.phases)


def _gpus(result: RunResult) -> int:
    """How many GPUs the run used: the first of those that are visible."""
    return result.plan.processes if result.plan.device == "cuda" else 0


def _growth(result: RunResult, name: str) -> float | None:
    """How far a counter rose between the looks before and after; None where one of them lacks it."""
    after = result.system.after.number(name) if result.system.after else None
    before = result.system.before.number(name)
    return None if before is None or after is None else after - before
