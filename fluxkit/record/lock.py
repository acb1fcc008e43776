"""Who is at work in a run folder: a file with a process and a heartbeat, so that a dead run is known to be dead."""

import hashlib
import json
import os
import platform
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fluxkit.errors import MachineError
from fluxkit.record.atomic_file import LOCK_FILE, write_atomically
from fluxkit.values import read_regular

BEAT_SECONDS = 1.0
MAX_LOCK_BYTES = 10_000
STALE_SECONDS = 30.0
"""A process of another host is taken for dead when its heartbeat is older than this."""


class RunLock:
    """Holds a run folder while in the `with` block; the file's modification time is the heartbeat."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_FILE
        self._stop = threading.Event()
        self._beat = threading.Thread(target=self._keep_beating, name="fluxkit-heartbeat", daemon=True)
        self._values = {"host": _host(), **_process_and_start(os.getpid(), "process")}

    def __enter__(self) -> Self:
        if is_held(self._path.parent):
            raise MachineError(f"{self._path.parent} is in use: another fluxkit is running there. Wait for it to end.")
        self._write()
        self._beat.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._beat.join()
        self._path.unlink(missing_ok=True)

    def name_engine(self, process: int) -> None:
        """The engine holds the folder too: it may outlive a launcher that was killed, while it stops."""
        self._values |= _process_and_start(process, "engine")
        self._write()

    def _write(self) -> None:
        write_atomically(self._path, json.dumps(self._values) + "\n")

    def _keep_beating(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            with suppress(OSError):
                os.utime(self._path)


def is_held(folder: Path) -> bool:
    """Whether a live process is at work in the folder.

    On this host the processes are looked up, which is exact; from another host only the heartbeat can be seen.
    """
    path = folder / LOCK_FILE
    try:
        age = time.time() - path.stat().st_mtime
        values = json.loads(read_regular(path, MAX_LOCK_BYTES))
    except (OSError, ValueError, RecursionError):
        return False
    if not isinstance(values, dict):
        return False
    if values.get("host") != _host():
        return age < STALE_SECONDS
    return _lives(values, "process") or _lives(values, "engine")


def _process_and_start(process: int, word: str) -> dict[str, Any]:
    """A process by number and start: numbers are used again, the pair is not."""
    import psutil

    try:
        return {word: process, f"{word}_created": psutil.Process(process).create_time()}
    except psutil.Error:
        return {}


def _lives(values: dict[str, Any], word: str) -> bool:
    import psutil

    number = values.get(word)
    if not isinstance(number, int) or number <= 0:
        return False
    try:
        process = psutil.Process(number)
        same = abs(process.create_time() - float(values[f"{word}_created"])) < 1.0
        return same and bool(process.status() != psutil.STATUS_ZOMBIE)
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False


def _host() -> str:
    """Hash of what makes process numbers comparable: host, its boot, and the process namespace (containers)."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
