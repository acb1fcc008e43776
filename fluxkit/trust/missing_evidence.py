"""Checks of what a completed run has and this one lacks: evidence that is not there speaks for nothing."""

from collections.abc import Iterator

from fluxkit.record.facts import TIMED_WORDS
from fluxkit.record.metrics import METRICS
from fluxkit.record.result import RunResult
from fluxkit.trust.ceilings import moments
from fluxkit.trust.finding import SPEED_SUBJECTS, Finding, about


def ceiling_unknown(result: RunResult) -> Iterator[Finding]:
    """Without a canary a speed has no share of the ceiling, and nothing holds its precision and clock to account."""
    for phase, subject in SPEED_SUBJECTS.items():
        if subject in _measured(result) and not moments(result, phase):
            evidence = (
                f"The machine's own speed was not measured beside {TIMED_WORDS[phase]}, so its share of the ceiling and"
                " whether the machine changed are not known."
            )
            yield Finding(subject, "B", evidence)


def unwatched(result: RunResult) -> Iterator[Finding]:
    """Without telemetry nobody knows who else used the machine, and no second clock was beside the engine's."""
    if result.status != "completed" or any(telemetry.samples for telemetry in result.telemetry):
        return
    for phase, subject in SPEED_SUBJECTS.items():
        if subject in _measured(result):
            evidence = (
                f"Nobody watched the machine during {TIMED_WORDS[phase]} (no telemetry): load of others, throttling"
                " and a clock that lies would not be seen."
            )
            yield Finding(subject, "B", evidence)


def certificate_missing(result: RunResult) -> Iterator[Finding]:
    """Without a numerical check nobody knows whether the device computes what the others compute."""
    if result.status == "completed" and not result.agreement:
        evidence = "No numerical check against a reference says that this device computes what the others compute."
        yield from about(_measured(result), "B", evidence)


def _measured(result: RunResult) -> list[str]:
    """Subjects about whose primary metric there is a number."""
    primary = [metric for metric in METRICS if metric.role == "primary"]
    return [metric.subject for metric in primary if getattr(result.summary, metric.key) is not None]
