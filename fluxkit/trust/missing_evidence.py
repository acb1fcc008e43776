"""Findings about evidence that a completed run has and this one lacks: nothing found is not nothing there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluxkit.record.metrics import METRICS
from fluxkit.record.result import Check
from fluxkit.trust.ceilings import PHASE_WORDS, SUBJECTS, moments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fluxkit.record.result import RunResult

    Finder = Callable[[RunResult], Iterator[Check]]


def ceiling_unknown(result: RunResult) -> Iterator[Check]:
    """Without a canary a speed has no share of the ceiling, and nothing holds its precision and clock to account."""
    for phase, subject in SUBJECTS.items():
        if subject in _measured(result) and not moments(result, phase):
            evidence = (
                f"No canary was measured beside {PHASE_WORDS[phase]}, so its share of the ceiling and whether the"
                " machine changed are not known."
            )
            yield Check(id="ceiling_unknown", subject=subject, grade="B", evidence=evidence)


def unwatched(result: RunResult) -> Iterator[Check]:
    """Without telemetry nobody knows who else used the machine, and no second clock was beside the engine's."""
    if result.status != "completed" or any(each.samples for each in result.telemetry):
        return
    for phase, subject in SUBJECTS.items():
        if subject in _measured(result):
            evidence = (
                f"Nobody watched the machine during {PHASE_WORDS[phase]} (no telemetry): load of others, throttling"
                " and a clock that lies would not be seen."
            )
            yield Check(id="unwatched", subject=subject, grade="B", evidence=evidence)


def certificate_missing(result: RunResult) -> Iterator[Check]:
    """Without a certificate nobody knows whether the device computes what the others compute."""
    if result.status != "completed" or result.agreement:
        return
    for subject in _measured(result):
        evidence = "No agreement certificate says that this device computes what the others compute."
        yield Check(id="certificate_missing", subject=subject, grade="B", evidence=evidence)


def _measured(result: RunResult) -> list[str]:
    """Subjects about whose primary metric there is a number."""
    primary = [metric for metric in METRICS if metric.role == "primary"]
    return [metric.subject for metric in primary if getattr(result.summary, metric.key) is not None]


EVIDENCE_CHECKS: tuple[Finder, ...] = (ceiling_unknown, unwatched, certificate_missing)
