"""A run folder that is in use says so, for as long as its process lives."""

from __future__ import annotations

import json
import os
import time

import pytest

from fluxkit.errors import MachineError
from fluxkit.record import lock
from fluxkit.record.lock import RunLock, is_held


def test_a_held_folder_is_not_entered(tmp_path):
    """A second process waits its turn; a lock of a dead process or an old heartbeat holds nothing."""
    with RunLock(tmp_path), pytest.raises(MachineError, match="in use"), RunLock(tmp_path):
        pass
    assert not is_held(tmp_path)
    path = tmp_path / lock.LOCK_FILE
    path.write_text(json.dumps({"host": lock._host(), "process": os.getpid(), "process_created": 1.0}))
    assert not is_held(tmp_path), "the number is in use again by another process"
    path.write_text(json.dumps({"host": "another", "process": 1}))
    assert is_held(tmp_path), "a fresh heartbeat of another host"
    old = time.time() - lock.STALE_SECONDS - 1
    os.utime(path, (old, old))
    assert not is_held(tmp_path)


def test_the_heart_beats(tmp_path, monkeypatch):
    """The lock's modification time moves while it is held."""
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.02)
    with RunLock(tmp_path):
        os.utime(tmp_path / lock.LOCK_FILE, (1.0, 1.0))
        time.sleep(0.2)
        assert (tmp_path / lock.LOCK_FILE).stat().st_mtime > 2.0
