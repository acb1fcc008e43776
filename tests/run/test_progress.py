"""What a person is told while a run goes on."""

from __future__ import annotations

import pytest

from fluxkit.run.progress import Live, Plain, Position


def test_plain_progress_tells_phases_and_tuning(go, capsys):
    """Without a terminal every phase is a line, and tuning tells iteration, loss, speed and time left."""
    go("completed", reporter=Plain(every_seconds=0.0))
    told = capsys.readouterr()
    assert told.out == ""
    assert "small (seed 3): importing torch" in told.err
    assert "tuning: iteration 40/40, loss 0.5000, 2 it/s, 0:00 left" in told.err
    assert "measuring inference: 64 steps, 64 image-steps/s" in told.err


def test_a_position_knows_its_way(small_spec, small_plan):
    """Iteration, loss, speed and time left follow from the events; both budgets count."""
    from fluxkit.record.events import Iterations, PhaseStarted

    position = Position(small_spec, small_plan)
    position.update(PhaseStarted(at_seconds=0, phase="tune"))
    position.update(Iterations(at_seconds=1, first=0, seconds=(0.5,) * 10, losses=(0.25,) * 10, total_seconds=5.0))
    assert position.words() == "tuning: iteration 10/40, loss 0.2500, 2 it/s, 0:15 left"
    assert position.seconds_left() == pytest.approx(15.0)
    assert position.share() == pytest.approx(0.25)


def test_live_progress_runs_through(go, capsys):
    """The moving line survives a whole run and leaves nothing on standard output."""
    go("completed", reporter=Live())
    assert capsys.readouterr().out == ""
