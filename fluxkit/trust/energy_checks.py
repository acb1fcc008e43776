"""Findings about energy: whether it was counted or estimated, why it is not known, and whose work is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluxkit.record.result import Check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fluxkit.record.result import Grade, RunResult

    Finder = Callable[[RunResult], Iterator[Check]]

SHARED_REMARK, SHARED_DOUBT = 0.05, 0.25
"""Share of the logical cores that others kept busy: a processor's counter counts their work too."""


def energy_unknown(result: RunResult) -> Iterator[Check]:
    """Why there is no energy; a result that was made without metering says nothing."""
    if result.energy and result.energy.class_ == "unavailable":
        reason = result.energy.reason or "no reason was given"
        yield Check(id="energy_unknown", subject="energy", grade="A", evidence=f"Energy is not known: {reason}.")


def energy_estimated(result: RunResult) -> Iterator[Check]:
    """Sampled power times time misses what happens between the samples."""
    if result.energy and result.energy.class_ == "estimated":
        why = f", because {result.energy.reason}" if result.energy.reason else ""
        evidence = f"Energy is estimated from {result.energy.source}{why}."
        yield Check(id="energy_estimated", subject="energy", grade="B", evidence=evidence)


def energy_shared(result: RunResult) -> Iterator[Check]:
    """A processor's counters don't know whose work it does."""
    if result.plan.device != "cpu" or result.energy is None or result.energy.joules_gross is None:
        return
    shares = [
        phase.foreign_cores / phase.logical_cores
        for each in result.telemetry
        for phase in each.phases
        if phase.foreign_cores is not None and phase.logical_cores
    ]
    if max(shares, default=0.0) > SHARED_REMARK:
        grade: Grade = "C" if max(shares) > SHARED_DOUBT else "B"
        evidence = f"Other processes kept up to {max(shares):.0%} of the processor busy; their energy is in the number."
        yield Check(id="energy_shared", subject="energy", grade=grade, evidence=evidence)


METERING_CHECKS: tuple[Finder, ...] = (energy_unknown, energy_estimated, energy_shared)
