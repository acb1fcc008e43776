"""A rank of a real run is lost: the run fails at once, says which rank and why, and leaves no process behind."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from real_engine import small_spec

from fluxkit.machine.system import probe
from fluxkit.plan.plan import make_plan
from fluxkit.record.events import event_path, read_events
from fluxkit.run import engine_process
from fluxkit.run.engine_process import engine_command
from fluxkit.run.follow import STUCK_SECONDS
from fluxkit.run.launch import launch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fluxkit.record.result import RunResult

pytestmark = pytest.mark.slow

RAISES = """
import os, sys
from pathlib import Path
from fluxkit.engine import __main__ as engine
from fluxkit.engine.tuning.optimizer_step import Optimiser
step = Optimiser.step
def broken(self, iteration, *more):
    if os.environ["RANK"] == "1" and iteration == 5:
        raise ValueError("the sixth step is cursed")
    return step(self, iteration, *more)
Optimiser.step = broken
sys.exit(engine.main(Path(sys.argv[1])))
"""


def launched(
    folder: Path, command: Any = engine_command, meanwhile: Callable[[], None] | None = None
) -> tuple[RunResult, list[psutil.Process], float]:
    """The result of two processes that would tune for minutes, all processes they were, and when it was there."""
    spec = small_spec(tune={"seconds": 300.0, "iterations": 12}, execution={"processes": 2})
    family: set[psutil.Process] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            family.update(psutil.Process().children(recursive=True))

    watcher, helper = threading.Thread(target=watch, daemon=True), None
    watcher.start()
    if meanwhile:
        helper = threading.Thread(target=meanwhile, daemon=True)
        helper.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_process, "engine_command", command)
        result = launch(spec, make_plan(spec, probe()), folder=folder, seed=0)
    ended = time.monotonic()
    over.set()
    watcher.join()
    return result, list(family), ended


def await_tuning(folder: Path) -> None:
    """Waits until rank 0 has taken steps."""
    path = event_path(folder, 0, 0)
    while not (path.is_file() and any(e.event == "iterations" and e.first for e in read_events(path))):
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_rank_fails_the_run(tmp_path: Path, number: signal.Signals) -> None:
    """Rank 1 is killed, or crashes in native code, while tuning: the result says so, soon, and no process is left."""
    folder, killed = tmp_path / "run", [0.0]

    def kill() -> None:
        await_tuning(folder)
        ranks = [each for each in psutil.Process().children(recursive=True) if "fluxkit.engine" in each.cmdline()]
        (one,) = [each for each in ranks if each.environ().get("RANK") == "1"]
        killed[0] = time.monotonic()
        one.send_signal(number)

    result, family, ended = launched(folder, meanwhile=kill)
    assert (result.status, result.error.kind, result.error.phase) == ("failed", "Killed", "tune")
    assert result.error.message.startswith(f"rank 1 was ended by signal {int(number)} ({number.name})")
    if number == signal.SIGSEGV:  # where Python was
        assert "fluxkit/engine/tuning/trajectory.py" in (folder / "engine.log").read_text()
    assert ended - killed[0] < STUCK_SECONDS + 20
    assert family
    assert not [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def test_a_rank_that_raises_fails_the_run_with_its_error(tmp_path: Path) -> None:
    """An exception in rank 1 alone is the run's error, in its words, and not the complaint of the rank it left."""
    script = tmp_path / "raises.py"
    script.write_text(RAISES)

    def command(folder: Path, plan: Any) -> list[str]:
        return [*engine_command(folder, plan)[:-3], str(script), str(folder)]

    result, family, _ = launched(tmp_path / "run", command)
    assert (result.status, result.error.kind, result.error.phase) == ("failed", "ValueError", "tune")
    assert result.error.message == "rank 1: the sixth step is cursed"
    assert not [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def test_a_rank_that_can_not_begin_is_named(tmp_path: Path) -> None:
    """Rank 1 dies before it can say anything: the log has to tell, and the error still names it."""
    folder = tmp_path / "run"

    def command(folder: Path, plan: Any) -> list[str]:
        (folder / "events" / "rank-1.attempt-0.jsonl").mkdir(parents=True)
        return engine_command(folder, plan)

    result, _, _ = launched(folder, command)
    assert result.status == "failed"
    assert result.error.message.startswith("rank 1 ended with exit code 1")
    assert "rank-1.attempt-0.jsonl" in result.error.message
