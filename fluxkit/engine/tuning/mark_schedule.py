"""Which states of a trajectory are graded, and how many steps may be taken before the clock is read again.

Time marks are log-spaced up to the budget: halves of halves. The last step completed at or before a mark is the one
graded, so the state before each block of steps is kept, and blocks shrink to one step beside a mark.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from fluxkit.spec.workload import TuneSpec

HALVINGS = 5
"""Of the budget, from its end backwards: the first time mark is at 1/32 of it."""
BLOCK_SECONDS = 1.0
RECENT = 20
"""Steps whose durations predict the next ones."""


@dataclass(frozen=True)
class ScheduledMark:
    """A state that is to be graded: at an iteration, or at a time."""

    id: str
    seconds: float | None = None
    iteration: int | None = None


def scheduled_marks(tune: TuneSpec) -> list[ScheduledMark]:
    """The untuned state, time marks up to the budget, and the iteration budget."""
    times = [tune.seconds / 2**halving for halving in range(HALVINGS, -1, -1)]
    return [
        ScheduledMark("untuned", iteration=0),
        *(ScheduledMark(f"seconds-{seconds:g}", seconds=seconds) for seconds in times),
        ScheduledMark(f"iterations-{tune.iterations}", iteration=tune.iterations),
    ]


def is_over(tune: TuneSpec, seconds: float, iteration: int) -> bool:
    """Whether both budgets are met, or the limit is reached."""
    return (seconds >= tune.seconds and iteration >= tune.iterations) or seconds >= tune.max_seconds


def block_length(pending: Sequence[ScheduledMark], tune: TuneSpec, seconds: float, recent: Sequence[float]) -> int:
    """Steps until the clock is read again: about a second's worth, fewer before a mark, one beside it.

    Args:
        pending: marks not reached yet.
        tune: the budgets; the limit counts like a mark.
        seconds: the budget's clock.
        recent: durations of the last steps, newest last; empty before the first.
    """
    if not recent:
        return 1
    slowest = max(recent[-RECENT:])
    times = [mark.seconds for mark in pending if mark.seconds is not None]
    left = min([*times, tune.max_seconds]) - seconds
    before_mark = int(left / slowest) - 1
    return max(1, min(before_mark, int(BLOCK_SECONDS / median(recent[-RECENT:]))))
