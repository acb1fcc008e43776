"""Further machines of a run: they take part in what the first one has begun, in a folder that all of them see.

The processes find each other by torchrun's own rendezvous. What they write lies in the run's folder as everywhere;
the first machine alone plans, watches and folds.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fluxkit.errors import MachineError, UsageError
from fluxkit.files.contained import refuse_link, refuse_links
from fluxkit.files.lock import machine_lock
from fluxkit.machine.environment import environment_notes
from fluxkit.machine.stop_requests import check_stop, stop_requests
from fluxkit.plan.placement import uuids
from fluxkit.plan.plan import Job
from fluxkit.record.run_folder import JOB_FILE, RESULT_FILE, read_job, read_result
from fluxkit.record.study import STUDY_FILE, read_study
from fluxkit.run.engine_process import Engine
from fluxkit.run.follow import Tail, follow
from fluxkit.run.progress import SILENT, Position, Reporter
from fluxkit.units import span

LOOK_SECONDS = 0.5
PATIENCE_SECONDS = 600.0
"""Without a run to join; as long as torchrun waits for its peers."""
LOG_LINES = 12


@stop_requests()
def join(folder: Path, *, reporter: Reporter = SILENT, patience_seconds: float = PATIENCE_SECONDS) -> int:
    """Takes part in every run of the study in `folder` until it is over; gives how many it took part in.

    Args:
        folder: of the study, which may still have to appear, or of one run.
        reporter: is told how it goes.
        patience_seconds: how long to wait for a run to begin.

    Raises:
        UsageError: the folder that the study is to appear in does not exist.
        MachineError: no run began, or it has all its machines, or something in its folder is a link.
        StopRequestedError, KeyboardInterrupt: told to stop, or interrupted by hand.
    """
    if not folder.absolute().parent.is_dir():
        raise UsageError(
            f"{folder.parent} is no folder here, so no other machine can begin a study in it; name a folder that all "
            "of them see."
        )
    reporter.say(
        f"Waiting up to {span(patience_seconds)} for a run of several machines to begin in {folder}: the first one "
        f"gives fluxkit run SPEC --set execution.nodes=N --out {folder}"
    )
    joined: set[tuple[Path, int]] = set()
    waiting_since = time.monotonic()
    while time.monotonic() - waiting_since < patience_seconds:
        run, job = next(((run, job) for run, job in _begun(folder) if (run, job.attempt) not in joined), (None, None))
        if run and job:
            joined.add((run, job.attempt))
            _take_part(run, job, reporter=reporter)
            waiting_since = time.monotonic()
            check_stop()
        elif joined and _is_over(folder):
            break
        time.sleep(LOOK_SECONDS)
    if not joined:
        raise MachineError(
            f"No run of several machines began in {folder}; on the first one give fluxkit run SPEC --out {folder} with "
            "execution.nodes above 1, in a folder that all of them see."
        )
    return len(joined)


def _begun(folder: Path) -> Iterator[tuple[Path, Job]]:
    """Runs of several machines that have begun and not ended, each with its job."""
    for file in sorted([*folder.glob(JOB_FILE), *folder.glob(f"*/{JOB_FILE}")]):
        try:
            job = read_job(file.parent)
            refuse_link(folder, file)
            if job.plan.nodes > 1 and read_result(file.parent).status == "started":
                yield file.parent, job
        except (OSError, ValueError):  # being written
            continue


def _is_over(folder: Path) -> bool:
    """Whether the first machine has ended everything that was to be done; it may have stopped before that."""
    runs = [folder]
    if (folder / STUDY_FILE).is_file():
        runs = [folder / entry.folder for entry in read_study(folder).needed]
    ended = [read_result(run).status for run in runs if (run / RESULT_FILE).is_file()]
    return "interrupted" in ended or (len(ended) == len(runs) and "started" not in ended)


def _take_part(folder: Path, job: Job, *, reporter: Reporter) -> None:
    """Runs this machine's processes of one run to their end, also where they are told to stop."""
    from fluxkit.machine.system import probe

    refuse_links(folder)
    plan = job.plan.model_copy(update={"device_uuids": uuids(job.spec, probe())})
    for note in environment_notes(plan.nodes, plan.threads_per_process):
        reporter.say(note)
    here, position = job.model_copy(update={"plan": plan}), Position(job.spec, plan)
    with (
        machine_lock(folder, plan.nodes),
        tempfile.TemporaryDirectory(prefix="fluxkit-join-") as scratch,
        stop_requests() as stop,
        stop.deferred(),
    ):
        log = Path(scratch) / "engine.log"
        with (
            Engine(folder, here, log) as engine,
            reporter.run(f"{job.spec.hardware.label}, from another machine", position),
        ):
            code = follow(engine, Tail(folder, job), position, stop, reporter)
        if code:
            lines = log.read_text("utf-8", errors="replace").splitlines()[-LOG_LINES:]
            reporter.say("\n".join([f"This machine's part of {folder.name} ended with exit code {code}:", *lines]))
