"""Whether a result is what it says: its schema, its files' hashes, and its summary derived once more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fluxkit.errors import UsageError, printable
from fluxkit.fold.fold import fold, summarise
from fluxkit.fold.outcome import load
from fluxkit.record.atomic_file import RESULT_FILE, file_sha256
from fluxkit.record.identity import configuration_sha256
from fluxkit.record.run_folder import inside

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from fluxkit.record.result import Artifact, RunResult

FOLDED = ("inputs", "phases", "interruptions", "tuning", "quality", "inference", "agreement", "canary")
"""Fields that the events tell, and nothing else may."""


def problems(file: Path) -> list[str]:
    """What is wrong with the result in a run folder or file, as sentences; empty where nothing is."""
    try:
        result = load(file)
    except UsageError as error:
        return [str(error)]
    folder = file if file.is_dir() else file.parent
    found = [*_status(result), *_hashes(result), *_summary(result)]
    if file.is_dir() or file.name == RESULT_FILE:
        found += [*_files(folder, result), *_events(folder, result)]
    return [printable(sentence) for sentence in found]


def has_files(folder: Path, result: RunResult) -> bool:
    """Whether at least one file of the manifest lies beside the result; a lone result.json travels without."""
    return any((path := inside(folder, each.path)) and path.is_file() for each in result.artifacts)


def left_out(file: Path) -> str | None:
    """What could not be checked because it was left out of this copy on purpose, as a sentence; None: nothing."""
    try:
        result = load(file)
    except UsageError:
        return None
    folder = file if file.is_dir() else file.parent
    named = [each.path for each in result.artifacts if each.left_out]
    absent = [name for name in named if (path := inside(folder, name)) is None or not path.exists()]
    if not absent:
        return None
    events = any(path.startswith("events/") for path in absent)
    return f"{len(absent)} of {len(result.artifacts)} files were left out of this copy" + (
        ", the events among them: its raw values were not compared with those" if events else ""
    )


def _status(result: RunResult) -> Iterator[str]:
    if result.status == "started":
        yield "the run is still going on, so there is nothing to verify yet"


def _hashes(result: RunResult) -> Iterator[str]:
    if result.spec.workload_sha256() != result.workload_sha256:
        yield "workload_sha256 is not the hash of the spec in it"
    if configuration_sha256(result.spec, result.system.before) != result.configuration_sha256:
        yield "configuration_sha256 is not the hash of the spec, the hardware and the packages in it"


def _summary(result: RunResult) -> Iterator[str]:
    """Every number of the summary that the raw values do not give."""
    stored, derived = result.summary.model_dump(), summarise(result).model_dump()
    for name, value in stored.items():
        if value != derived[name]:
            yield f"summary.{name} is {value}, but the raw values give {derived[name]}"


def _files(folder: Path, result: RunResult) -> Iterator[str]:
    if has_files(folder, result):
        for artifact in result.artifacts:
            yield from _file(folder, artifact)


def _file(folder: Path, artifact: Artifact) -> Iterator[str]:
    path = inside(folder, artifact.path)
    if path is None:
        yield f"{artifact.path} of the manifest is not a path inside the run folder"
    elif not path.is_file():
        if not artifact.left_out:
            yield f"{artifact.path} is missing"
    elif path.stat().st_size != artifact.bytes or file_sha256(path) != artifact.sha256:
        yield f"{artifact.path} was changed: its hash is not the manifest's"


def _events(folder: Path, result: RunResult) -> Iterator[str]:
    """The raw values are those of the events; a changed number with a summary to match would pass otherwise."""
    if not any(each.path.startswith("events/") for each in result.artifacts) or not (folder / "events").is_dir():
        return
    again = fold(folder, result)
    if result.tuning and again.tuning and result.tuning.checkpoint_seconds is None:  # made before it was stored
        again = again.model_copy(update={"tuning": again.tuning.model_copy(update={"checkpoint_seconds": None})})
    for name in FOLDED:
        stored, told = (_plain(getattr(each, name)) for each in (result, again))
        if stored != told:
            yield f"{_first_difference(name, stored, told)} is not what the events tell"


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def _first_difference(path: str, stored: Any, told: Any) -> str:
    """Where two JSON values part, as a path."""
    if isinstance(stored, dict) and isinstance(told, dict) and stored.keys() == told.keys():
        key = next(key for key in stored if stored[key] != told[key])
        return _first_difference(f"{path}.{key}", stored[key], told[key])
    if isinstance(stored, list) and isinstance(told, list) and len(stored) == len(told):
        place = next(place for place in range(len(stored)) if stored[place] != told[place])
        return _first_difference(f"{path}[{place}]", stored[place], told[place])
    return path


def verify_all(paths: Sequence[Path]) -> list[tuple[Path, list[str]]]:
    """Every result file under `paths` with what is wrong with it.

    Raises:
        UsageError: a path does not exist or holds no result.
    """
    return [(file, problems(file)) for path in paths for file in _result_files(path)]


def _result_files(path: Path) -> list[Path]:
    """Also those that can't be read as a result: that is a finding here, not a mistake of the user."""
    files = sorted(path.rglob(RESULT_FILE)) if path.is_dir() else [path]
    if not files or not path.exists():
        raise UsageError(f"{path} holds no {RESULT_FILE}. Give a result.json, a run folder or a study folder.")
    return files
