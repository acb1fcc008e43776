"""A run folder on disk: result, events, samples, adapter; read, written whole or not at all, and found."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from fluxkit.errors import FluxkitError, MachineError, UsageError
from fluxkit.files.atomic_file import file_sha256, remove_leftovers, to_json, write_with_sha256
from fluxkit.files.contained import remove
from fluxkit.files.lock import LOCK_FILE, LOCKS, RunLock, is_held
from fluxkit.machine.container import unwritable
from fluxkit.plan.plan import Job
from fluxkit.record.identity import once_each
from fluxkit.record.result import RESULT_SCHEMA, Artifact, RunResult
from fluxkit.values import path_inside, read_regular

RESULT_FILE = "result.json"
JOB_FILE = "job.json"
CHECKPOINT_FILE = "checkpoint/tuning.safetensors"
SNAPSHOTS = "snapshots"
"""Where the states to be graded lie until the run is completed."""
LOG_FILE = "engine.log"
LOG_HEADER = "== attempt "
MAX_RESULT_BYTES = 200_000_000
MAX_RESULT_VALUES = 10_000_000
"""Numbers, texts and lists in a result: a few bytes each on disk are a hundred in memory."""
MAX_JOB_BYTES = 10_000_000
SHA256_FILE, SIGNATURE_FILE = f"{RESULT_FILE}.sha256", f"{RESULT_FILE}.sig"
_WORKING_FILE = re.compile(rf"{re.escape(CHECKPOINT_FILE)}|{SNAPSHOTS}/iteration-\d{{8}}\.safetensors")
_TORN = re.compile(rf"{re.escape(LOCK_FILE)}|\.(study|job|result)\.json(\.sha256)?\.[0-9a-f]{{8}}")
"""What a death or a broken disk leaves of the first files that are written: a folder that holds no more is empty."""
MAX_DEPTH = 3
"""A study folder's results lie at most so many folders below it."""


@contextmanager
def new_folder(folder: Path, advice: str, first: Callable[[], None]) -> Iterator[None]:
    """Makes `folder`, puts its first files there and holds it for the block; if that fails, all is taken away again.

    Of several that begin in one folder at the same moment one is given it.

    Args:
        folder: must not exist, or be an empty folder.
        advice: what to do if it holds something, as the end of a sentence.
        first: writes the first files.

    Raises:
        UsageError: it holds something.
        MachineError: it is in use, or can't be written.
    """
    made: list[Path] = []
    with ExitStack() as held:
        try:
            _make(folder, made)
            _refuse_full(folder, advice)
            held.enter_context(RunLock(folder))
            _refuse_full(folder, advice, ours=True)
            try:
                _empty(folder)
                first()
            except OSError:
                _empty(folder)
                raise
        except (OSError, FluxkitError) as error:
            held.close()
            for path in reversed(made):
                with suppress(OSError):  # another has put something there
                    path.rmdir()
            if isinstance(error, OSError):
                raise MachineError(unwritable(folder, error)) from error
            raise
        yield


@contextmanager
def held_folder(folder: Path) -> Iterator[None]:
    """Holds a folder that is to be written, from before it is read to the end: nobody else may change it meanwhile.

    Raises:
        MachineError: it is in use, or can't be written.
    """
    with ExitStack() as held:
        try:
            held.enter_context(RunLock(folder))
        except OSError as error:
            raise MachineError(unwritable(folder, error, "continue a copy of it")) from error
        yield


def _make(folder: Path, made: list[Path]) -> None:
    """Makes a folder and those above it, and lists what was made here: another may make the same."""
    for path in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
        with suppress(FileExistsError):
            path.mkdir()
            made.append(path)


def _refuse_full(folder: Path, advice: str, *, ours: bool = False) -> None:
    """Nothing is put into a folder that holds more than its lock; nobody's folder is touched to find that out."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; choose another one with --out.")
    full = not all(_TORN.fullmatch(path.name) for path in folder.iterdir())
    if full and (ours or not is_held(folder)):
        raise UsageError(f"{folder} exists and is not empty; {advice}.")


def _empty(folder: Path) -> None:
    """Takes away all but the lock; nothing else of anybody's is there."""
    for path in folder.iterdir():
        if path.name != LOCK_FILE:
            remove(folder, path)


def write_result(folder: Path, result: RunResult) -> None:
    """Writes `result.json` of a run folder, atomically, and its hash beside it."""
    write_with_sha256(folder / RESULT_FILE, to_json(result), below=folder)


def read_job(folder: Path) -> Job:
    """What the engine of a run folder was last started with.

    Raises:
        OSError, ValueError: it can't be read, or is no job of this version.
    """
    return Job.model_validate_json(read_regular(folder / JOB_FILE, MAX_JOB_BYTES))


def folder_of(path: Path) -> Path:
    """The run folder, named by itself or by its `result.json`."""
    return path if path.is_dir() else path.parent


def read_result(path: Path) -> RunResult:
    """The result in a `result.json` or a run folder.

    Raises:
        UsageError: it cannot be read, is no result, or was written by a newer fluxkit.
    """
    file = path / RESULT_FILE if path.is_dir() else path
    try:
        text = read_regular(file, MAX_RESULT_BYTES)
        if sum(map(text.count, (b",", b"[", b"{"))) > MAX_RESULT_VALUES:
            raise UsageError(f"{file} holds more than {MAX_RESULT_VALUES} values, so it is no fluxkit result.")
        result = RunResult.model_validate_json(text)
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read: {error.strerror}. Give a result.json, a run folder or a study folder."
        ) from error
    except ValidationError as error:
        raise UsageError(f"{file} {_why_no_result(text, error)}") from error
    _share_field_names(result)
    return result


def _why_no_result(text: bytes, error: ValidationError) -> str:
    """What is wrong with the text of a file that is no result, as the rest of a sentence."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return "is not JSON, so it is no fluxkit result."
    schema = values.get("schema") if isinstance(values, dict) else None
    family, _, version = schema.partition("/") if isinstance(schema, str) else ("", "", "")
    if family != "fluxkit.result":
        return f'is not a fluxkit result: it has no schema "{RESULT_SCHEMA}".'
    if schema != RESULT_SCHEMA:
        return f"has schema version {version}, and this fluxkit reads version 1; install the fluxkit that wrote it."
    first = error.errors()[0]
    return f"does not follow {RESULT_SCHEMA}: {'.'.join(map(str, first['loc']))}: {first['msg']}."


def _share_field_names(result: RunResult) -> None:
    """Lets scores share one set of the names of the fields that they were given, which no frozen model ever changes.

    Each had its own, of 728 bytes: of a thousand results with a thousand scores each that was most of the memory.
    """
    scores = (*result.quality.reconstruction, *result.quality.validation) if result.quality else ()
    shared: dict[frozenset[str], set[str]] = {}
    for score in scores:
        names = shared.setdefault(frozenset(score.__pydantic_fields_set__), score.__pydantic_fields_set__)
        object.__setattr__(score, "__pydantic_fields_set__", names)


def find_results(paths: Iterable[Path], unreadable: list[str] | None = None) -> list[tuple[Path, RunResult]]:
    """Every result under result files, run folders and study folders, with its file, in a fixed order, each id once.

    Args:
        paths: where to look.
        unreadable: takes a sentence for every result that can't be read, and the others are given; None: one is enough
            to refuse them all.

    Raises:
        UsageError: a path holds no result, one of the results can't be read, or none can.
    """
    sources: list[tuple[Path, RunResult]] = []
    for path in paths:
        files = list(_result_files(path))
        if not files:
            raise UsageError(
                f"{path} holds no {RESULT_FILE}, nor do the folders up to {MAX_DEPTH} below it. "
                "Give a result.json, a run folder or a study folder."
            )
        for file in files:
            try:
                sources.append((file, read_result(file)))
            except UsageError as error:
                if unreadable is None:
                    raise
                unreadable.append(str(error))
    if unreadable and not sources:
        raise UsageError(unreadable[0])
    if not sources:
        raise UsageError("No result was given. Give a result.json, a run folder or a study folder.")
    return once_each(sources, lambda source: source[1])


def _result_files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for depth in range(MAX_DEPTH + 1):
        yield from sorted(path.glob("/".join(["*"] * depth + [RESULT_FILE])))


def inside_run_folder(folder: Path, relative: str) -> Path | None:
    """Where a path in a stranger's result leads, whether or not a file lies there.

    None if it is absolute, climbs, has a sign that other systems read as a separator, or leads out by a link.
    """
    parts = PurePosixPath(relative).parts
    plain = parts and ".." not in parts and not any(sign in relative for sign in "\\:")
    return path_inside(folder, relative) if plain else None


def safe_path(folder: Path, relative: str) -> Path:
    """The regular file that `relative` names inside `folder`; what a stranger's result names can lie nowhere else.

    Raises:
        UsageError: the path leads out of the folder, or to no regular file.
    """
    path = inside_run_folder(folder, relative)
    if path is None:
        raise UsageError(f"{relative!r} is not a path inside a run folder, so it is not opened.")
    if not path.exists():
        raise UsageError(f"{relative!r} is not in its run folder.")
    if not path.is_file():
        raise UsageError(f"{relative!r} is not a regular file, so it is not opened.")
    return path


def manifest(folder: Path, *, completed: bool = False) -> tuple[Artifact, ...]:
    """Every regular file of the folder except the result itself, its hash and the locks; by path.

    Of a completed run without what only one that goes on needs, which is removed once the result is written.
    """
    return tuple(
        Artifact(path=path.relative_to(folder).as_posix(), sha256=file_sha256(path), bytes=path.stat().st_size)
        for path in files_of(folder)
        if path.is_file() and not path.is_symlink() and not (completed and is_working_file(folder, path))
    )


def is_working_file(folder: Path, file: Path) -> bool:
    """Whether a file of a run folder is the checkpoint, or a state that is still to be graded."""
    return bool(_WORKING_FILE.fullmatch(file.relative_to(folder).as_posix()))


def remove_working_files(folder: Path) -> None:
    """Removes what only a run that is to go on needs, and leftovers of its last writes; its result is on disk."""
    with suppress(OSError):
        remove_leftovers(folder)
    for path in filter(partial(is_working_file, folder), files_of(folder)):
        with suppress(OSError):
            remove(folder, path)
            path.parent.rmdir()  # once it is empty


def files_of(folder: Path) -> list[Path]:
    """All that lies in a run folder and is no folder, except the result itself, its hash, a signature and the locks."""
    own = {folder / name for name in (RESULT_FILE, SHA256_FILE, SIGNATURE_FILE)}
    own |= {path for path in folder.iterdir() if LOCKS.fullmatch(path.name)}
    return sorted(path for path in folder.rglob("*") if path not in own and (path.is_symlink() or not path.is_dir()))
