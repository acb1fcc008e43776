"""The names of a run folder's files, and how a file is written whole or not at all."""

import hashlib
import json
import os
import tempfile
from pathlib import Path

from pydantic import BaseModel

RESULT_FILE = "result.json"
JOB_FILE = "job.json"
LOCK_FILE = "run.lock"
LOG_FILE = "engine.log"
LOG_HEADER = "== attempt "


def to_json(value: BaseModel) -> str:
    """Indented JSON of a model, under the field names of the schema; the same value gives the same bytes."""
    return json.dumps(value.model_dump(mode="json", by_alias=True), indent=1, allow_nan=False) + "\n"


def write_atomically(path: Path, text: str) -> None:
    """Writes `text` whole or not at all: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
