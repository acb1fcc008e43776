"""Events into results, and results into summaries."""

from __future__ import annotations

import json
import time

import pytest
from stand_in import Log, begin, finish, grade, infer, mark, steps, tune, whole_run

from fluxkit.fold.fold import fold, slowest_rank_ratio, summarise
from fluxkit.fold.replay import replay


def test_a_whole_run_folds_into_its_numbers(base, tmp_path):
    """Each number of the summary is the one that can be worked out by hand from the events."""
    whole_run(Log(tmp_path), base.spec.tune.model_dump())
    result = fold(tmp_path, base)
    summary = result.summary
    assert summary.training_iterations_per_second == pytest.approx(2.0)
    assert summary.training_images_per_second == pytest.approx(16.0)
    assert summary.inference_image_steps_per_second == pytest.approx(16 * 64 / 16.0)
    assert summary.inference_batch_steps_per_second == pytest.approx(64 / 256)
    assert (summary.psnr_db, summary.ssim) == (pytest.approx(20.0), pytest.approx(0.2))
    assert (summary.psnr_db_untuned, summary.ssim_untuned) == (pytest.approx(10.0), pytest.approx(0.1))
    assert summary.psnr_db_at_iterations == pytest.approx(22.0)
    assert (summary.validation_loss, summary.validation_loss_untuned) == (pytest.approx(0.05), pytest.approx(0.1))
    assert (summary.validation_psnr_db, summary.validation_ssim) == (pytest.approx(10.0), pytest.approx(0.1))
    assert summary.peak_memory_bytes == 1_000_000
    assert summary.tuning_seconds == pytest.approx(20.0)
    assert summary.total_seconds == pytest.approx(1 + 2 + 30 + 3 + 16)
    assert result.tuning.coverage == 1.0
    assert result.inference.coverage == 1.0
    assert [phase.name for phase in result.phases] == ["import", "load", "tune", "evaluate", "inference"]
    assert result.quality.definition["psnr_data_range"] == 255
    assert result.error is None


def test_nothing_happened_is_null_everywhere(base, tmp_path):
    """A run without events has no numbers, not zeros."""
    result = fold(tmp_path, base)
    assert set(result.summary.model_dump().values()) == {None}
    assert result.tuning is None
    assert result.inference is None


def test_the_rate_counts_the_first_iterations_only(base, tmp_path):
    """Training speed reads the budgeted steps: what comes after them does not change it."""
    log = Log(tmp_path)
    begin(log)
    steps(log, 0, base.spec.tune.iterations, seconds=0.5)
    log.write("iterations", first=40, seconds=[9.0], losses=[0.1], total_seconds=29.0)
    summary = fold(tmp_path, base).summary
    assert summary.training_iterations_per_second == pytest.approx(2.0)


def test_a_cut_protocol_states_its_coverage(base, tmp_path):
    """With fewer steps than asked for, the rate is over those and the coverage says so."""
    log = Log(tmp_path)
    begin(log)
    steps(log, 0, 10)
    result = fold(tmp_path, base)
    assert result.tuning.coverage == 0.25
    assert result.summary.training_iterations_per_second == pytest.approx(2.0)


def test_redone_steps_replace_lost_ones(base, tmp_path):
    """After a resume the steps behind the checkpoint count once, lost marks are gone, the interruption is noted."""
    log = Log(tmp_path)
    begin(log)
    mark(log, "untuned", 0)
    steps(log, 0, 10)
    steps(log, 10, 10, loss=0.9)
    mark(log, "seconds-5", 15, target=5.0)
    log = Log(tmp_path, attempt=1)
    begin(log)
    log.write("resumed", iteration=10, seconds=5.0)
    steps(log, 10, 5, loss=0.2)
    result = fold(tmp_path, base)
    assert result.tuning.losses == (0.5,) * 10 + (0.2,) * 5
    assert len(result.tuning.iteration_seconds) == 15
    assert [each.id for each in result.tuning.marks] == ["untuned"]
    assert [(each.at_seconds, each.resumed_seconds) for each in result.interruptions] == [(10.0, 5.0)]
    assert [phase.attempt for phase in result.phases] == [0, 0, 0, 1, 1, 1]


def test_an_attempt_from_the_start_is_a_whole_trajectory(base, tmp_path):
    """Where there was no checkpoint, the later attempt stands alone and nothing was interrupted."""
    log = Log(tmp_path)
    begin(log)
    steps(log, 0, 20, loss=0.9)
    whole_run(Log(tmp_path, attempt=1), base.spec.tune.model_dump())
    result = fold(tmp_path, base)
    assert set(result.tuning.losses) == {0.5}
    assert result.interruptions == ()


def test_scores_of_a_lost_mark_are_forgotten(base, tmp_path):
    """Scores belong to a trajectory: if a later attempt leaves it before their mark, they go with it."""
    log = Log(tmp_path)
    begin(log)
    tune(log, base.spec.tune.model_dump())
    grade(log, base.spec.tune.model_dump())
    log = Log(tmp_path, attempt=1)
    begin(log)
    log.write("resumed", iteration=10, seconds=5.0)
    result = fold(tmp_path, base)
    assert {score.mark for score in result.quality.reconstruction} == {"untuned"}
    assert result.summary.psnr_db is None


def peaks(log, **phases):
    for phase, peak in phases.items():
        log.write("memory", phase=phase, peak_bytes={"resident": peak})


def test_the_peak_is_of_the_attempt_that_counts(base, tmp_path):
    """After memory ran out and the run began again with half the micro-batch, what the failed attempt took is gone."""
    failed = Log(tmp_path)
    begin(failed)
    peaks(failed, load=10_000_000, warm_up=9_000_000)
    failed.write("failed", kind="OutOfMemoryError", message="out of memory", phase="tune")
    again = Log(tmp_path, attempt=1)
    begin(again)
    peaks(again, load=900_000, warm_up=800_000)
    tune(again, base.spec.tune.model_dump())
    result = fold(tmp_path, base)
    assert result.tuning.ranks[0].peak_memory_bytes["warm_up"] == {"resident": 800_000}
    assert result.summary.peak_memory_bytes == 1_000_000


def test_a_run_that_went_on_has_the_peak_of_all_its_tuning(base, tmp_path):
    """Resumed with half the images per pass: tuning counts from both attempts, evaluation as it was done last."""
    log = Log(tmp_path)
    begin(log)
    tune(log, base.spec.tune.model_dump())
    peaks(log, evaluate=7_000_000)
    log = Log(tmp_path, attempt=1)
    begin(log)
    log.write("resumed", iteration=40, seconds=20.0)
    peaks(log, tune=300_000, evaluate=600_000)
    result = fold(tmp_path, base)
    seen = result.tuning.ranks[0].peak_memory_bytes
    assert (seen["tune"]["resident"], seen["evaluate"]["resident"]) == (1_000_000, 600_000)


def test_several_ranks_are_as_fast_as_the_slowest(base, tmp_path):
    """Training divides by the slowest rank's clock; memory is summed over ranks; inference takes the slowest rank."""
    two = base.model_copy(update={"plan": base.plan.model_copy(update={"processes": 2})})
    whole_run(Log(tmp_path), base.spec.tune.model_dump())
    other = Log(tmp_path, rank=1)
    begin(other, rank=1)
    steps(other, 0, 40, seconds=0.6)
    other.write("memory", phase="tune", peak_bytes={"resident": 500_000})
    infer(other, seconds=0.5)
    finish(other)
    result = fold(tmp_path, two)
    assert slowest_rank_ratio(result.tuning) == pytest.approx(1.2)
    assert result.summary.training_iterations_per_second == pytest.approx(2.0 / 1.2)
    assert result.summary.inference_image_steps_per_second == pytest.approx(2 * 16 / 0.5)
    assert result.summary.peak_memory_bytes == 1_500_000
    assert len(result.tuning.ranks) == 2


def test_how_tuning_ran_is_kept(base, tmp_path):
    """The attention kernel is rank 0's, and compiling took as long as on the slowest rank; unsaid, both are null."""
    log, other = Log(tmp_path), Log(tmp_path, rank=1)
    begin(log)
    begin(other, rank=1)
    assert (fold(tmp_path, base).tuning.attention, fold(tmp_path, base).tuning.compile_seconds) == (None, None)
    log.write("tuning_setting", attention="flash_attention", compile_seconds=2.0)
    other.write("tuning_setting", attention="flash_attention", compile_seconds=3.0)
    tuning = fold(tmp_path, base).tuning
    assert (tuning.attention, tuning.compile_seconds) == ("flash_attention", 3.0)


def test_checkpoints_are_counted_where_their_phase_ended(base, tmp_path):
    """Seconds of checkpoints are those of the attempts whose tuning phase has seconds that they can be a part of."""
    for attempt, seconds in enumerate((4.0, 2.0)):
        log = Log(tmp_path, attempt=attempt)
        begin(log)
        log.write("checkpoint", iteration=1, seconds=seconds)
        log.write("checkpoint", iteration=2, seconds=0.5)
    assert fold(tmp_path, base).tuning.checkpoint_seconds == 0.0
    log.write("phase_ended", phase="tune", seconds=30.0)
    assert fold(tmp_path, base).tuning.checkpoint_seconds == 2.5


def test_a_loss_that_is_no_number_is_null(base, tmp_path):
    """Neither NaN nor infinity reaches a result, and no validation loss is made up from the others."""
    log = Log(tmp_path)
    begin(log)
    mark(log, "untuned", 0)
    steps(log, 0, 2, loss=None)
    log.write("validation", mark="untuned", pair="a", sigma=0.5, draw=0, loss=None, psnr_db=1.0, ssim=0.1)
    log.write("validation", mark="untuned", pair="b", sigma=0.5, draw=0, loss=1.0, psnr_db=1.0, ssim=0.1)
    result = fold(tmp_path, base)
    assert result.tuning.losses == (None, None)
    summary = result.summary
    untuned = (summary.validation_loss_untuned, summary.validation_psnr_db_untuned, summary.validation_ssim_untuned)
    assert untuned == (None, None, None)


def test_identical_images_are_left_out_of_the_mean(base, tmp_path):
    """The mean PSNR is over images that have one."""
    log = Log(tmp_path)
    begin(log)
    mark(log, "untuned", 0)
    for seed, psnr in enumerate((30.0, None)):
        log.write("reconstruction", mark="untuned", pair="cat", seed=seed, mse=0.0, psnr_db=psnr, ssim=1.0)
    assert fold(tmp_path, base).summary.psnr_db_untuned == pytest.approx(30.0)


@pytest.mark.parametrize("line", ["no event", '{"event":"iterations"}', '{"event":"unheard_of","at_seconds":1}'])
def test_an_unreadable_event_becomes_the_error(base, tmp_path, line):
    """A line that is no event ends its file, and the result says which."""
    log = Log(tmp_path)
    begin(log)
    steps(log, 0, 5)
    log.add(line + "\n")
    result = fold(tmp_path, base)
    assert result.error.kind == "UnreadableEvents"
    assert "rank-0.attempt-0.jsonl" in result.error.message
    assert len(result.tuning.losses) == 5


def test_a_line_cut_short_is_not_an_error(base, tmp_path):
    """A process that is killed while it writes leaves half a line, and everything before it counts."""
    log = Log(tmp_path)
    begin(log)
    steps(log, 0, 5)
    log.add('{"event":"iter')
    result = fold(tmp_path, base)
    assert result.error is None
    assert len(result.tuning.losses) == 5


def test_missing_steps_are_an_error(base, tmp_path):
    """A gap between blocks of steps is never folded over."""
    log = Log(tmp_path)
    begin(log)
    steps(log, 0, 5)
    steps(log, 7, 5)
    assert "steps 5 to 6 are missing" in fold(tmp_path, base).error.message


def test_folding_again_changes_nothing(base, tmp_path):
    """Fold and summary are functions of what is stored."""
    whole_run(Log(tmp_path), base.spec.tune.model_dump())
    once = fold(tmp_path, base)
    assert fold(tmp_path, once) == once
    assert summarise(once) == once.summary


def test_folding_takes_time_in_proportion_to_the_steps(tmp_path):
    """Eight times the iterations take about eight times as long to fold, however short their blocks are."""
    seconds = {}
    for count in (5_000, 40_000):
        log = Log(tmp_path / str(count))
        block = {"event": "iterations", "at_seconds": 0, "seconds": [0.5], "losses": [0.5], "total_seconds": 1.0}
        log.add("".join(json.dumps(block | {"first": first}) + "\n" for first in range(count)))
        began = time.process_time()
        run = replay(tmp_path / str(count))
        seconds[count] = time.process_time() - began
        assert len(run.seconds) == len(run.losses) == count
    assert seconds[40_000] < 24 * seconds[5_000]
