"""How a file is written whole or not at all."""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import BaseModel

from fluxkit.files.contained import parent_below, remove, remove_at, walked

TEMPORARY_DIGITS = 8
_TEMPORARY = re.compile(rf"\..+\.[0-9a-f]{{{TEMPORARY_DIGITS}}}")


def to_json(value: BaseModel) -> str:
    """Indented JSON of a model, under the field names of the schema; the same value gives the same bytes."""
    return json.dumps(value.model_dump(mode="json", by_alias=True), indent=1, allow_nan=False) + "\n"


def write_atomically(path: Path, text: str, *, below: Path | None = None) -> None:
    """Writes `text` whole or not at all: a reader never sees half a file; `below` as for `written_whole`."""
    with written_whole(path, below=below) as temporary:
        temporary.write_text(text, "utf-8")


def write_with_sha256(path: Path, text: str, *, below: Path | None = None) -> None:
    """Writes `text`, and its hash beside it as `sha256sum --check` reads it; a death in between leaves no hash."""
    beside = sha256_beside(path)
    remove(below or path.parent, beside)
    write_atomically(path, text, below=below)
    write_atomically(beside, f"{hashlib.sha256(text.encode()).hexdigest()}  {path.name}\n", below=below)


def sha256_beside(path: Path) -> Path:
    """Where the hash of a file lies."""
    return path.with_name(f"{path.name}.sha256")


@contextmanager
def written_whole(path: Path, *, below: Path | None = None, durable: bool = True) -> Iterator[Path]:
    """A free path for the block to make a file or folder at, which then takes the place of `path`.

    Until the last moment what was there before stays; if the block fails, nothing changes.

    Args:
        path: of the file or folder.
        below: the folder that a person named. All that lies between it and `path` may be a stranger's, so no part of
            it is followed if it is a link. None: the one that `path` lies in.
        durable: False: a power loss may cut it short, and its own hash tells. Waiting for the disk would be most of
            the time of ten thousand small files.

    Raises:
        MachineError: a part of the way is a link.
    """
    folder = path.parent if below is None else below
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{path.name}.{secrets.token_hex(TEMPORARY_DIGITS // 2)}"
    with parent_below(folder, path, make=True) as parent:
        try:
            yield temporary
            for file in temporary.rglob("*") if temporary.is_dir() else [temporary] * durable:
                if file.is_dir():
                    continue
                with file.open("rb") as written:
                    os.fsync(written.fileno())
            if temporary.is_dir():  # a folder can't be replaced by another in one step
                remove_at(parent, path.name)
            os.replace(temporary, path.name, dst_dir_fd=parent)
            if durable:
                os.fsync(parent)  # or a power loss could take the file's name with it
        except OSError as error:
            name = str(error.filename)  # nobody knows the temporary one, and relative to a handle it says nothing
            if error.errno and (os.sep not in name or name.startswith(str(temporary))):
                error.filename = str(path)
                del error.filename2
            raise
        finally:
            with suppress(OSError):  # where nothing can be written, nothing can be taken away; what failed is told
                remove(folder, temporary)


def remove_leftovers(folder: Path) -> None:
    """Takes away what deaths in the middle of writing left in a run folder; nobody may be at work there."""
    for _, folders, files, handle in walked(folder):
        for name in filter(_TEMPORARY.fullmatch, (*folders, *files)):
            remove_at(handle, name)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
