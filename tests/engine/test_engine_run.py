"""The engine as `launch` starts it: real processes on the embedded model."""

from __future__ import annotations

import signal
import time
from itertools import pairwise
from pathlib import Path
from statistics import mean

import pytest
from real_engine import EngineRun, run_engine, small_spec, start_engine

from fluxkit.record.events import event_path, read_events

MARKS = ("untuned", "iterations-300")


def test_a_run_says_everything_that_a_result_needs(short_run: EngineRun) -> None:
    """One run ends with code 0 and has events of every kind, phases in order, and its files."""
    assert short_run.code == 0, short_run.output
    phases = [event.phase for event in short_run.events("phase_ended")]
    assert phases == ["import", "prepare", "load", "warm_up", "tune", "evaluate", "inference"]
    for kind in ("started", "inputs", "mark", "reconstruction", "validation", "anchor", "inference_steps", "memory"):
        assert short_run.events(kind), kind
    assert (short_run.folder / "adapter" / "pytorch_lora_weights.safetensors").is_file()
    assert (short_run.folder / "checkpoint" / "tuning.safetensors").is_file(), "its result is not on disk yet"


def test_the_blocks_of_iterations_join_without_gap_and_add_up(short_run: EngineRun) -> None:
    """Steps are counted through, and the budget's clock is the sum of their seconds."""
    blocks = short_run.events("iterations")
    assert blocks[0].first == 0
    assert all(after.first == before.first + len(before.seconds) for before, after in pairwise(blocks))
    spent = sum(second for block in blocks for second in block.seconds)
    assert blocks[-1].total_seconds == pytest.approx(spent)
    assert spent >= 1.0
    assert blocks[-1].first + len(blocks[-1].seconds) >= 12


def test_a_time_mark_grades_the_last_step_completed_before_it(short_run: EngineRun) -> None:
    """No time mark holds more seconds than it stands for, and the untuned mark holds no step."""
    marks = {mark.id: mark for mark in short_run.events("mark")}
    assert marks["untuned"].iteration == 0
    assert marks["iterations-12"].iteration == 12
    assert all(mark.seconds <= mark.target_seconds for mark in marks.values() if mark.target_seconds is not None)


def test_the_same_seed_gives_the_same_bits(short_run: EngineRun, tmp_path: Path) -> None:
    """Same spec, machine and threads in FP32: losses and images at equal iterations are bit-identical."""
    again = run_engine(tmp_path / "again", small_spec())
    common = min(len(short_run.losses()), len(again.losses()))
    assert common >= 12
    assert again.losses()[:common] == short_run.losses()[:common]
    assert again.images(12) == short_run.images(12)


def test_another_thread_count_changes_losses_by_rounding_only(short_run: EngineRun, tmp_path: Path) -> None:
    """Two threads instead of one agree with it to 1e-5 relative, not to the bit."""
    other = run_engine(tmp_path / "threads", small_spec(execution={"threads": 2}))
    assert other.losses()[:12] == pytest.approx(short_run.losses()[:12], rel=1e-5)


def test_two_processes_give_the_losses_of_one(short_run: EngineRun, tmp_path: Path) -> None:
    """Two gloo processes see the samples of one; in FP32 the first twelve losses agree to 1e-5."""
    two = run_engine(tmp_path / "two", small_spec(execution={"processes": 2}))
    assert two.code == 0, two.output
    assert two.losses()[:12] == pytest.approx(short_run.losses()[:12], abs=1e-5)
    graded = [event.pair for rank in (0, 1) for event in two.events("reconstruction", rank) if event.mark == "untuned"]
    assert sorted(graded) == sorted(e.pair for e in short_run.events("reconstruction") if e.mark == "untuned")


def test_a_stopped_run_goes_on_from_its_checkpoint_to_the_same_bits(short_run: EngineRun, tmp_path: Path) -> None:
    """SIGUSR1 while tuning ends with code 75; the next attempt continues, bit-identical to an undisturbed run."""
    spec = small_spec(tune={"seconds": 3.0})
    folder = tmp_path / "stopped"
    process = start_engine(folder, spec)
    while not any(e.event == "iterations" and e.first >= 1 for e in read_events(event_path(folder, 0, 0))):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    process.send_signal(signal.SIGUSR1)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output
    resumed = run_engine(folder, spec, attempt=1)
    assert resumed.code == 0, resumed.output
    (said,) = resumed.events("resumed", attempt=1)
    losses = resumed.losses(attempt=0)[: said.iteration] + resumed.losses(attempt=1)
    assert losses[:12] == short_run.losses()[:12]


@pytest.mark.slow
def test_tuning_helps_held_out_images_too(tmp_path: Path) -> None:
    """After 300 iterations tuned photos are 4 dB better, photos never seen have under 0.7 of the untuned loss."""
    marks = {"iterations": 300, "max_seconds": 600.0}
    run = run_engine(tmp_path / "run", small_spec(tune={**marks, "lr_warmup_steps": 0}, evaluate={"sigmas": 8}))
    assert run.code == 0, run.output
    scores, estimates = run.events("reconstruction"), run.events("validation")
    before, after = (mean(score.psnr_db for score in scores if score.mark == mark) for mark in MARKS)
    assert after > before + 4
    before, after = (mean(score.loss for score in estimates if score.mark == mark) for mark in MARKS)
    assert after < 0.7 * before
