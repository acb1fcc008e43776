"""Holds the engine's clock against the launcher's: the canary can't, because it is timed by the same clock."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fluxkit.record.result import Check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fluxkit.record.facts import Telemetry
    from fluxkit.record.result import RunResult

    Finder = Callable[[RunResult], Iterator[Check]]

SUBJECTS = {"tune": ("training_speed", "quality"), "inference": ("inference_speed",)}
PHASE_WORDS = {"tune": "tuning", "inference": "inference"}
APART_SHARE = 0.05
APART_SECONDS = 3.0
"""The launcher sees phases change up to a second late and counts them in samples, half a second each.

Samples that a busy machine delays are counted by the seconds that they stand for. In 20 committed phases of 10 to 246 s
the clocks were at most 0.9 s apart, which is 1.4 % of a minute.
"""
ROUNDING = 1.02


def clocks_disagree(result: RunResult) -> Iterator[Check]:
    """A phase took longer or shorter by the launcher's clock than by the engine's: one of them lies."""
    for telemetry in result.telemetry:
        for seen in telemetry.phases:
            told = _told(result, seen.phase, telemetry.attempt)
            counted = _counted(telemetry, seen.samples)
            if told is None or counted is None:
                continue
            if abs(told - counted) > max(APART_SECONDS, APART_SHARE * max(told, counted)):
                evidence = (
                    f"By the engine's clock {PHASE_WORDS[seen.phase]} took {told:.4g} s, by the launcher's about"
                    f" {counted:.4g} s: a clock lies."
                )
                for subject in SUBJECTS[seen.phase]:
                    yield Check(id="clocks_disagree", subject=subject, grade="X", evidence=evidence)


def steps_outlast_phase(result: RunResult) -> Iterator[Check]:
    """Steps that take longer than the phase that they are in."""
    phases = [phase.seconds for phase in result.phases if phase.name == "tune"]
    seconds = math.fsum(each for each in phases if each is not None)
    steps = math.fsum(result.tuning.iteration_seconds) if result.tuning else 0.0
    # Without all its phases an interrupted run may well have more steps than seconds.
    if phases and None not in phases and not result.interruptions and steps > ROUNDING * seconds:
        evidence = f"The tuning steps took {steps:.4g} s, but the phase that they are in {seconds:.4g} s: a clock lies."
        for subject in SUBJECTS["tune"]:
            yield Check(id="steps_outlast_phase", subject=subject, grade="X", evidence=evidence)


def _told(result: RunResult, name: str, attempt: int) -> float | None:
    found = [phase.seconds for phase in result.phases if (phase.name, phase.attempt) == (name, attempt)]
    return None if not found or None in found else math.fsum(each for each in found if each is not None)


def _counted(telemetry: Telemetry, samples: int) -> float | None:
    """Seconds that so many of the samples stand for."""
    return samples * telemetry.wall_seconds / telemetry.samples if telemetry.samples else None


CLOCK_CHECKS: tuple[Finder, ...] = (clocks_disagree, steps_outlast_phase)
