"""Findings about what else went on: load of others, throttling, time that a hypervisor or a quota took away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluxkit.record import Check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fluxkit.record import Grade, RunResult
    from fluxkit.witness import PhaseTelemetry

    Finder = Callable[[RunResult], Iterator[Check]]

SUBJECTS = {"tune": "training_speed", "inference": "inference_speed"}
PHASE_WORDS = {"tune": "tuning", "inference": "inference"}
SPEEDS = ("training_speed", "inference_speed")
FOREIGN_REMARK, FOREIGN_DOUBT = 0.05, 0.25
"""Share of the logical cores that others kept busy."""
STOLEN_REMARK, STOLEN_DOUBT = 0.01, 0.10
SWAP_REMARK_BYTES = 1 << 20
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
)
