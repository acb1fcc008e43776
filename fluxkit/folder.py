"""A run folder on disk: result, events, samples, adapter; read, written whole or not at all, and found."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from fluxkit.errors import UsageError
from fluxkit.record import RESULT_SCHEMA, RunResult

RESULT_FILE = "result.json"
MAX_RESULT_BYTES = 200_000_000


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


def write_result(folder: Path, result: RunResult) -> None:
    """Writes `result.json` of a run folder, atomically."""
    write_atomically(folder / RESULT_FILE, to_json(result))


def read_result(path: Path) -> RunResult:
    """The result in a `result.json` or a run folder.

    Raises:
        UsageError: it cannot be read, is no result, or was written by a newer fluxkit.
    """
    file = path / RESULT_FILE if path.is_dir() else path
    try:
        if file.stat().st_size > MAX_RESULT_BYTES:
            raise UsageError(f"{file} is larger than {MAX_RESULT_BYTES} bytes, so it is no fluxkit result.")
        values = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read: {error.strerror}. Give a result.json, a run folder or a study folder."
        ) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file} is not JSON, so it is no fluxkit result.") from error
    return parse_result(values, file)


def parse_result(values: Any, file: Path) -> RunResult:
    """Already decoded JSON as a result; `file` names it in an error."""
    schema = values.get("schema") if isinstance(values, dict) else None
    family, _, version = schema.partition("/") if isinstance(schema, str) else ("", "", "")
    if family != "fluxkit.result":
        raise UsageError(f'{file} is not a fluxkit result: it has no schema "{RESULT_SCHEMA}".')
    if schema != RESULT_SCHEMA:
        raise UsageError(
            f"{file} has schema version {version}, and this fluxkit reads version 1; install the fluxkit that wrote it."
        )
    try:
        return RunResult.model_validate_json(json.dumps(values))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"{file} does not follow {RESULT_SCHEMA}: {where}: {first['msg']}.") from error
