"""Signals: what a run makes of being told to stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager

import pytest

from fluxkit.fold.outcome import folded_result
from fluxkit.record.run_folder import read_result
from fluxkit.run import follow
from fluxkit.run.launch import resume


@contextmanager
def signal_when_ready(folder, *numbers):
    """Sends this process signals once the stand-in says that it is ready."""

    def wait():
        while not (folder / "ready").exists():
            time.sleep(0.02)
        for number in numbers:
            os.kill(os.getpid(), number)
            time.sleep(0.3)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    yield
    thread.join(5)


def test_a_second_interrupt_ends_it_at_once(go, tmp_path):
    """An engine that does not listen is ended by the second Ctrl-C, and the run is interrupted, not lost."""
    with signal_when_ready(tmp_path / "run", signal.SIGINT, signal.SIGINT), pytest.raises(KeyboardInterrupt):
        go("stubborn")
    assert folded_result(tmp_path / "run").status == "interrupted"


def test_a_scheduler_that_repeats_itself_leaves_the_engine_its_time(go, tmp_path):
    """Slurm's signal before the end and the one at the end are one request: the checkpoint is still written."""
    with signal_when_ready(tmp_path / "run", signal.SIGUSR1, signal.SIGTERM):
        result, folder = go("stoppable")
    assert (result.status, result.error.kind) == ("interrupted", "Checkpointed")
    assert (folder / "checkpoint" / "state").read_text() == "SIGUSR1"


def test_an_engine_that_does_not_listen_is_ended(go, tmp_path, monkeypatch):
    """After the grace period the engine is ended."""
    monkeypatch.setattr(follow, "grace_seconds", lambda *_: 0.2)
    with signal_when_ready(tmp_path / "run", signal.SIGTERM):
        result, _ = go("stubborn")
    assert (result.status, result.error.kind) == ("interrupted", "Stopped")
    assert "and was ended before it had" in result.error.message


def test_an_engine_gets_the_time_of_its_own_steps(go, tmp_path, monkeypatch):
    """What it is given to stop follows the longest step that was measured, and before the first the plan."""
    steps = []
    monkeypatch.setattr(follow, "grace_seconds", lambda _spec, _parameters, step: steps.append(step) or 0.2)
    with signal_when_ready(tmp_path / "run", signal.SIGTERM):
        go("stoppable")
    assert (steps[0], steps[-1]) == (0.0, 0.5)


def test_an_interrupt_by_hand_is_an_interrupt(go, tmp_path):
    """Ctrl-C lets the engine write a checkpoint, writes the result, and then is an interrupt."""
    before = signal.getsignal(signal.SIGINT)
    with signal_when_ready(tmp_path / "run", signal.SIGINT), pytest.raises(KeyboardInterrupt):
        go("stoppable")
    result = folded_result(tmp_path / "run")
    assert (result.status, result.error.kind) == ("interrupted", "Checkpointed")
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_scheduler_can_stop_and_continue_a_run(go, tmp_path, number, engine_is):
    """SIGTERM and SIGUSR1 are passed on, the run is interrupted at a checkpoint, and resuming completes it."""
    with signal_when_ready(tmp_path / "run", number):
        result, folder = go("stoppable")
    assert (result.status, result.error.kind, result.error.exit_code) == ("interrupted", "Checkpointed", 75)
    assert (folder / "checkpoint" / "state").read_text() == number.name
    engine_is("stoppable")
    result = resume(folder)
    assert (result.status, result.error) == ("completed", None)
    assert len(result.tuning.losses) == 40
    assert [(each.at_seconds, each.resumed_seconds) for each in result.interruptions] == [(7.5, 5.0)]
    assert read_result(folder) == result
