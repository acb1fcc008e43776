"""Whether a result is what it says: its own hash, its files', and all that events, plan and spec tell once more."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fluxkit import __version__
from fluxkit.errors import UsageError, printable
from fluxkit.files.atomic_file import file_sha256, sha256_beside
from fluxkit.fold.fold import derive, fold
from fluxkit.fold.outcome import Ending, folded_if_dead, status_and_error
from fluxkit.fold.replay import replay
from fluxkit.record.identity import configuration_sha256, unlabelled_configuration_sha256
from fluxkit.record.redact import public_spec, redact
from fluxkit.record.result import RunResult
from fluxkit.record.run_folder import (
    JOB_FILE,
    LOG_FILE,
    RESULT_FILE,
    files_of,
    folder_of,
    inside_run_folder,
    is_working_file,
    read_job,
    read_result,
)
from fluxkit.record.study import STUDY_FILE, Entry, Study, read_study
from fluxkit.units import counted
from fluxkit.values import read_regular

FOLDED = ("inputs", "phases", "interruptions", "tuning", "quality", "inference", "agreement", "canary")
"""Fields that the events tell, and nothing else may."""
JOB = ("spec", "plan", "seed", "kit")
"""Fields that the engine was started with."""
MAX_HASH_BYTES = 1000
_SIGNAL = re.compile(r"told to stop by (SIG\w+)")


class Verdict(NamedTuple):
    """What verifying a file came to."""

    file: Path
    problems: list[str]
    """What is wrong, as sentences; empty where nothing is."""
    notes: list[str]
    """What could not be checked, and why that is no fault."""


def verify_all(paths: Sequence[Path]) -> list[Verdict]:
    """A verdict on every result and study file under `paths`.

    Raises:
        UsageError: a path does not exist or holds no result.
    """
    return [
        verify_study(file) if file.name == STUDY_FILE else verify_result(file)
        for path in paths
        for file in _files_to_verify(path)
    ]


def _files_to_verify(path: Path) -> list[Path]:
    """Also those that can't be read as a result: that is a finding here, not a mistake of the user."""
    results = sorted(path.rglob(RESULT_FILE)) if path.is_dir() else [path]
    if not results or not path.exists():
        raise UsageError(f"{path} holds no {RESULT_FILE}. Give a result.json, a run folder or a study folder.")
    return [*(sorted(path.rglob(STUDY_FILE)) if path.is_dir() else []), *results]


def verify_result(file: Path) -> Verdict:
    """Whether the result in a run folder or file is what its hash, its files, events, plan and spec say."""
    try:
        stored = read_result(file)
    except UsageError as error:
        return Verdict(file, [str(error)], [])
    folder = folder_of(file)
    result = folded_if_dead(folder, stored)
    told = derive(result)
    problems, notes = [*_claims(result), *_derived(result, told)], _other_version(result, told)
    if file.is_dir() or file.name == RESULT_FILE:
        hashed, unhashed = _own_hash(folder / RESULT_FILE)
        problems, notes = [*hashed, *problems], [*unhashed, *notes, *_left_out(folder, result)]
        if stored.status == result.status and not _is_lone(folder, stored):
            problems += [*_files(folder, stored), *_job(folder, stored), *_events(folder, stored)]
    return Verdict(file, list(map(printable, problems)), list(map(printable, notes)))


def verify_study(file: Path) -> Verdict:
    """Whether a `study.json` is the file that was written, and the runs beside it are those that it names."""
    problems, notes = _own_hash(file)
    try:
        study = read_study(file.parent)
    except UsageError as error:
        return Verdict(file, [*problems, str(error)], notes)
    entries = {entry.folder: entry for entry in study.runs}
    runs = {path.parent.name: path for path in sorted(file.parent.glob(f"*/{RESULT_FILE}"))}
    problems += [f"{name} is a run that {STUDY_FILE} does not name" for name in runs if name not in entries]
    for name, path in runs.items():
        if name in entries:
            problems += _entry(study, entries[name], path)
    absent = sum(entry.folder not in runs for entry in study.needed)
    notes += [f"{absent} of its {len(study.needed)} runs are not here"] if absent else []
    return Verdict(file, list(map(printable, problems)), list(map(printable, notes)))


def _entry(study: Study, entry: Entry, file: Path) -> Iterator[str]:
    """What a run says otherwise than its study; one that can't be read is told of by itself."""
    try:
        result = read_result(file)
    except UsageError:
        return
    asked = {"study": study.id, "spec": study.specs[entry.spec], "repeat": entry.repeat, "order": entry.order}
    for name, value in (asked | {"seed": entry.seed, "looks": study.looks}).items():
        # One that came later, as the looks did, is no claim of an older result.
        if name in result.model_fields_set and getattr(result, name) != value:
            yield f"{name} of {entry.folder} is not what {STUDY_FILE} says"


def _own_hash(file: Path) -> tuple[list[str], list[str]]:
    """What the hash beside a file finds, and that there is none: those of older versions, and copies, lack it."""
    beside = sha256_beside(file)
    try:
        line = read_regular(beside, MAX_HASH_BYTES)
    except FileNotFoundError:
        return [], [f"{beside.name} is not beside it: a changed field that nothing else tells would not be seen"]
    except OSError as error:
        return [f"{beside.name} can't be read: {error.strerror}"], []
    if line == f"{file_sha256(file)}  {file.name}\n".encode():
        return [], []
    return [f"{file.name} was changed: its hash is not the one in {beside.name}"], []


def _left_out(folder: Path, result: RunResult) -> list[str]:
    """What could not be checked because it was left out of this copy on purpose."""
    names = [artifact.path for artifact in result.artifacts if artifact.left_out]
    absent = [name for name in names if not ((path := inside_run_folder(folder, name)) and path.exists())]
    if not absent:
        return []
    events = any(name.startswith("events/") for name in absent)
    what = ", the events among them: its raw values were not compared with those" if events else ""
    return [f"{len(absent)} of {len(result.artifacts)} files were left out of this copy{what}"]


def _is_lone(folder: Path, result: RunResult) -> bool:
    """Whether a `result.json` travelled without its folder."""
    own = (folder / JOB_FILE, folder / LOG_FILE, folder / "events")
    listed = (inside_run_folder(folder, artifact.path) for artifact in result.artifacts)
    return not any(path and path.exists() for path in (*own, *listed))


def _claims(result: RunResult) -> Iterator[str]:
    """What it says of itself that its own values do not bear out."""
    if result.status == "started":
        yield "the run is still going on, so there is nothing to verify yet"
    if result.spec.workload_sha256() != result.workload_sha256:
        yield "workload_sha256 is not the hash of the spec in it"
    made_by = (result.spec, result.system.before)
    if result.configuration_sha256 not in {configuration_sha256(*made_by), unlabelled_configuration_sha256(*made_by)}:
        yield "configuration_sha256 is not the hash of the spec, the hardware and the packages in it"
    seen = {device.name for device in result.system.before.devices_of(result.plan.device)}
    for name in sorted(set(result.plan.device_names) - seen):
        yield f"the plan names the device {name}, which the machine did not have"


def _derived(result: RunResult, told: RunResult) -> Iterator[str]:
    """Every number and every check that the raw values do not give."""
    for table in ("summary", "predicted_over_measured"):
        stored, given = getattr(result, table), getattr(told, table)
        for name in sorted(stored.model_fields_set):  # one that came later is no claim of an older result
            if (value := getattr(stored, name)) != (derived := getattr(given, name)):
                yield f"{table}.{name} is {value}, but the raw values give {derived}"
    if result.kit.version == __version__:
        for check in sorted(set(result.checks) ^ set(told.checks), key=lambda check: (check.id, check.grade)):
            verb = "is claimed, but not found" if check in result.checks else "is found, but not in it"
            yield f"the check {check.id} with grade {check.grade} for {check.subject} {verb}"
        if set(result.checks) == set(told.checks) and result.checks != told.checks:
            yield "its checks are in another order, or there more than once"


def _other_version(result: RunResult, told: RunResult) -> list[str]:
    """Another version's checks may be others, which is no fault."""
    differing = set(result.checks) ^ set(told.checks)
    if result.kit.version == __version__ or not differing:
        return []
    checks = counted(len(differing), "check")
    return [f"made by fluxkit {result.kit.version}; {__version__} grades it otherwise ({checks})"]


def _files(folder: Path, result: RunResult) -> Iterator[str]:
    """Files that are not those of the manifest, and those that the manifest does not name."""
    listed = set()
    for artifact in result.artifacts:
        path = inside_run_folder(folder, artifact.path)
        listed.add(folder / artifact.path)
        if path is None:
            yield f"{artifact.path} of the manifest is not a path inside the run folder"
        elif not path.is_file():
            if not artifact.left_out:
                yield f"{artifact.path} is missing"
        elif artifact.left_out:
            yield f"{artifact.path} is marked as left out, and lies there"
        elif path.stat().st_size != artifact.bytes or file_sha256(path) != artifact.sha256:
            yield f"{artifact.path} was changed: its hash is not the manifest's"
    for path in files_of(folder):
        # A death may have come between a result and the removal of what it no longer needs.
        left_over = result.status == "completed" and is_working_file(folder, path)
        if path not in listed and not left_over:
            yield f"{path.relative_to(folder)} is not in the manifest"


def _job(folder: Path, result: RunResult) -> Iterator[str]:
    """Spec, plan and seed are those that the engine was started with."""
    if not (folder / JOB_FILE).exists():
        return  # the manifest says whether it is missing
    try:
        job = read_job(folder)
    except (OSError, ValueError):
        yield f"{JOB_FILE} can't be read as what a run was started with"
        return
    job = job.model_copy(update={"spec": public_spec(job.spec)})
    stored, told = (value.model_dump(mode="json", include=set(JOB)) for value in (result, job))
    for name in JOB if job.kit else JOB[:-1]:  # jobs of older versions do not name it
        if stored[name] != told[name]:
            yield f"{_first_difference(name, stored[name], told[name])} is not what {JOB_FILE} says"


def _events(folder: Path, result: RunResult) -> Iterator[str]:
    """The raw values and the end are those of the events; a changed number with a summary to match would pass."""
    listed = [artifact.path for artifact in result.artifacts if artifact.path.startswith("events/")]
    if any(not (folder / name).exists() for name in listed):
        return  # left out on purpose, or told as missing
    run = replay(folder)
    stored, told = (value.model_dump(mode="json", include=set(FOLDED)) for value in (result, fold(folder, result, run)))
    if stored["tuning"] and told["tuning"] and stored["tuning"]["checkpoint_seconds"] is None:
        told["tuning"]["checkpoint_seconds"] = None  # the result was made before they were stored
    for name in FOLDED:
        if stored[name] != told[name]:
            yield f"{_first_difference(name, stored[name], told[name])} is not what the events tell"
    error = result.error
    signal = _SIGNAL.search(error.message) if error else None
    ending = Ending(error.exit_code if error else 0, signal[1] if signal else None)
    status, failure = status_and_error(folder, result, run, ending)
    if status != result.status:
        yield f"status is {result.status}, but events and log tell of a run that {status}"
    elif error and failure != error.model_copy(update={"message": redact(error.message, folder)}):
        yield "error is not what events and log tell"


def _first_difference(path: str, stored: Any, told: Any) -> str:
    """Where two JSON values part, as a path."""
    if isinstance(stored, dict) and isinstance(told, dict) and stored.keys() == told.keys():
        key = next(key for key in stored if stored[key] != told[key])
        return _first_difference(f"{path}.{key}", stored[key], told[key])
    if isinstance(stored, list) and isinstance(told, list) and len(stored) == len(told):
        place = next(place for place in range(len(stored)) if stored[place] != told[place])
        return _first_difference(f"{path}[{place}]", stored[place], told[place])
    return path
