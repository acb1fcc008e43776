"""`python -m fluxkit.engine RUN_FOLDER`: one rank of one run. Facts go to its events file, words to its log."""

import faulthandler
import os
import sys
import time
import traceback
from pathlib import Path

from fluxkit.engine.process.error_message import meaning
from fluxkit.engine.process.event_log import EventLog
from fluxkit.engine.process.package_check import check_packages, importing
from fluxkit.engine.process.parent_watch import ParentWatch
from fluxkit.errors import ExitCode, FluxkitError
from fluxkit.files.lock import rank_lock
from fluxkit.machine.environment import to_unset
from fluxkit.machine.stop_requests import StopRequestedError, StopRequests, stop_requests
from fluxkit.plan.plan import Job
from fluxkit.plan.storage import grace_seconds
from fluxkit.record.events import Failed, Finished
from fluxkit.record.run_folder import read_job


def main(folder: Path) -> int:
    """Executes the job in `folder`, which is this rank's while it does; gives the exit code."""
    rank = int(os.environ.get("RANK", "0"))
    # First the lock, then the look at the parents: whoever resumes a run whose launcher is gone sees one or the other.
    with stop_requests() as stop, rank_lock(folder, rank):
        parents = ParentWatch()
        job = read_job(folder)
        log = EventLog(folder, rank=rank, attempt=job.attempt)
        parents.start(lambda: stop.requested, grace_seconds(job.spec, job.plan.trainable_parameters))
        code = _execute(job, folder, log, stop)
        # After a crash the other ranks may wait for this one in a collective, and leaving would wait for them.
        if code != ExitCode.RUN_FAILED:
            _leave_group()
    return code


def _execute(job: Job, folder: Path, log: EventLog, stop: StopRequests) -> int:
    try:
        with stop.at_once():
            stop.check()
            with log.during("import"):
                check_packages()
                with importing(job.spec):
                    from fluxkit.engine.run import Run  # seconds of torch, and they are one of the phases
            Run(job, folder, log, stop).execute()
            stop.ignore()
    except (StopRequestedError, KeyboardInterrupt):
        return _stopped(log, stop)
    except Exception as error:  # noqa: BLE001 - whatever it was, the result must say so
        if not stop.requested:
            stop.ignore()
            return _fail(log, error)
        # Told to stop as well: a rank that heard it sooner has left the collective that this one was waiting in.
        traceback.print_exception(error)
        return _stopped(log, stop)
    log.write(Finished, outcome="completed")
    log.flush_to_disk()
    return ExitCode.DONE


def _stopped(log: EventLog, stop: StopRequests) -> int:
    stop.ignore()
    log.write(Finished, outcome="checkpointed")
    log.flush_to_disk()
    return ExitCode.CHECKPOINTED


def _leave_group() -> None:
    """Leaves the other processes in order, or NCCL warns of resources that leaked."""
    # Not by an import: where torch was not loaded, or only half of it, no group was joined.
    distributed = sys.modules.get("torch.distributed")
    if distributed and getattr(distributed, "is_initialized", bool)():
        distributed.destroy_process_group()


def _fail(log: EventLog, error: Exception) -> int:
    code = error.exit_code if isinstance(error, FluxkitError) else ExitCode.RUN_FAILED
    message = meaning(error)
    if not isinstance(error, FluxkitError) and (names := to_unset("".join(traceback.format_exception(error)))):
        message += f" (may come of the environment: unset {', '.join(names)})"
    facts = {"phase": log.phase, "kind": type(error).__name__, "message": message, "exit_code": int(code)}
    log.write(Failed, **facts, unix_seconds=time.time())
    if not isinstance(error, FluxkitError):
        traceback.print_exception(error)
    return code


if __name__ == "__main__":
    faulthandler.enable()  # a crash of native code says in the log where Python was
    StopRequests.listen()
    try:
        exit_code = main(Path(sys.argv[1]))
    except FluxkitError as error:  # before there are events that could tell
        sys.stderr.write(f"{error}\n")
        exit_code = error.exit_code
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is on disk. Taking Python and torch apart costs 1.5 s of a core, and not everybody waits so long.
    os._exit(exit_code)
