"""Who is at work in a run folder: a file for each, which its process holds locked for as long as it lives.

The lock is the kernel's (`flock`): it ends with its process, no clock and no process number is asked, and it holds
across containers of one machine. Where a file system has no locks, or another machine may be at work, the file's
heartbeat decides: whether its time moves, seen on the observer's own monotonic clock. The times of two machines, or of
one before and after its clock was set, are never compared. Which of them comes first is then decided by `O_EXCL`.
"""

import errno
import fcntl
import json
import os
import platform
import re
import secrets
import stat
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from fluxkit.errors import MachineError
from fluxkit.files.contained import is_own_file

LOCK_FILE = "run.lock"
LOCKS = re.compile(r"run(\.(rank|join)-\d{1,4})?\.lock")
"""Names of files that say who is at work: the one that runs it, each rank, each further machine."""
BEAT_SECONDS = 1.0
STALE_SECONDS = 15.0
"""A heartbeat that is watched for so long without a beat has ended."""
MAX_LOCK_BYTES = 10_000
TRIES = 20
"""To lock: who only looks holds a lock for an instant."""
_OPEN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Holder(NamedTuple):
    """What a lock's file says of who made it."""

    kernel: str = ""
    """Of the machine since it was started; empty where the file does not tell."""
    token: str = ""


class FolderLock:
    """Holds a file of a folder while in the `with` block, by its process alone.

    Args:
        folder: of the run or study.
        name: of the lock's file.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._path = folder, folder / name
        self._me = Holder(_kernel(), secrets.token_hex(4))
        self._stop = threading.Event()
        self._beat = threading.Thread(target=self._keep_beating, name="fluxkit-heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._handle = self._take()
        self._beat.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._beat.join()
        with suppress(OSError):
            if _is_still(self._path, self._handle):
                self._path.unlink()
        os.close(self._handle)

    def in_use(self) -> MachineError:
        """The sentence for who comes second."""
        return MachineError(f"{self._folder} is in use: another fluxkit is running there. Wait for it to end.")

    def _take(self) -> int:
        for _ in range(TRIES):
            handle, is_new = self._open()
            try:
                locked = _lock(handle, fcntl.LOCK_EX)
                if locked is not False and _is_still(self._path, handle):
                    self._enter_name(handle, is_new=is_new, locked=bool(locked))
                    return handle
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)
            time.sleep(0.01)
        raise self.in_use()

    def _open(self) -> tuple[int, bool]:
        """The file, and whether it was made here and now: of all who try, on any machine, one makes it."""
        with suppress(FileExistsError):
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _OPEN, 0o666)
            try:
                self._write(handle)  # or one that is quicker to lock it would not know of which kernel it is
            except BaseException:  # a full disk
                self._path.unlink(missing_ok=True)
                os.close(handle)
                raise
            return handle, True
        with suppress(FileNotFoundError):
            try:
                handle = os.open(self._path, os.O_RDWR | _OPEN)
            except OSError as error:
                if error.errno in {errno.ELOOP, errno.ENXIO, errno.EISDIR}:
                    raise self._strange() from error
                raise
            if is_own_file(handle):
                return handle, False
            os.close(handle)
            raise self._strange()
        return self._open()  # its holder took it away just now

    def _strange(self) -> MachineError:
        return MachineError(
            f"{self._path} is a link, has a second name or is no regular file, so it can't say who is at work."
            " Remove it if nobody is."
        )

    def _enter_name(self, handle: int, *, is_new: bool, locked: bool) -> None:
        """Writes who holds it; one of whom no lock of this kernel tells is first watched, and then followed by one."""
        if is_new:
            return
        before = _name_in(handle)
        moves = not (locked and before.kernel == self._me.kernel) and _beating([self._path])
        if locked and _holder(handle).kernel == self._me.kernel:
            self._write(handle)
            return
        if moves:
            raise self.in_use()
        claim = self._path.with_name(f".{self._path.name}.{before.token or '0' * 8}")
        try:
            os.close(os.open(claim, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _OPEN))
        except FileExistsError as error:
            raise self.in_use() from error
        try:
            if _holder(handle) != before:
                raise self.in_use()
            self._write(handle)
        finally:
            claim.unlink(missing_ok=True)

    def _write(self, handle: int) -> None:
        os.ftruncate(handle, 0)
        os.pwrite(handle, (json.dumps(self._me._asdict()) + "\n").encode(), 0)

    def _keep_beating(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            with suppress(OSError):
                os.utime(self._handle)


class RunLock(FolderLock):
    """Held by the one that runs a folder: no other is, and no rank or further machine of an earlier attempt."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, LOCK_FILE)

    def __enter__(self) -> Self:
        with ExitStack() as undone:
            super().__enter__()
            undone.push(super().__exit__)
            if _is_any_held(path for path in _locks(self._folder) if path != self._path):
                raise MachineError(
                    f"{self._folder} is in use: processes of an earlier attempt are at work there. Wait for their end."
                )
            undone.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for path in _locks(self._folder):
            # What a rank that was killed on this machine left; those of others see to theirs.
            if path != self._path and _held_here(path) is False:
                path.unlink(missing_ok=True)
        super().__exit__(kind, error, at)


def rank_lock(folder: Path, rank: int) -> FolderLock:
    """What one rank of a run holds for as long as it may write."""
    return FolderLock(folder, f"run.rank-{rank}.lock")


@contextmanager
def machine_lock(folder: Path, machines: int) -> Iterator[None]:
    """One of the places that a run has for machines beside its first one.

    Raises:
        MachineError: all of them are taken.
    """
    with ExitStack() as held:
        for place in range(1, machines):
            with suppress(MachineError):
                held.enter_context(FolderLock(folder, f"run.join-{place}.lock"))
                break
        else:
            raise MachineError(f"{folder} runs on {machines} machines, and as many take part in it already.")
        yield


def is_held(folder: Path) -> bool:
    """Whether a live process is at work in the folder: the one that runs it, a rank or a further machine.

    It takes an instant where this machine made the locks, and up to `STALE_SECONDS` where another one did.
    """
    return _is_any_held(_locks(folder))


def _locks(folder: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(path for path in folder.iterdir() if LOCKS.fullmatch(path.name))
    return []


def _is_any_held(paths: Iterable[Path]) -> bool:
    unknown = []
    for path in paths:
        held = _held_here(path)
        if held:
            return True
        if held is None:
            unknown.append(path)
    return _beating(unknown)


def _held_here(path: Path) -> bool | None:
    """Whether a process of this kernel holds the lock; None where another machine may, or nothing is known."""
    try:
        handle = os.open(path, os.O_RDONLY | _OPEN)
    except PermissionError:
        return None
    except OSError:
        return False
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return False
        locked = _lock(handle, fcntl.LOCK_SH)
        if locked is False:
            return True
        return False if locked and _holder(handle).kernel == _kernel() else None
    finally:
        os.close(handle)


def _lock(handle: int, kind: int) -> bool | None:
    """Locks an open file; False where another has it, None where the file system has no locks.

    Those of Lustre without its option flock, of NFS without its lock daemon and of some FUSE have none.
    """
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_still(path: Path, handle: int) -> bool:
    """Whether an open file is the one that has this name now; its holder may have taken the name away."""
    with suppress(OSError):
        return os.path.samestat(os.fstat(handle), path.lstat())
    return False


def _holder(handle: int) -> Holder:
    with suppress(OSError, ValueError, RecursionError, TypeError):
        values = json.loads(os.pread(handle, MAX_LOCK_BYTES, 0))
        return Holder(str(values["kernel"]), f"{int(values['token'], 16):08x}"[:8])
    return Holder()


def _name_in(handle: int) -> Holder:
    """The holder; one that made the file just now, and comes second, is about to write its name."""
    for _ in range(TRIES):
        if (holder := _holder(handle)).kernel:
            break
        time.sleep(0.01)
    return holder


def _beating(paths: list[Path]) -> bool:
    """Whether the time of any file moves, or its content, while it is watched."""
    first = {path: beat for path in paths if (beat := _beat_of(path)) is not None}
    deadline = time.monotonic() + STALE_SECONDS
    while first and time.monotonic() < deadline:
        time.sleep(min(0.2, BEAT_SECONDS / 2))
        for path, before in list(first.items()):
            now = _beat_of(path)
            if now is None:
                del first[path]
            elif now != before:
                return True
    return False


def _beat_of(path: Path) -> tuple[int, int] | None:
    """Opened each time: NFS asks its server for a file's time when it is opened, and else only now and then."""
    with suppress(PermissionError):
        try:
            handle = os.open(path, os.O_RDONLY | _OPEN)
        except FileNotFoundError:
            return None
        os.close(handle)
    with suppress(OSError):
        status = path.lstat()
        return status.st_mtime_ns, status.st_ino
    return None


@cache
def _kernel() -> str:
    """What is the same for all processes whose locks one kernel keeps, in containers too, until it is started anew."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return platform.node()
