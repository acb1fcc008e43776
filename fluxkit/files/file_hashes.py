"""SHA-256 of files, remembered between runs."""

import hashlib
import time
from contextlib import suppress
from pathlib import Path

from fluxkit.files.atomic_file import file_sha256, written_whole
from fluxkit.files.cache import cache_folder

SETTLED_SECONDS = 2.0
"""The coarsest clock of a file system in use."""


def cached_file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, remembered by its place and by all that changes when its content does."""
    file = path.resolve()
    before = _stamp(file)
    key = hashlib.sha256(before.encode()).hexdigest()
    note = cache_folder() / "hashes" / key
    with suppress(OSError, ValueError):
        digest, check = note.read_text("ascii").split()
        if check == _check(key, digest):
            return digest
    digest = file_sha256(file)
    # What is written again within a tick of the file system's clock would bear the same stamp.
    old_enough = time.time() - file.stat().st_ctime > SETTLED_SECONDS
    if old_enough and _stamp(file) == before:
        # A cache that can't be written only costs time.
        with suppress(OSError), written_whole(note, durable=False) as temporary:
            temporary.write_text(f"{digest} {_check(key, digest)}\n", "ascii")
    return digest


def _stamp(file: Path) -> str:
    """A copy may keep size and time of change; the inode and the time of its own change no program sets."""
    status = file.stat()
    parts = (file, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return "|".join(map(str, parts))


def _check(key: str, digest: str) -> str:
    """Tells a note that was emptied or changed on disk, which is then made again."""
    return hashlib.sha256(f"{key} {digest}".encode()).hexdigest()
