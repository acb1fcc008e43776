"""Findings about what else went on: load of others, throttling, time that a hypervisor or a quota took away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluxkit.record.result import Check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fluxkit.record.facts import PhaseTelemetry
    from fluxkit.record.result import Grade, RunResult

    Finder = Callable[[RunResult], Iterator[Check]]

SUBJECTS = {"tune": "training_speed", "inference": "inference_speed"}
PHASE_WORDS = {"tune": "tuning", "inference": "inference"}
SPEEDS = ("training_speed", "inference_speed")
FOREIGN_REMARK, FOREIGN_DOUBT = 0.05, 0.25
"""Share of the logical cores that others kept busy."""
STOLEN_REMARK, STOLEN_DOUBT = 0.01, 0.10
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


def _seen(result: RunResult) -> Iterator[tuple[str, PhaseTelemetry]]:
    for each in result.telemetry:
        for phase in each.phases:
            yield SUBJECTS[phase.phase], phase


def foreign_load(result: RunResult) -> Iterator[Check]:
    """Others kept cores busy during a timed phase; a GPU's work suffers less from it than a CPU's."""
    for subject, phase in _seen(result):
        if phase.foreign_cores is None or not phase.logical_cores:
            continue
        found = phase.foreign_cores / phase.logical_cores
        if found > FOREIGN_REMARK:
            grade: Grade = "C" if found > FOREIGN_DOUBT and result.plan.device == "cpu" else "B"
            evidence = (
                f"During {PHASE_WORDS[phase.phase]} other processes kept {phase.foreign_cores:.2f} of"
                f" {phase.logical_cores} logical cores busy."
            )
            yield Check(id="foreign_load", subject=subject, grade=grade, evidence=evidence)


def stolen_time(result: RunResult) -> Iterator[Check]:
    """The hypervisor gave this machine's cores to another one."""
    for subject, phase in _seen(result):
        if phase.stolen_cores is None or not phase.logical_cores:
            continue
        found = phase.stolen_cores / phase.logical_cores
        if found > STOLEN_REMARK:
            grade: Grade = "C" if found > STOLEN_DOUBT and result.plan.device == "cpu" else "B"
            evidence = f"During {PHASE_WORDS[phase.phase]} the hypervisor took away {found:.0%} of the processor."
            yield Check(id="stolen_time", subject=subject, grade=grade, evidence=evidence)


def gpu_throttled(result: RunResult) -> Iterator[Check]:
    """A GPU lowered its clocks because it was too hot or its power supply said so."""
    for subject, phase in _seen(result):
        if phase.throttle_reasons:
            reasons = ", ".join(phase.throttle_reasons)
            evidence = f"During {PHASE_WORDS[phase.phase]} a GPU lowered its clocks: {reasons}."
            yield Check(id="gpu_throttled", subject=subject, grade="X", evidence=evidence)


def cpu_throttled(result: RunResult) -> Iterator[Check]:
    """A CPU lowered its clock because it was too hot: its sustained speed, not its peak, was measured."""
    count = _grown(result, "cpu_thermal_throttle_count")
    for subject in SPEEDS if count and result.plan.device == "cpu" else ():
        evidence = f"The processor lowered its clock {count:.0f} times because it was too hot."
        yield Check(id="cpu_throttled", subject=subject, grade="C", evidence=evidence)


def quota_throttled(result: RunResult) -> Iterator[Check]:
    """The control group's quota stopped the processes: what was measured is the quota."""
    if result.plan.device != "cpu":
        return
    count, seconds = _grown(result, "cgroup_throttled_count"), _grown(result, "cgroup_throttled_seconds")
    if not count:
        return
    total = result.summary.total_seconds
    little = seconds is not None and total is not None and seconds <= QUOTA_SHARE * total
    lost = "" if seconds is None else f", for {seconds:.1f} s together"
    for subject in SPEEDS:
        evidence = f"The control group's CPU quota stopped the processes {count:.0f} times{lost}."
        yield Check(id="quota_throttled", subject=subject, grade="C" if little else "X", evidence=evidence)


def swapped(result: RunResult) -> Iterator[Check]:
    """Memory went out to disk during the run."""
    grown = _grown(result, "swap_out_bytes")
    for subject in SPEEDS if grown and grown > SWAP_REMARK_BYTES else ():
        evidence = f"While it ran the system wrote {grown:.3g} bytes of memory to swap."
        yield Check(id="swapped", subject=subject, grade="C", evidence=evidence)


def on_battery(result: RunResult) -> Iterator[Check]:
    """A laptop on its battery is another machine."""
    looks = (result.system.before, result.system.after)
    sources = {look.readings["power_source"].value for look in looks if look and "power_source" in look.readings}
    for subject in SPEEDS if "battery" in sources else ():
        yield Check(id="on_battery", subject=subject, grade="C", evidence="The machine ran on its battery.")


def gpu_in_use(result: RunResult) -> Iterator[Check]:
    """Somebody was on the GPU before the run began; inside a container only memory and utilisation may tell."""
    for number in range(_gpus(result)):
        foreign, busy, used = (
            result.system.before.number(f"gpu_{number}_{name}")
            for name in ("foreign_processes", "utilisation_percent", "memory_used_bytes")
        )
        words = [f"{foreign:.0f} other processes"] if foreign else []
        words += [f"{busy:.0f} % utilisation"] if busy and busy > BUSY_PERCENT else []
        words += [f"{used / 1e9:.1f} GB in use"] if used and used > GPU_IN_USE_BYTES else []
        for subject in SPEEDS if words else ():
            evidence = f"Before the run GPU {number} had {' and '.join(words)}."
            yield Check(id="gpu_in_use", subject=subject, grade="C", evidence=evidence)


def gpu_held_back(result: RunResult) -> Iterator[Check]:
    """A GPU that is set or connected below what it can do is another configuration of it, and has to be called so."""
    for number in range(_gpus(result)):
        for name, most, words in BELOW_THE_CARD:
            found, limit = (result.system.before.number(f"gpu_{number}_{each}") for each in (name, most))
            for subject in SPEEDS if found is not None and limit is not None and found < limit else ():
                evidence = f"GPU {number} is held back: its {words} is {found:g}, and it can do {limit:g}."
                yield Check(id="gpu_held_back", subject=subject, grade="B", evidence=evidence)


def gpu_memory_errors(result: RunResult) -> Iterator[Check]:
    """Memory that gave wrong values during the run puts everything in question."""
    grown = [_grown(result, f"gpu_{number}_ecc_errors_uncorrected") for number in range(_gpus(result))]
    for subject in ("training_speed", "inference_speed", "quality") if any(grown) else ():
        evidence = f"During the run GPU memory gave {sum(each or 0 for each in grown):.0f} wrong values (ECC)."
        yield Check(id="gpu_memory_errors", subject=subject, grade="X", evidence=evidence)


def _gpus(result: RunResult) -> int:
    """How many GPUs the run used: the first of those that are visible."""
    return result.plan.processes if result.plan.device == "cuda" else 0


def _grown(result: RunResult, name: str) -> float | None:
    """How far a counter rose between the looks before and after; None where one of them lacks it."""
    after = result.system.after.number(name) if result.system.after else None
    before = result.system.before.number(name)
    return None if before is None or after is None else after - before


DISTURBANCE_CHECKS: tuple[Finder, ...] = (
    foreign_load,
    stolen_time,
    gpu_throttled,
    cpu_throttled,
    quota_throttled,
    swapped,
    on_battery,
    gpu_in_use,
    gpu_held_back,
    gpu_memory_errors,
)
