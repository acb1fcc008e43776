"""Time-to-quality: which PSNR is asked for, and when each configuration first reaches it.

A configuration has reached the target at the first graded mark whose one-sided 95 % lower bound over its seeds is at
or above it, if the next mark's is too: a single lucky mark would favour whoever is graded most often. What was never
reached is censored: longer than the last mark that was looked at, never left out. Nobody looked
between two marks, so a time is a bracket: later than the mark before, at the latest at the mark that passed.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from fluxkit import stats
from fluxkit.compare.comparison import CurvePoint, Row
from fluxkit.record.protocol_marks import UNTUNED
from fluxkit.record.result import RunResult
from fluxkit.trust.estimate import Target, TimeToTarget, known, worst

Point = TypeVar("Point")
TARGET_SHARE = 0.9
"""Of the way from untuned to the lowest final PSNR: nearly all of a gain that every configuration made."""


def target(rows: Sequence[Row], readers_psnr_db: float | None = None) -> Target:
    """The PSNR that all rows of a workload are timed against: the reader's, or by the rule of `TARGET_SHARE`."""
    if readers_psnr_db is not None:
        return Target(psnr_db=readers_psnr_db, origin="given by the reader")
    measured = [row for row in rows if row.usable("psnr_db") and row.usable("psnr_db_untuned")]
    if not measured:
        return Target(psnr_db=None, origin="no configuration has a PSNR before tuning and after equal time")
    row = min(measured, key=lambda row: (row.estimate("psnr_db").mean or 0.0, row.number))
    # Both ends of the way are the same row's: the untuned model's score depends on the precision.
    lowest, untuned = (row.estimate(key).mean or 0.0 for key in ("psnr_db", "psnr_db_untuned"))
    if lowest <= untuned:
        return Target(psnr_db=None, origin=f"“{row.name}” gained no PSNR in equal time, so there is no way to share")
    origin = (
        f"{TARGET_SHARE:.0%} of the way from the untuned model's {untuned:.2f} dB to {lowest:.2f} dB, "
        f"the lowest PSNR after equal time (“{row.name}”)"
    )
    grade = worst(tuple(row.estimate(key).grade for key in ("psnr_db", "psnr_db_untuned")))
    return Target(psnr_db=untuned + TARGET_SHARE * (lowest - untuned), origin=origin, grade=grade)


def time_to_target(row: Row, results: Sequence[RunResult], goal: Target) -> TimeToTarget | None:
    """When a row's runs reach the target; None without a target or a curve.

    It is made of a time of tuning, the scores at the marks and the target, and is no better than any of them.
    """
    psnr_db, points = goal.psnr_db, [point for point in row.curve if point.mark != UNTUNED]
    if psnr_db is None or all(point.psnr_db.mean is None for point in points):
        return None
    count = len({result.seed for result in results})
    bounded = count >= stats.MIN_VALUES
    reached = _first(points, lambda point: _passes(point, psnr_db, count))
    speed = row.estimate("training_iterations_per_second").grade
    # The time that was given, where a point has one: the last step within 30 s is that of 30 s.
    times = [point.target_seconds or point.seconds for point in points]
    return TimeToTarget(
        seconds=times[points.index(reached)] if reached else None,
        since_seconds=[0.0, *times][points.index(reached)] if reached else None,
        mark=reached.mark if reached else None,
        iteration=reached.iteration if reached else None,
        samples=reached.samples if reached else None,
        looked_seconds=times[-1],
        bounded=bounded,
        values=tuple(_of_run(result, psnr_db) for result in results),
        grade=worst((goal.grade, speed, *(point.psnr_db.grade for point in points))),
    )


def _passes(point: CurvePoint, psnr_db: float, count: int) -> bool:
    """Whether the lower bound over all seeds is at or above the target; below 3 seeds the mean."""
    values = point.psnr_db.values
    if len(values) < count:  # a run lacks it, or diverged
        return False
    effect = stats.one_sample(values)
    return (effect.lower_bound() if effect else stats.mean(values)) >= psnr_db


def _of_run(result: RunResult, psnr_db: float) -> float | None:
    """Tuning seconds at which one run's mean over images passes, and at the next mark too; never where it diverged."""
    scores = result.quality.reconstruction if result.quality else ()
    marks = sorted(result.tuning.marks if result.tuning else (), key=lambda mark: (mark.seconds, mark.iteration))
    graded = []
    for mark in marks:
        at_mark = [score for score in scores if score.mark == mark.id]
        values = known(score.psnr_db for score in at_mark)
        if at_mark and mark.id != UNTUNED:
            lost = not values or any(score.diverged for score in at_mark)
            graded.append((mark.target_seconds or mark.seconds, -math.inf if lost else stats.mean(values)))
    reached = _first(graded, lambda point: point[1] >= psnr_db)
    return reached[0] if reached else None


def _first(points: Sequence[Point], passes: Callable[[Point], bool]) -> Point | None:
    """The first point that passes and whose next one passes too; the last needs no next."""
    passed = [passes(point) for point in points]
    return next((point for place, point in enumerate(points) if all(passed[place : place + 2])), None)
