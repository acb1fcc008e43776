"""The names of a run folder's files, and how a file is written whole or not at all."""

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel

RESULT_FILE = "result.json"
JOB_FILE = "job.json"
CHECKPOINT_FILE = "checkpoint/tuning.safetensors"
LOCK_FILE = "run.lock"
LOG_FILE = "engine.log"
LOG_HEADER = "== attempt "
TEMPORARY_DIGITS = 8
_TEMPORARY = re.compile(rf"\..+\.[0-9a-f]{{{TEMPORARY_DIGITS}}}")


def to_json(value: BaseModel) -> str:
    """Indented JSON of a model, under the field names of the schema; the same value gives the same bytes."""
    return json.dumps(value.model_dump(mode="json", by_alias=True), indent=1, allow_nan=False) + "\n"


def write_atomically(path: Path, text: str) -> None:
    """Writes `text` whole or not at all: a reader never sees half a file."""
    with written_whole(path) as temporary:
        temporary.write_text(text, "utf-8")


def write_with_sha256(path: Path, text: str) -> None:
    """Writes `text`, and its hash beside it as `sha256sum --check` reads it; a death in between leaves no hash."""
    beside = sha256_beside(path)
    beside.unlink(missing_ok=True)
    write_atomically(path, text)
    write_atomically(beside, f"{hashlib.sha256(text.encode()).hexdigest()}  {path.name}\n")


def sha256_beside(path: Path) -> Path:
    """Where the hash of a file lies."""
    return path.with_name(f"{path.name}.sha256")


@contextmanager
def written_whole(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A free path beside `path` for the block to make a file or folder at, which then takes the place of `path`.

    Until the last moment what was there before stays; if the block fails, nothing changes. What is not `durable` may
    be cut short by a power loss, and is then told by its hash: waiting for the disk would be most of the time of ten
    thousand small files.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(TEMPORARY_DIGITS // 2)}")
    try:
        yield temporary
        for file in temporary.rglob("*") if temporary.is_dir() else [temporary] * durable:
            with file.open("rb") as written:
                os.fsync(written.fileno())
        if path.is_dir():  # a folder can't be replaced by another in one step
            shutil.rmtree(path)
        temporary.replace(path)
        if durable:
            flush_folder(path.parent)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Takes away what deaths in the middle of writing left in a run folder; nobody may be at work there."""
    for path in folder.rglob(".*"):
        if _TEMPORARY.fullmatch(path.name):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def flush_folder(folder: Path) -> None:
    """The names of the files in it outlive a power loss once this returns."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
