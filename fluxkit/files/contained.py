"""Writes and deletes below a folder: no part of a path on the way is a link, and none leads out.

A person named the folder, so a link may lead to it. What lies in it may be a stranger's, and may change between a look
and its use: each part is opened from the one before it, and never by following a link.
"""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, NoReturn

from fluxkit.errors import MachineError

_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""A pipe is never waited for."""


@contextmanager
def parent_below(folder: Path, path: Path, *, make: bool = False) -> Iterator[int]:
    """Descriptor of the folder that `path`, which lies below `folder`, lies in; what is absent is made on request.

    Raises:
        MachineError: a part on the way is a link or no folder, or `path` is not below `folder`.
        OSError: a part is absent, or can't be opened or made.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in _parts(folder, path)[:-1]:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=handle)
                    os.fsync(handle)  # or a power loss could take all that is in it
            if not stat.S_ISDIR(os.stat(part, dir_fd=handle, follow_symlinks=False).st_mode):
                _refuse(path, f"{part!r} on the way to it is a link, or no folder")
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | _FLAGS, dir_fd=handle)
            os.close(handle)
            handle = below
        yield handle
    finally:
        os.close(handle)


def _parts(folder: Path, path: Path) -> tuple[str, ...]:
    parts = PurePosixPath(path).parts[len(PurePosixPath(folder).parts) :]
    if not path.is_relative_to(folder) or not parts or ".." in parts:
        _refuse(path, f"it does not lie in {folder}")
    return parts


def _refuse(path: Path, why: str) -> NoReturn:
    raise MachineError(f"{path} is not written or removed: {why}. Take the link away, or use a copy without links.")


def refuse_link(folder: Path, path: Path) -> None:
    """No part of a path below a folder may be a link, before anything is written there.

    Raises:
        MachineError: one is.
    """
    with suppress(FileNotFoundError), parent_below(folder, path) as parent:
        if _is_link(path.name, parent):
            _refuse(path, "it is a link, and those may lead anywhere")


def refuse_links(folder: Path) -> None:
    """Nothing that lies in a run folder may be a link, before anything in it is written.

    Raises:
        MachineError: something is.
    """
    for place, folders, files, handle in walked(folder):
        for name in (*folders, *files):
            if _is_link(name, handle):
                _refuse(folder / place / name, "it is a link, and those may lead anywhere")


def walked(folder: Path) -> Iterator[tuple[str, list[str], list[str], int]]:
    """Every folder from this one down, as `os.fwalk` gives it, by its relative path; no link below is followed."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield from os.fwalk(".", dir_fd=handle)
    finally:
        os.close(handle)


def is_own_file(handle: int) -> bool:
    """Whether an open file is a regular one without a second name, so that writing into it changes no other."""
    status = os.fstat(handle)
    return stat.S_ISREG(status.st_mode) and status.st_nlink <= 1


def new_file(folder: Path, path: Path) -> IO[str]:
    """A new, empty text file below `folder`, in the place of any that is there; each line is written as it is whole."""
    with parent_below(folder, path, make=True) as parent:
        with suppress(FileNotFoundError):
            os.unlink(path.name, dir_fd=parent)
        handle = os.open(path.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o666, dir_fd=parent)
        os.fsync(parent)  # or a power loss could take the file's name with it
    return os.fdopen(handle, "w", encoding="utf-8", buffering=1)


def appended(folder: Path, path: Path) -> IO[bytes]:
    """A file below `folder`, open for more at its end; made if it is absent.

    Raises:
        MachineError: it is a link, or has a second name.
    """
    with parent_below(folder, path) as parent:
        try:
            handle = os.open(path.name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _FLAGS, 0o666, dir_fd=parent)
        except OSError:
            if _is_link(path.name, parent):
                _refuse(path, "it is a link")
            raise
    if not is_own_file(handle):
        os.close(handle)
        _refuse(path, "it is no regular file, or has a second name elsewhere")
    return os.fdopen(handle, "ab")


def _is_link(name: str, parent: int) -> bool:
    with suppress(FileNotFoundError):
        return stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    return False


def remove(folder: Path, path: Path) -> None:
    """Takes away what lies at a path below `folder`, if anything does; of a link the link alone."""
    with suppress(FileNotFoundError), parent_below(folder, path) as parent:
        remove_at(parent, path.name)


def remove_at(parent: int, name: str) -> None:
    """The same in a folder that is open."""
    with suppress(FileNotFoundError):
        if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            shutil.rmtree(name, dir_fd=parent)
        else:
            os.unlink(name, dir_fd=parent)
