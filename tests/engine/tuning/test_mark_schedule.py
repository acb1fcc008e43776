"""Which states are graded, and when the clock is read."""

from __future__ import annotations

from fluxkit.engine.tuning.mark_schedule import ScheduledMark, block_length, is_over, scheduled_marks
from fluxkit.plan.storage import MOST_MARKS
from fluxkit.spec.workload import TuneSpec

TUNE = TuneSpec(seconds=60.0, iterations=800, max_seconds=600.0)


def test_marks_are_the_untuned_state_halves_of_the_budget_and_the_iterations() -> None:
    """Time marks are log-spaced up to the budget, between the untuned state and the iteration budget."""
    assert [target.id for target in scheduled_marks(TUNE)] == [
        "untuned", "seconds-1.875", "seconds-3.75", "seconds-7.5", "seconds-15", "seconds-30", "seconds-60",
        "iterations-800",
    ]  # fmt: skip


def test_the_plan_has_a_place_for_every_mark() -> None:
    """As many states are kept on disk as the plan counts."""
    assert len(scheduled_marks(TUNE)) == MOST_MARKS


def test_tuning_ends_when_both_budgets_are_met_or_at_the_limit() -> None:
    """Neither budget alone ends it; the limit always does."""
    assert not is_over(TUNE, seconds=60.0, iteration=799)
    assert not is_over(TUNE, seconds=59.9, iteration=5000)
    assert is_over(TUNE, seconds=60.0, iteration=800)
    assert is_over(TUNE, seconds=600.0, iteration=3)


def test_blocks_hold_about_a_second_and_shrink_to_one_step_beside_a_mark() -> None:
    """Far from a mark a block is a second long; within two steps of one it is a single step."""
    pending = [ScheduledMark("seconds-60", seconds=60.0)]
    assert block_length(pending, TUNE, seconds=10.0, recent=[0.1] * 20) == 10
    assert block_length(pending, TUNE, seconds=59.5, recent=[0.1] * 20) == 4 - 0
    assert block_length(pending, TUNE, seconds=59.85, recent=[0.1] * 20) == 1
    assert block_length(pending, TUNE, seconds=10.0, recent=[30.0]) == 1


def test_the_first_step_is_a_block_of_its_own() -> None:
    """Before any step its duration is unknown, so the clock is read after one."""
    assert block_length([], TUNE, seconds=0.0, recent=[]) == 1
