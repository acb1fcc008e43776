"""The files of a run folder with their hashes, and paths of a stranger's manifest that may be followed."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from fluxkit.folder import RESULT_FILE
from fluxkit.lock import LOCK_FILE
from fluxkit.record import Artifact

if TYPE_CHECKING:
    from collections.abc import Iterator


def manifest(folder: Path) -> tuple[Artifact, ...]:
    """Every file of the folder except the result itself, the lock, temporary (dot) files and links; by path."""
    return tuple(
        Artifact(path=path.relative_to(folder).as_posix(), sha256=file_sha256(path), bytes=path.stat().st_size)
        for path in sorted(_files(folder))
    )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def inside(folder: Path, relative: str) -> Path | None:
    """The path of a manifest entry; None if it is absolute, climbs out of the folder, or a link leads elsewhere."""
    pure = PurePosixPath(relative)
    if pure.is_absolute() or ".." in pure.parts or "\\" in relative or "\0" in relative or not pure.parts:
        return None
    path = folder / Path(*pure.parts)
    return path if path.resolve().is_relative_to(folder.resolve()) and not path.is_symlink() else None


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        private = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not path.is_symlink() and not private and path.name not in {RESULT_FILE, LOCK_FILE}:
            yield path
