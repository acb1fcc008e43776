"""A folder that is in use says so, for as long as any process that may write there lives, whatever the clock says."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
import time

import pytest

from fluxkit.errors import MachineError
from fluxkit.files import lock
from fluxkit.files.lock import LOCK_FILE, RunLock, is_held, machine_lock, rank_lock
from fluxkit.record.run_folder import files_of

HOLD = """
import sys, time
from pathlib import Path
from fluxkit.files.lock import RunLock, rank_lock
held = RunLock(Path(sys.argv[1])) if sys.argv[2] == "run" else rank_lock(Path(sys.argv[1]), int(sys.argv[2]))
with held:
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Starts a process that holds a lock of the folder."""
    started = []

    def start(which, *inside):
        words = [*inside, sys.executable, "-c", HOLD, str(tmp_path), which]
        process = subprocess.Popen(words, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == b"held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def quick(monkeypatch):
    """Heartbeats and the patience with them are short."""
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(lock, "STALE_SECONDS", 0.3)


@pytest.fixture
def without_locks(monkeypatch, quick):
    """A file system that has no locks, as Lustre without its option flock."""
    del quick

    def flock(_handle, _kind):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)


def test_a_held_folder_is_not_entered(tmp_path, holder):
    """A second process waits its turn, and the lock ends with its process, however that ends."""
    process = holder("run")
    assert is_held(tmp_path)
    with pytest.raises(MachineError, match="in use"), RunLock(tmp_path):
        pass
    process.kill()
    process.wait()
    assert not is_held(tmp_path)
    with RunLock(tmp_path):
        assert is_held(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step_seconds", [2, -2, 86400, -86400])
def test_a_clock_that_is_set_changes_nothing(tmp_path, holder, monkeypatch, step_seconds):
    """Neither the wall clock nor the time of the lock's file says who lives."""
    process, now = holder("run"), time.time()
    monkeypatch.setattr(time, "time", lambda: now + step_seconds)
    os.utime(tmp_path / LOCK_FILE, (now - step_seconds, now - step_seconds))
    assert is_held(tmp_path)
    process.kill()
    process.wait()
    assert not is_held(tmp_path)


def test_a_container_of_this_machine_is_seen(tmp_path, holder):
    """A process with another numbering of processes, as in a container, holds the folder like any other."""
    inside = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts")
    if not shutil.which("unshare") or subprocess.run([*inside, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs unshare, and the right to use it")
    process = holder("0", *inside)
    assert is_held(tmp_path)
    process.kill()
    process.wait()
    for _ in range(100):
        if not is_held(tmp_path):
            break
        time.sleep(0.05)
    assert not is_held(tmp_path)


def test_a_rank_that_lives_holds_the_folder(tmp_path, holder):
    """No second team is started beside a rank whose launcher is gone, and its lock is cleared away after it."""
    rank = holder("1")
    assert is_held(tmp_path)
    with pytest.raises(MachineError, match="processes of an earlier attempt"), RunLock(tmp_path):
        pass
    with pytest.raises(MachineError, match="in use"), rank_lock(tmp_path, 1):
        pass
    with rank_lock(tmp_path, 0):
        pass
    rank.kill()
    rank.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["run.rank-1.lock"]
    assert not files_of(tmp_path), "locks are no part of a result"
    with RunLock(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_of_many_at_one_moment_one_gets_it(tmp_path):
    """Threads that all lock at once, again and again: never two inside, and never none."""
    inside, most, entered, gate = [], [], [], threading.Barrier(8)

    def run():
        for _ in range(10):
            gate.wait()
            try:
                with RunLock(tmp_path):
                    inside.append(1)
                    most.append(len(inside))
                    time.sleep(0.002)
                    inside.pop()
                    entered.append(1)
            except MachineError:
                pass

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
    assert len(entered) >= 10


def test_of_one_that_makes_the_lock_and_one_that_comes_then_one_gets_in(tmp_path, monkeypatch):
    """Between a lock's file and the name in it another one locks it: that one gets in, and the maker is refused."""
    monkeypatch.setattr(lock, "TRIES", 3)
    writing, makers, ended, gate = RunLock._write, [], [], threading.Event()

    def run():
        try:
            with RunLock(tmp_path):
                ended.append("in")
                gate.wait(10)
        except MachineError:
            ended.append("refused")
            gate.set()

    second = threading.Thread(target=run)

    def slowly(self, handle):
        if not makers:
            makers.append(self)
            second.start()
            time.sleep(0.05)
        writing(self, handle)

    monkeypatch.setattr(RunLock, "_write", slowly)
    run()
    second.join(10)
    assert sorted(ended) == ["in", "refused"]


@pytest.mark.usefixtures("quick")
def test_a_lock_without_a_name_is_taken_over(tmp_path):
    """What one that died before it could write its name left keeps nobody out."""
    (tmp_path / LOCK_FILE).touch()
    with RunLock(tmp_path):
        assert is_held(tmp_path)


def test_a_run_has_as_many_places_as_machines(tmp_path):
    """Of a run on three machines two can join, and the third that tries is told so."""
    with machine_lock(tmp_path, 3), machine_lock(tmp_path, 3):
        with pytest.raises(MachineError, match="runs on 3 machines, and as many take part"), machine_lock(tmp_path, 3):
            pass
        assert is_held(tmp_path)
    assert not is_held(tmp_path)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("beats", [True, False])
def test_of_another_machine_the_heartbeat_tells(tmp_path, beats):
    """A lock that another kernel made is watched: one that beats is held, one that does not is taken over."""
    path = tmp_path / LOCK_FILE
    path.write_text(json.dumps({"kernel": "another", "token": "0badcafe"}))
    over = threading.Event()

    def beat():
        while beats and not over.wait(0.02):
            os.utime(path)

    heart = threading.Thread(target=beat)
    heart.start()
    try:
        assert is_held(tmp_path) is beats
        if beats:
            with pytest.raises(MachineError, match="in use"), RunLock(tmp_path):
                pass
        else:
            with RunLock(tmp_path):
                assert json.loads(path.read_text())["kernel"] == lock._kernel()
    finally:
        over.set()
        heart.join()


@pytest.mark.usefixtures("without_locks")
def test_a_file_system_without_locks_is_held_by_name_and_heartbeat(tmp_path):
    """`O_EXCL` lets one in, its heartbeat keeps others out, and of several who find it dead one takes it over."""
    with RunLock(tmp_path):
        assert is_held(tmp_path)
        with pytest.raises(MachineError, match="in use"), RunLock(tmp_path):
            pass
    assert not list(tmp_path.iterdir())
    (tmp_path / LOCK_FILE).write_text(json.dumps({"kernel": lock._kernel(), "token": "0badcafe"}))
    assert not is_held(tmp_path)
    entered, gate, leave = [], threading.Barrier(6), threading.Event()

    def take():
        gate.wait()
        try:
            with RunLock(tmp_path):
                entered.append(1)
                leave.wait(5)
        except MachineError:
            pass

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(1.5)
    leave.set()
    for thread in threads:
        thread.join()
    assert entered == [1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["link", "hard link", "folder", "pipe"])
def test_what_is_no_lock_is_not_written(tmp_path, kind):
    """A link, a file with a second name, a folder or a pipe in the lock's place is refused and left as it is."""
    victim, path = tmp_path / "victim", tmp_path / "run" / LOCK_FILE
    path.parent.mkdir()
    victim.write_text("mine")
    if kind == "link":
        path.symlink_to(victim)
    elif kind == "hard link":
        path.hardlink_to(victim)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(MachineError, match="can't say who is at work"), RunLock(path.parent):
        pass
    assert victim.read_text() == "mine"
