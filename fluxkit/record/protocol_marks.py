"""Which graded state of a trajectory answers which protocol."""

import math

from fluxkit.record.facts import Mark
from fluxkit.record.result import RunResult

UNTUNED = "untuned"


def time_mark(result: RunResult) -> Mark | None:
    """The mark of the constant-time protocol: the one that stands for the whole budget in seconds."""
    budget = result.spec.tune.seconds
    marks = result.tuning.marks if result.tuning else ()
    # A mark without a target time is close to no budget.
    return next((mark for mark in marks if math.isclose(mark.target_seconds or math.nan, budget)), None)


def iteration_mark(result: RunResult) -> Mark | None:
    """The mark of the constant-iteration protocol: the one after the budgeted number of optimiser steps."""
    budget = result.spec.tune.iterations
    marks = result.tuning.marks if result.tuning else ()
    return next((mark for mark in marks if mark.target_seconds is None and mark.iteration == budget), None)
