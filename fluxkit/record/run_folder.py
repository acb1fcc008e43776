"""A run folder on disk: result, events, samples, adapter; read, written whole or not at all, and found."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from fluxkit.errors import MachineError, UsageError
from fluxkit.machine.container import unwritable
from fluxkit.record.atomic_file import LOCK_FILE, RESULT_FILE, file_sha256, to_json, write_atomically
from fluxkit.record.result import RESULT_SCHEMA, Artifact, RunResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


MAX_RESULT_BYTES = 200_000_000
MAX_DEPTH = 3
"""A study folder's results lie at most so many folders below it."""


@contextmanager
def new_folder(folder: Path, advice: str) -> Iterator[None]:
    """Makes `folder` for the block to write into; if the block can't, everything made is taken away again.

    Args:
        folder: must not exist, or be an empty folder.
        advice: what to do if it holds something, as the end of a sentence.

    Raises:
        UsageError: it holds something.
        MachineError: it can't be written.
    """
    absent: list[Path] = []
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} exists and is not empty; {advice}.")
        absent = [each for each in (folder, *folder.parents) if not each.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if absent:
            shutil.rmtree(absent[-1], ignore_errors=True)
        raise MachineError(unwritable(folder, error)) from error


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


def find_results(paths: Iterable[Path]) -> list[tuple[Path, RunResult]]:
    """Every result under result files, run folders and study folders, with its file, in a fixed order, each id once.

    Raises:
        UsageError: a path holds no result, or one of the results cannot be read.
    """
    found: dict[str, tuple[Path, RunResult]] = {}
    for path in paths:
        files = list(_result_files(path))
        if not files:
            raise UsageError(
                f"{path} holds no {RESULT_FILE}, nor do the folders up to {MAX_DEPTH} below it. "
                "Give a result.json, a run folder or a study folder."
            )
        for file in files:
            result = read_result(file)
            if result.id not in found or found[result.id][1].status != "completed":
                found[result.id] = (file, result)
    if not found:
        raise UsageError("No result was given. Give a result.json, a run folder or a study folder.")
    return sorted(found.values(), key=lambda entry: (entry[1].created, entry[1].id))


def _result_files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for depth in range(MAX_DEPTH + 1):
        yield from sorted(path.glob("/".join(["*"] * depth + [RESULT_FILE])))


def safe_path(folder: Path, relative: str) -> Path:
    """The regular file that `relative` names inside `folder`; what a stranger's result names can lie nowhere else.

    Raises:
        UsageError: the path is absolute, climbs out, leads out by a symbolic link, or is no regular file.
    """
    parts = PurePosixPath(relative).parts
    if not parts or relative.startswith("/") or ".." in parts or any(sign in relative for sign in "\\\0:"):
        raise UsageError(f"{relative!r} is not a path inside a run folder, so it is not opened.")
    try:
        inside = (folder / relative).resolve(strict=True)
        if not inside.is_relative_to(folder.resolve(strict=True)):
            raise UsageError(f"{relative!r} leads out of its run folder, so it is not opened.")
    except (OSError, RuntimeError) as error:
        raise UsageError(f"{relative!r} is not in its run folder.") from error
    if not inside.is_file():
        raise UsageError(f"{relative!r} is not a regular file, so it is not opened.")
    return inside


def manifest(folder: Path) -> tuple[Artifact, ...]:
    """Every file of the folder except the result itself, the lock, temporary (dot) files and links; by path."""
    return tuple(
        Artifact(path=path.relative_to(folder).as_posix(), sha256=file_sha256(path), bytes=path.stat().st_size)
        for path in sorted(_files(folder))
    )


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
