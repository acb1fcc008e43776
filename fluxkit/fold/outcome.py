"""How a run ended, from its events, exit code and log: in memory for whoever reads it, on disk for whoever runs it."""

import re
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from fluxkit.errors import ExitCode, MachineError
from fluxkit.files.atomic_file import remove_leftovers, to_json, write_atomically
from fluxkit.files.contained import refuse_links
from fluxkit.files.lock import RunLock, is_held
from fluxkit.fold.fold import fold, unreadable
from fluxkit.fold.replay import RunFacts, replay
from fluxkit.machine.stop_requests import STOP_SIGNALS
from fluxkit.machine.system import System
from fluxkit.record.facts import RunFailure
from fluxkit.record.redact import home_as_tilde, public_spec, redact, redact_file
from fluxkit.record.result import FinalStatus, RunResult
from fluxkit.record.run_folder import (
    JOB_FILE,
    LOG_FILE,
    LOG_HEADER,
    RESULT_FILE,
    find_results,
    folder_of,
    manifest,
    read_job,
    read_result,
    remove_working_files,
    write_result,
)
from fluxkit.spec.run_spec import RunSpec
from fluxkit.units import counted, span
from fluxkit.values import read_regular

LOG_LINES = 8
LOG_BYTES = 4000
MAX_LOG_BYTES = 100_000_000
# Source: torchrun's log of a lost worker, torch/distributed/elastic/multiprocessing/api.py.
_LOST_RANK = re.compile(r"failed \(exitcode: (-?\d+)\) local_rank: (\d+)")
# Source: the same, errors/__init__.py; here the rank counts over all machines.
_WORKER = re.compile(r"rank\s+: (\d+) \(.*?exitcode\s+: (-?\d+) ", re.DOTALL)
_ROOT_CAUSE = re.compile(rf"Root Cause.*?{_WORKER.pattern}", re.DOTALL)


class Ending(NamedTuple):
    """What the launcher saw of the engine's end."""

    exit_code: int | None
    """Negative: ended by that signal; None: nobody saw it, the launcher died first."""
    signal_name: str | None = None
    """The signal that was passed on to it."""


def folded_results(
    paths: Iterable[Path], *, with_manifest: bool = False, unreadable: list[str] | None = None
) -> list[tuple[Path, RunResult]]:
    """Every result under files, run folders and study folders, with its file; runs that died are folded in memory.

    This is how results are read, and nothing is written: a copy on a read-only disk says the same.

    Args:
        paths: where to look.
        with_manifest: whether a run that died also lists its files, which costs reading all of them.
        unreadable: takes a sentence for every result that can't be read, and the others are given.

    Raises:
        UsageError: a path holds no result, one of the results can't be read, or none can.
    """
    return [
        (file, folded_if_dead(file.parent, result, with_manifest=with_manifest))
        for file, result in find_results(paths, unreadable)
    ]


def folded_result(path: Path) -> RunResult:
    """The result of a run folder or file; a run that was left `started` by a death is folded, in memory alone.

    Raises:
        UsageError: it cannot be read or is no result.
    """
    return folded_if_dead(folder_of(path), read_result(path))


def settle_dead_run_on_disk(path: Path) -> RunResult:
    """The result of a run folder or file; a run that was left `started` by a death is folded and written for good.

    A folder that can't be written, or that another is at work in, is still read: what it says does not change.

    Raises:
        UsageError: it cannot be read or is no result.
    """
    result, folder = read_result(path), folder_of(path)
    if _is_dead(folder, result):
        with suppress(OSError, MachineError), RunLock(folder):
            return settle_held(folder)
    return folded_if_dead(folder, read_result(path))


def settle_held(folder: Path) -> RunResult:
    """The result of a run folder that the caller holds: one that is left `started` is dead, and settled on disk.

    Raises:
        UsageError: it cannot be read or is no result.
        MachineError: something in the folder is a link.
    """
    result = read_result(folder)
    if result.status != "started" or not (folder / JOB_FILE).is_file():
        return result
    refuse_links(folder)
    return settle_on_disk(folder, result, Ending(exit_code=None))


def settle_on_disk(
    folder: Path, result: RunResult, ending: Ending, after: System | None = None, told: RunFacts | None = None
) -> RunResult:
    """Folds the run that has ended and writes its result for good, with the manifest of its files.

    `told` is what its events tell, where they were read already.
    """
    remove_leftovers(folder)
    _make_portable(folder)
    looks = result.system.model_copy(update={"after": after}) if after else result.system
    folded = _folded(folder, result.model_copy(update={"system": looks}), ending, told)
    # Until it is completed, a resumed attempt needs to find the weights.
    _rewrite_job(folder, public_spec if folded.status == "completed" else home_as_tilde)
    completed = folded.status == "completed"
    settled = folded.model_copy(update={"artifacts": manifest(folder, completed=completed)})
    write_result(folder, settled)
    if completed:
        remove_working_files(folder)
    return settled


def _is_dead(folder: Path, result: RunResult) -> bool:
    """Whether it is `started` without anybody at work, in the place where it was begun.

    A result file that was copied elsewhere has nothing to fold.
    """
    begun_here = (folder / RESULT_FILE).is_file() and (folder / JOB_FILE).is_file()
    return result.status == "started" and begun_here and not is_held(folder)


def folded_if_dead(folder: Path, result: RunResult, *, with_manifest: bool = False) -> RunResult:
    """`result` of a folder, folded in memory where it was left `started` by a death."""
    if not _is_dead(folder, result):
        return result
    folded = _folded(folder, result, Ending(exit_code=None))
    if not with_manifest:
        return folded
    return folded.model_copy(update={"artifacts": manifest(folder, completed=folded.status == "completed")})


def _folded(folder: Path, result: RunResult, ending: Ending, told: RunFacts | None = None) -> RunResult:
    run = told or replay(folder)
    status, error = status_and_error(folder, result, run, ending)
    return fold(folder, result.model_copy(update={"status": status, "error": error}), run)


def status_and_error(
    folder: Path, result: RunResult, run: RunFacts, ending: Ending
) -> tuple[FinalStatus, RunFailure | None]:
    """Status and, unless it completed, where and why it ended.

    Events outrank exit codes: what all ranks say they have done is done, however their processes ended.
    """
    if failure := unreadable(run):
        return "failed", failure
    outcomes = [run.outcomes.get(rank) for rank in range(result.plan.processes)]
    if all(outcome == "completed" for outcome in outcomes):
        return "completed", None
    # A rank that was told to stop alone leaves the others in a collective, and they complain of it.
    # One that torchrun stopped because another was lost was not told from outside.
    lost = _lost_rank(folder) if result.plan.processes > 1 else None
    by_itself = lost is None or lost[1] == ExitCode.CHECKPOINTED
    told = bool(ending.signal_name) or ("checkpointed" in outcomes and by_itself)
    if run.failures and not told:
        return "failed", _first_failure(folder, result, run, ending)
    politely = ending.exit_code is not None and -ending.exit_code in STOP_SIGNALS
    if told or politely or ending.exit_code == ExitCode.CHECKPOINTED:
        checkpointed = all(outcome == "checkpointed" for outcome in outcomes)
        return "interrupted", _interruption(run, ending, checkpointed=checkpointed)
    if ending.exit_code is None:
        message = "The run ended without a word, with the process that watched it: killed, or the machine stopped."
        return "interrupted", RunFailure(phase=run.phase, kind="Lost", message=message)
    return "failed", _death(folder, result, run, ending.exit_code)


def _interruption(run: RunFacts, ending: Ending, *, checkpointed: bool) -> RunFailure:
    """Told to stop from outside: nothing is wrong with the run."""
    by = f" by {ending.signal_name}" if ending.signal_name else ""
    late = ", and was ended before it had" if ending.exit_code == -signal.SIGKILL and not checkpointed else ""
    if late and run.seconds:
        late += f" (its longest step took {span(max(run.seconds))})"
    message = f"The run was told to stop{by}{late}; {_saved(run)}. fluxkit resume continues it."
    kind = "Checkpointed" if checkpointed else "Stopped"
    return RunFailure(phase=run.phase, kind=kind, message=message, exit_code=ending.exit_code)


def _saved(run: RunFacts) -> str:
    """How much of its tuning the last checkpoint holds, by the events."""
    steps = len(run.losses)
    if not steps:
        return "it had not begun to tune"
    if run.checkpoint is None:
        return f"of {counted(steps, 'step')} none was saved yet"
    share = "all" if run.checkpoint == steps else f"{run.checkpoint} of"
    return f"its checkpoint holds {share} {counted(steps, 'step')}"


def _first_failure(folder: Path, result: RunResult, run: RunFacts, ending: Ending) -> RunFailure:
    """The cause: a rank that was killed, or else the earliest last words; the other ranks fail because of it."""
    rank, failed = min(run.failures, key=lambda pair: (pair[1].unix_seconds or 0.0, pair[1].at_seconds))
    kind, message = failed.kind, redact(failed.message, folder)
    lost = _lost_rank(folder) if result.plan.processes > 1 else None
    if lost and lost[0] not in {rank for rank, _ in run.failures}:
        kind = "Killed" if lost[1] < 0 else "EngineDied"
        message = f"rank {lost[0]} {_end(lost[1])}; then rank {rank} said: {message}"
    elif result.plan.processes > 1:
        message = f"rank {rank}: {message}"
    code = failed.exit_code if ending.exit_code is None else ending.exit_code
    return RunFailure(phase=failed.phase or run.phase, kind=kind, message=message, exit_code=code)


def _death(folder: Path, result: RunResult, run: RunFacts, exit_code: int) -> RunFailure:
    """The engine ended without last words in its events: the log and the exit code have to tell."""
    tail, lost = _log_tail(folder), _lost_rank(folder) if result.plan.processes > 1 else None
    who, code = (f"rank {lost[0]}", lost[1]) if lost else ("The engine", exit_code)
    message = f"{who} {_end(code)}"
    message += f". Last lines of {LOG_FILE}: {tail}" if tail else "."
    killed = exit_code < 0 or (lost is not None and lost[1] < 0)
    return RunFailure(phase=run.phase, kind="Killed" if killed else "EngineDied", message=message, exit_code=exit_code)


def _end(exit_code: int) -> str:
    """How a process ended, in words."""
    if exit_code >= 0:
        return f"ended with exit code {exit_code} and without a result"
    words = f"was ended by signal {-exit_code}"
    with suppress(ValueError):  # a number that this system has no name for
        words += f" ({signal.Signals(-exit_code).name})"
    if -exit_code == signal.SIGKILL:
        words += ", most often the system's answer to memory running out: a smaller micro-batch needs less"
    return words


def _lost_rank(folder: Path) -> tuple[int, int] | None:
    """Rank and exit code of the worker that went first: the one that torchrun's log says, or one that was killed.

    Of several that torchrun finds ended at one look it names any as the first; torchrun itself ends with SIGTERM.
    """
    text = _log_text(folder)
    if root := _ROOT_CAUSE.search(text):
        named = [(int(root[1]), int(root[2])), *((int(rank), int(code)) for rank, code in _WORKER.findall(text))]
        return next((worker for worker in named if worker[1] < 0 and worker[1] != -signal.SIGTERM), named[0])
    lost = _LOST_RANK.search(text)
    return (int(lost[2]), int(lost[1])) if lost else None


def _log_text(folder: Path) -> str:
    """The log of the last attempt."""
    with suppress(OSError):
        text = read_regular(folder / LOG_FILE, MAX_LOG_BYTES).decode("utf-8", errors="replace")
        return text.rpartition(LOG_HEADER)[2].partition("\n")[2]
    return ""


def _log_tail(folder: Path) -> str:
    """The last lines of the engine itself; what torchrun says of a lost worker comes after them."""
    text = _log_text(folder)
    if lost := _LOST_RANK.search(text):
        text = text[: lost.start()].rpartition("\n")[0]
    lines = [line.strip() for line in text[-LOG_BYTES:].splitlines() if line.strip()]
    return redact(" | ".join(lines[-LOG_LINES:]), folder)


def _make_portable(folder: Path) -> None:
    """Nothing that the folder takes along names this machine's paths, user or host."""
    redact_file(folder / LOG_FILE, folder)
    for path in (folder / "events").glob("*.jsonl"):
        # Only last words may quote a path; captions and measured values stay as they were written.
        redact_file(path, folder, lines_with='"event":"failed"')


def _rewrite_job(folder: Path, change: Callable[[RunSpec], RunSpec]) -> None:
    with suppress(OSError, ValueError):
        job = read_job(folder)
        text = to_json(job.model_copy(update={"spec": change(job.spec)}))
        write_atomically(folder / JOB_FILE, text, below=folder)
