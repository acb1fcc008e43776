"""`python -m fluxkit.engine RUN_FOLDER`: one rank of one run. Facts go to its events file, words to its log."""

import os
import sys
import time
import traceback
from pathlib import Path

from fluxkit.engine.process.error_message import meaning
from fluxkit.engine.process.event_log import EventLog
from fluxkit.engine.process.package_check import check_packages
from fluxkit.engine.process.parent_watch import ParentWatch
from fluxkit.engine.process.stop_signal import StopRequestedError, StopSignal
from fluxkit.errors import ExitCode, FluxkitError
from fluxkit.machine.environment import to_unset
from fluxkit.plan.plan import Job
from fluxkit.plan.storage import grace_seconds
from fluxkit.record.events import Failed, Finished
from fluxkit.record.lock import rank_lock
from fluxkit.record.run_folder import read_job


def main(folder: Path) -> int:
    """Executes the job in `folder`, which is this rank's while it does; gives the exit code."""
    rank = int(os.environ.get("RANK", "0"))
    # First the lock, then the look at the parents: whoever resumes a run whose launcher is gone sees one or the other.
    with rank_lock(folder, rank):
        parents = ParentWatch()
        job = read_job(folder)
        log = EventLog(folder, rank=rank, attempt=job.attempt)
        stop = StopSignal()
        parents.start(lambda: stop.requested, grace_seconds(job.spec, job.plan.trainable_parameters))
        code = _execute(job, folder, log, stop)
        # After a crash the other ranks may wait for this one in a collective, and leaving would wait for them.
        if code != ExitCode.RUN_FAILED:
            with stop.deferred():  # a second signal changes nothing any more
                _leave_group()
        return code


def _execute(job: Job, folder: Path, log: EventLog, stop: StopSignal) -> int:
    try:
        with log.during("import"):
            check_packages()
            from fluxkit.engine.run import Run  # seconds of torch, and they are one of the phases
        Run(job, folder, log, stop).execute()
    except StopRequestedError:
        log.write(Finished, outcome="checkpointed")
        log.flush_to_disk()
        return ExitCode.CHECKPOINTED
    except Exception as error:  # noqa: BLE001 - whatever it was, the result must say so
        return _fail(log, error)
    log.write(Finished, outcome="completed")
    log.flush_to_disk()
    return ExitCode.DONE


def _leave_group() -> None:
    """Leaves the other processes in order, or NCCL warns of resources that leaked."""
    # Not by an import: where torch was not loaded, or only half of it, no group was joined.
    distributed = sys.modules.get("torch.distributed")
    if distributed and distributed.is_initialized():
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
    try:
        sys.exit(main(Path(sys.argv[1])))
    except FluxkitError as error:  # before there are events that could tell
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
