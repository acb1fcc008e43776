"""Seconds of a run part by part: its phases, with compiling and checkpoints apart from the phases that they were in."""

from collections import defaultdict

from fluxkit.errors import printable
from fluxkit.record.result import RunResult

PARTS = ("import", "prepare", "load", "compile", "warm_up", "tune", "checkpoint", "evaluate", "inference")
"""In the order of a run; a part that is inside a phase stands before or behind the rest of it."""


def part_place(name: str) -> int:
    """Place of a part in the order of a run; unknown ones last."""
    return PARTS.index(name) if name in PARTS else len(PARTS)


def part_seconds(result: RunResult) -> dict[str, float]:
    """Seconds on rank 0 by part, over all attempts; what was not done is not in it, and nothing is in it twice."""
    spent: dict[str, float] = defaultdict(float)
    for phase in result.phases:
        spent[printable(phase.name)] += phase.seconds or 0.0
    tuning, inference = result.tuning, result.inference
    for part, phase_name, seconds in (
        ("compile", "warm_up", tuning.compile_seconds if tuning else None),
        ("compile", "inference", inference.compile_seconds if inference else None),
        ("checkpoint", "tune", tuning.checkpoint_seconds if tuning else None),
    ):
        if seconds and phase_name in spent:
            inside = min(seconds, spent[phase_name])
            spent[part] += inside
            spent[phase_name] -= inside
    return dict(spent)
