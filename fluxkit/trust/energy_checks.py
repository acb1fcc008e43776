"""Checks of energy: whether it was counted or estimated, why it is not known, and whose work is in it."""

from collections.abc import Iterator

from fluxkit.record.result import RunResult
from fluxkit.trust.disturbances import share_of_cores
from fluxkit.trust.finding import Finding

SHARED_REMARK, SHARED_DOUBT = 0.05, 0.25
"""Share of the logical cores that others kept busy: a processor's counter counts their work too."""


def energy_unknown(result: RunResult) -> Iterator[Finding]:
    """Why there is no energy; a result that was made without metering says nothing."""
    if result.energy and result.energy.class_ == "unavailable":
        reason = result.energy.reason or "no reason was given"
        yield Finding("energy", "A", f"Energy is not known: {reason}.")


def energy_estimated(result: RunResult) -> Iterator[Finding]:
    """Sampled power times time misses what happens between the samples."""
    if result.energy and result.energy.class_ == "estimated":
        why = f", because {result.energy.reason}" if result.energy.reason else ""
        yield Finding("energy", "B", f"Energy is estimated from {result.energy.source}{why}.")


def energy_shared(result: RunResult) -> Iterator[Finding]:
    """A processor's counters don't know whose work it does."""
    if result.plan.device != "cpu" or result.energy is None or result.energy.joules_gross is None:
        return
    phases = [phase for telemetry in result.telemetry for phase in telemetry.phases]
    share = max((share_of_cores(phase, phase.foreign_cores) for phase in phases), default=0.0)
    if share > SHARED_REMARK:
        evidence = f"Other processes kept up to {share:.0%} of the processor busy; their energy is in the number."
        yield Finding("energy", "C" if share > SHARED_DOUBT else "B", evidence)
