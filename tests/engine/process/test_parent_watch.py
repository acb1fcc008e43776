"""Ranks and the processes that started them: a launcher, between them maybe torchrun, as plain processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from fluxkit.engine.process import parent_watch
from fluxkit.engine.process.parent_watch import LAUNCHER, ParentWatch
from fluxkit.errors import MachineError
from fluxkit.files.lock import is_held

RANK = """
import signal, sys, time
from pathlib import Path
from fluxkit.engine.process import parent_watch
from fluxkit.files.lock import rank_lock
parent_watch.LOOK_SECONDS = 0.05
if sys.argv[2] == "watch":
    parent_watch.end_with_parent = lambda: None
folder = Path(sys.argv[1])
with rank_lock(folder, 0):
    parents = parent_watch.ParentWatch()
    heard = []
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    parents.start(lambda: bool(heard), float(sys.argv[3]))
    (folder / "ready").touch()
    while not heard or sys.argv[4] == "deaf":
        time.sleep(0.02)
    (folder / "stopped").touch()
"""
TORCHRUN = "import subprocess, sys; subprocess.Popen(sys.argv[1:]).wait()"
LAUNCH = """
import os, subprocess, sys
os.environ["FLUXKIT_LAUNCHER"] = f"{os.getpid()} mark"
process = subprocess.Popen(sys.argv[1:])
process.wait()
"""


@pytest.fixture
def team(tmp_path, monkeypatch):
    """Starts a launcher, torchrun where there are several, and a rank; gives their processes from the launcher down."""
    launchers = []

    def start(*, torchrun, how="signal", grace=20.0, ears="open"):
        if torchrun:
            monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
        words = [sys.executable, "-c", RANK, str(tmp_path), how, str(grace), ears]
        words = [sys.executable, "-c", TORCHRUN, *words] if torchrun else words
        launchers.append(subprocess.Popen([sys.executable, "-c", LAUNCH, *words]))
        while not (tmp_path / "ready").exists():
            assert launchers[0].poll() is None
            time.sleep(0.02)
        head = psutil.Process(launchers[0].pid)
        return [head, *head.children(recursive=True)]

    yield start
    for launcher in launchers:
        launcher.kill()
        launcher.wait()


def ends(process, seconds=15.0):
    began = time.monotonic()
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE and time.monotonic() - began < seconds:
        time.sleep(0.02)
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("how", ["signal", "watch"])
@pytest.mark.parametrize(
    ("torchrun", "killed"),
    [(False, ["launcher"]), (True, ["launcher"]), (True, ["torchrun"]), (True, ["launcher", "torchrun"])],
)
def test_a_rank_ends_with_whoever_started_it(team, tmp_path, how, torchrun, killed):
    """Launcher, torchrun or both are killed: the rank is asked to stop, holds its folder until then, and is gone."""
    names = ["launcher", "torchrun", "rank"] if torchrun else ["launcher", "rank"]
    processes = dict(zip(names, team(torchrun=torchrun, how=how), strict=True))
    assert is_held(tmp_path)
    for name in killed:
        processes[name].kill()
    assert ends(processes["rank"])
    assert (tmp_path / "stopped").exists()
    time.sleep(0.1)
    assert not is_held(tmp_path)


def test_a_rank_that_does_not_listen_is_ended(team, tmp_path):
    """After its grace a rank that nobody watches ends, whatever it is doing."""
    launcher, rank = team(torchrun=False, grace=0.3, ears="deaf")
    launcher.kill()
    assert ends(rank)
    assert not (tmp_path / "stopped").exists()


def test_a_parent_that_was_gone_before_the_first_look_is_noticed(monkeypatch):
    """A launcher that died while this process began sends no signal: that another is its parent tells it."""
    monkeypatch.setattr(parent_watch, "end_with_parent", lambda: None)
    monkeypatch.setenv(LAUNCHER, f"{os.getppid()} mark")
    ParentWatch()
    monkeypatch.setenv(LAUNCHER, f"{os.getpid()} mark")
    with pytest.raises(MachineError, match="has ended, so it ends too"):
        ParentWatch()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv(LAUNCHER, f"{os.getppid()} mark")
    with pytest.raises(MachineError, match="has ended"):
        ParentWatch()


def test_the_signal_of_the_kernel_is_asked_for(tmp_path):
    """On Linux a process that does nothing else is ended by the kernel with its parent."""
    if sys.platform != "linux":
        pytest.skip("the kernel's signal at a parent's end is Linux's")
    child = (
        "import time; from pathlib import Path; from fluxkit.engine.process.parent_watch import end_with_parent;"
        f"end_with_parent(); Path({str(tmp_path / 'child')!r}).touch(); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", TORCHRUN, sys.executable, "-c", child])
    while not (tmp_path / "child").exists():
        time.sleep(0.02)
    (process,) = psutil.Process(parent.pid).children()
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert ends(process)
