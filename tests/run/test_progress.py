"""What a person is told while a run goes on."""

from __future__ import annotations

import pytest

from fluxkit.run import progress
from fluxkit.run.progress import Live, Plain, Position, StudyProgress


def test_plain_progress_tells_phases_and_tuning(go, capsys):
    """Without a terminal every phase is a line, and tuning tells iteration, loss, speed and time left."""
    go("completed", reporter=Plain(every_seconds=0.0))
    told = capsys.readouterr()
    assert told.out == ""
    assert "This machine: importing torch" in told.err
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


def test_a_study_says_how_long_it_still_takes(monkeypatch):
    """Before a run is over the plans say what it takes at least; then its own runs say about how long."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    study = StudyProgress([60.0, 120.0])
    study.expect([0, 1, 1, 0])
    now[0] += 30.0
    assert study.words() == "run 1 of 4, 0:30 gone, at least 6 minutes left"
    now[0] += 60.0
    study.ended(0, 90.0)
    assert study.words() == "run 2 of 4, 1:30 gone, about 8 minutes left"  # 1.5 times 120 s twice, and 90 s
    study.ended(1, 110.0)
    study.ended(1, 130.0)
    assert study.words() == "run 4 of 4, 1:30 gone, about 90 s left"


def test_the_moving_lines_fit_80_columns(small_spec, small_plan):
    """What runs, how far it is, and how far the study is: two lines, cut rather than broken."""
    from io import StringIO

    from rich.console import Console

    live = Live()
    live.study = StudyProgress([3600.0])
    live.study.expect([0] * 120)
    live.begin(
        "A label that somebody made as long as a label may be, which is eighty characters",
        Position(small_spec, small_plan),
    )
    live.end()
    file = StringIO()
    Console(file=file, width=80).print(live._lines())
    lines = file.getvalue().splitlines()
    assert len(lines) == 2
    assert max(map(len, lines)) <= 80
    assert "run 1 of 120" in lines[1]
    assert lines[1].endswith(" left")
    assert "at least 120.0 hours left" in lines[1]
