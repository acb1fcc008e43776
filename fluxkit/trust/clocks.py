"""Checks of the engine's clock against the launcher's: the canary can't tell, because it is timed by the same clock."""

import math
from collections.abc import Iterator

from fluxkit.record.facts import TIMED_WORDS, TimedPhase
from fluxkit.record.result import RunResult
from fluxkit.trust.finding import Finding, about

# Quality is graded at a tuning time, so it hangs on that clock too.
SUBJECTS: dict[TimedPhase, tuple[str, ...]] = {"tune": ("training_speed", "quality"), "inference": ("inference_speed",)}
APART_SHARE = 0.05
APART_SECONDS = 3.0
"""The launcher sees phases change up to a second late and counts them in samples, half a second each.

Samples that a busy machine delays are counted by the seconds that they stand for. In 20 committed phases of 10 to 246 s
the clocks were at most 0.9 s apart, which is 1.4 % of a minute.
"""
ROUNDING = 1.02


def clocks_disagree(result: RunResult) -> Iterator[Finding]:
    """A phase took longer or shorter by the launcher's clock than by the engine's: one of them lies."""
    for telemetry in result.telemetry:
        for watched in telemetry.phases:
            engine = _phase_seconds(result, watched.phase, telemetry.attempt)
            if engine is None or not telemetry.samples:
                continue
            launcher = watched.samples * telemetry.wall_seconds / telemetry.samples
            if abs(engine - launcher) > max(APART_SECONDS, APART_SHARE * max(engine, launcher)):
                evidence = (
                    f"By the engine's clock {TIMED_WORDS[watched.phase]} took {engine:.4g} s, by the launcher's about"
                    f" {launcher:.4g} s: a clock lies."
                )
                yield from about(SUBJECTS[watched.phase], "X", evidence)


def steps_outlast_phase(result: RunResult) -> Iterator[Finding]:
    """Steps that take longer than the phase that they are in."""
    seconds = _phase_seconds(result, "tune")
    steps = math.fsum(result.tuning.iteration_seconds) if result.tuning else 0.0
    # Without all its phases an interrupted run may well have more steps than seconds.
    if seconds is not None and not result.interruptions and steps > ROUNDING * seconds:
        evidence = f"The tuning steps took {steps:.4g} s, but the phase that they are in {seconds:.4g} s: a clock lies."
        yield from about(SUBJECTS["tune"], "X", evidence)


def _phase_seconds(result: RunResult, name: str, attempt: int | None = None) -> float | None:
    """By the engine's clock, in one attempt or in all; None where it did not begin or did not end."""
    phases = [phase for phase in result.phases if phase.name == name and attempt in {None, phase.attempt}]
    seconds = [phase.seconds for phase in phases if phase.seconds is not None]
    return math.fsum(seconds) if phases and len(seconds) == len(phases) else None
