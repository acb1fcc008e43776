"""Whether a result is what it says: its schema, its files' hashes, and its summary derived once more."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fluxkit.errors import UsageError, printable
from fluxkit.fold.fold import fold, summarise
from fluxkit.fold.outcome import folded_result
from fluxkit.record.atomic_file import RESULT_FILE, file_sha256
from fluxkit.record.identity import configuration_sha256, unlabelled_configuration_sha256
from fluxkit.record.result import RunResult
from fluxkit.record.run_folder import folder_of, inside_run_folder

FOLDED = ("inputs", "phases", "interruptions", "tuning", "quality", "inference", "agreement", "canary")
"""Fields that the events tell, and nothing else may."""


def verify_all(paths: Sequence[Path]) -> list[tuple[Path, list[str]]]:
    """Every result file under `paths` with what is wrong with it.

    Raises:
        UsageError: a path does not exist or holds no result.
    """
    return [(file, problems(file)) for path in paths for file in _files_to_verify(path)]


def _files_to_verify(path: Path) -> list[Path]:
    """Also those that can't be read as a result: that is a finding here, not a mistake of the user."""
    files = sorted(path.rglob(RESULT_FILE)) if path.is_dir() else [path]
    if not files or not path.exists():
        raise UsageError(f"{path} holds no {RESULT_FILE}. Give a result.json, a run folder or a study folder.")
    return files


def problems(file: Path) -> list[str]:
    """What is wrong with the result in a run folder or file, as sentences; empty where nothing is."""
    try:
        result = folded_result(file)
    except UsageError as error:
        return [str(error)]
    sentences = [*_claims(result), *_summary(result)]
    if file.is_dir() or file.name == RESULT_FILE:
        sentences += [*_files(folder_of(file), result), *_events(folder_of(file), result)]
    return [printable(sentence) for sentence in sentences]


def left_out(file: Path) -> str | None:
    """What could not be checked because it was left out of this copy on purpose, as a sentence; None: nothing."""
    try:
        result = folded_result(file)
    except UsageError:
        return None
    names = [artifact.path for artifact in result.artifacts if artifact.left_out]
    absent = [name for name in names if not ((path := inside_run_folder(folder_of(file), name)) and path.exists())]
    if not absent:
        return None
    events = any(name.startswith("events/") for name in absent)
    return f"{len(absent)} of {len(result.artifacts)} files were left out of this copy" + (
        ", the events among them: its raw values were not compared with those" if events else ""
    )


def _claims(result: RunResult) -> Iterator[str]:
    """What it says of itself that its own values do not bear out."""
    if result.status == "started":
        yield "the run is still going on, so there is nothing to verify yet"
    if result.spec.workload_sha256() != result.workload_sha256:
        yield "workload_sha256 is not the hash of the spec in it"
    made_by = (result.spec, result.system.before)
    if result.configuration_sha256 not in {configuration_sha256(*made_by), unlabelled_configuration_sha256(*made_by)}:
        yield "configuration_sha256 is not the hash of the spec, the hardware and the packages in it"


def _summary(result: RunResult) -> Iterator[str]:
    """Every number of the summary that the raw values do not give."""
    derived = summarise(result).model_dump()
    # A field that came later is no claim of a result that was made before it.
    for name, value in result.summary.model_dump(exclude_unset=True).items():
        if value != derived[name]:
            yield f"summary.{name} is {value}, but the raw values give {derived[name]}"


def _files(folder: Path, result: RunResult) -> Iterator[str]:
    """Files that are not those of the manifest; a lone `result.json` travels without any of them."""
    paths = [(artifact, inside_run_folder(folder, artifact.path)) for artifact in result.artifacts]
    if not any(path and path.is_file() for _, path in paths):
        return
    for artifact, path in paths:
        if path is None:
            yield f"{artifact.path} of the manifest is not a path inside the run folder"
        elif not path.is_file():
            if not artifact.left_out:
                yield f"{artifact.path} is missing"
        elif path.stat().st_size != artifact.bytes or file_sha256(path) != artifact.sha256:
            yield f"{artifact.path} was changed: its hash is not the manifest's"


def _events(folder: Path, result: RunResult) -> Iterator[str]:
    """The raw values are those of the events; a changed number with a summary to match would pass otherwise."""
    listed = any(artifact.path.startswith("events/") for artifact in result.artifacts)
    if not listed or not (folder / "events").is_dir():
        return
    stored, told = (value.model_dump(mode="json", include=set(FOLDED)) for value in (result, fold(folder, result)))
    if stored["tuning"] and told["tuning"] and stored["tuning"]["checkpoint_seconds"] is None:
        told["tuning"]["checkpoint_seconds"] = None  # the result was made before they were stored
    for name in FOLDED:
        if stored[name] != told[name]:
            yield f"{_first_difference(name, stored[name], told[name])} is not what the events tell"


def _first_difference(path: str, stored: Any, told: Any) -> str:
    """Where two JSON values part, as a path."""
    if isinstance(stored, dict) and isinstance(told, dict) and stored.keys() == told.keys():
        key = next(key for key in stored if stored[key] != told[key])
        return _first_difference(f"{path}.{key}", stored[key], told[key])
    if isinstance(stored, list) and isinstance(told, list) and len(stored) == len(told):
        place = next(place for place in range(len(stored)) if stored[place] != told[place])
        return _first_difference(f"{path}[{place}]", stored[place], told[place])
    return path
