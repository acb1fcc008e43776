"""Runs one plan in process(es) of its own, shows progress from their events, and survives their death."""

import json
import secrets
import signal
from datetime import UTC, datetime
from pathlib import Path

from fluxkit.errors import MachineError, UsageError
from fluxkit.files.atomic_file import to_json, write_atomically
from fluxkit.files.contained import appended, refuse_links, remove
from fluxkit.fold.outcome import Ending, settle_held, settle_on_disk, status_and_error
from fluxkit.fold.replay import replay
from fluxkit.machine.container import unwritable
from fluxkit.machine.environment import environment_notes
from fluxkit.machine.provenance import this_kit
from fluxkit.machine.stop_requests import StopRequests, stop_requests
from fluxkit.model.weight_files import check_safetensors
from fluxkit.plan.placement import uuids
from fluxkit.plan.plan import Job, Plan
from fluxkit.record.events import Resumed
from fluxkit.record.identity import configuration_sha256, unlabelled_configuration_sha256
from fluxkit.record.input_files import differences, input_files
from fluxkit.record.redact import public_spec, tilde_as_home
from fluxkit.record.result import Energy, Looks, RunResult
from fluxkit.record.run_folder import (
    CHECKPOINT_FILE,
    JOB_FILE,
    LOG_FILE,
    LOG_HEADER,
    held_folder,
    new_folder,
    read_job,
    read_result,
    remove_working_files,
    write_result,
)
from fluxkit.run.engine_process import Engine
from fluxkit.run.follow import Tail, follow
from fluxkit.run.out_of_memory import attempt_of, killed_for_memory, smaller
from fluxkit.run.progress import SILENT, Position, Reporter
from fluxkit.run.telemetry import Sampler
from fluxkit.spec.run_spec import RunSpec

NOT_STARTED = 127
"""The shell's exit code of a command that can't be started."""


def launch(
    spec: RunSpec,
    plan: Plan,
    *,
    folder: Path,
    seed: int,
    study: str = "",
    repeat: int = 0,
    order: int = 0,
    looks: tuple[int, ...] = (),
    reporter: Reporter = SILENT,
) -> RunResult:
    """Runs `plan` in the new `folder` and gives its result, which is also written there.

    Args:
        spec: what is asked.
        plan: how it runs on this machine.
        folder: becomes the run folder; must not exist or be empty.
        seed: of everything random in tuning.
        study: id of the study that it belongs to.
        repeat: number of the repetition.
        order: place in the study's order.
        looks: numbers of repeats at which the study is to be looked at.
        reporter: is told how it goes.

    Raises:
        UsageError: the folder is not empty.
        MachineError: the folder can't be written.
        KeyboardInterrupt: interrupted by hand; the result is written and says so.
    """
    from fluxkit.machine.system import probe

    kit, before = this_kit(), probe()
    job = Job(spec=spec, plan=plan, seed=seed, kit=kit)
    result = RunResult(
        schema="fluxkit.result/1",
        id=secrets.token_hex(16),
        status="started",
        study=study,
        repeat=repeat,
        order=order,
        seed=seed,
        looks=looks,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        kit=kit,
        spec=public_spec(spec),
        workload_sha256=spec.workload_sha256(),
        configuration_sha256=configuration_sha256(spec, before),
        plan=plan,
        system=Looks(before=before),
    )
    with (
        stop_requests() as stop,
        stop.deferred(),  # what is begun is also ended, and its result says how
        new_folder(folder, "a run makes its own folder", lambda: _write_down(folder, job, result)),
    ):
        return _attempts(folder, job, result, reporter=reporter)


def resume(folder: Path, *, afresh: bool = False, reporter: Reporter = SILENT) -> RunResult:
    """Continues a run that did not complete, from its last checkpoint, or from the start if there is none.

    Args:
        folder: the run folder.
        afresh: begin again even if there is a checkpoint.
        reporter: is told how it goes.

    Raises:
        UsageError: the folder holds no run, or one that is completed.
        MachineError: it is in use, can't be written, or was begun on other hardware, with other packages or files.
    """
    before = read_result(folder).status  # a folder that holds no run gets no lock
    with stop_requests() as stop, held_folder(folder):
        result = settle_held(folder)
        if result.status == "completed":
            remove_working_files(folder)  # a death may have come between its result and their removal
            if before == "started":  # all that it lacked was to be written down
                return result
            raise UsageError(f"{folder} is completed; there is nothing to resume.")
        refuse_links(folder)
        job = _next_job(folder, result)
        for note in job.plan.notes:
            if note not in result.plan.notes:
                reporter.say(note)
        if not afresh:
            _refuse_other_inputs(folder, job.spec)
        else:
            job = job.model_copy(update={"graded_since": job.attempt})
            remove(folder, folder / "checkpoint")
        result = result.model_copy(update={"status": "started", "error": None, "plan": job.plan})
        with stop.deferred():
            try:
                _write_down(folder, job, result)
            except OSError as error:
                raise MachineError(unwritable(folder, error, "continue a copy of it")) from error
            return _attempts(folder, job, result, reporter=reporter)


def _write_down(folder: Path, job: Job, result: RunResult) -> None:
    """What an attempt is started with, before it begins."""
    write_atomically(folder / JOB_FILE, to_json(job), below=folder)
    write_result(folder, result)


def _next_job(folder: Path, result: RunResult) -> Job:
    """The job of the next attempt; the one before it knows where the weights lie, the result does not."""
    from fluxkit.machine.system import probe

    try:
        job = read_job(folder)
        job = job.model_copy(update={"spec": tilde_as_home(job.spec)})
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder / JOB_FILE} is missing or damaged, so the run can't be continued.") from error
    if public_spec(job.spec) != result.spec:
        raise UsageError(f"{folder / JOB_FILE} and the result ask for different runs, so it can't be continued.")
    _check_foldable(folder, job)
    system = probe()
    hashes = {configuration_sha256(job.spec, system), unlabelled_configuration_sha256(job.spec, system)}
    if result.configuration_sha256 not in hashes:
        # One row is one machine: half a run from each of two would be neither.
        raise MachineError(
            f"{folder} was begun on other hardware or with other package versions; run it anew instead of resuming it."
        )
    # A job that was requeued goes on on other devices of the same kind.
    notes = dict.fromkeys((*job.plan.notes, *environment_notes(job.plan.nodes, job.plan.threads_per_process)))
    plan = job.plan.model_copy(update={"device_uuids": uuids(job.spec, system), "notes": tuple(notes)})
    return job.model_copy(update={"attempt": job.attempt + 1, "plan": plan})


def _refuse_other_inputs(folder: Path, spec: RunSpec) -> None:
    """Stops where pictures, captions, weights or an adapter are not what the attempt before this one read."""
    before = replay(folder).files
    changes = differences(before, input_files(spec)) if before else ""
    if changes:
        raise MachineError(
            f"{folder} was begun with other files: {changes}. Bring them back, or run it anew instead of resuming it."
        )


def _check_foldable(folder: Path, job: Job) -> None:
    """A resume whose steps the events do not lead up to would run to its end and then be thrown away.

    Raises:
        MachineError: the events end before the checkpoint, as a power loss may leave them, or it is damaged.
    """
    file = folder / CHECKPOINT_FILE
    if not file.is_file():
        return
    run = replay(folder)
    try:
        facts = json.loads(check_safetensors(file)["__metadata__"]["fluxkit"].partition(" ")[2])["facts"]
        event = Resumed(at_seconds=0, iteration=facts["iteration"], seconds=facts["seconds"])
    except (KeyError, TypeError, ValueError, MachineError) as error:
        raise MachineError(f"{file} is damaged. Remove it to begin the run again.") from error
    try:
        for rank in range(job.plan.processes):
            run.add(rank, event)
    except ValueError as error:
        raise MachineError(
            f"{folder} can't be continued: by its events it was {error}. Remove {CHECKPOINT_FILE} in it to begin"
            " the run again."
        ) from error


def _attempts(folder: Path, job: Job, result: RunResult, *, reporter: Reporter) -> RunResult:
    """Engines, each after the first with less in one pass because memory ran out, until the written result."""
    from fluxkit.machine.system import probe

    whole = job.attempt == 0
    with stop_requests() as stop:
        try:
            while True:
                kills = killed_for_memory()
                ending, sampler = _run_engine(folder, job, stop, reporter=reporter)
                result = _with_telemetry(result, job, sampler, whole=whole)
                told = replay(folder)
                status, error = status_and_error(folder, result, told, ending)
                attempt = attempt_of(job.plan, status, error, killed_for_memory() - kills)
                result = result.model_copy(update={"attempts": (*result.attempts, attempt)})
                plan = smaller(job.spec, job.plan, result.attempts)
                if plan is None:
                    break
                reporter.say(plan.notes[-1])
                # Steps of two micro-batches are no one speed, so tuning begins again. Otherwise it is done, and kept.
                whole = plan.micro_batch_size != job.plan.micro_batch_size
                if whole:
                    remove(folder, folder / "checkpoint")
                next_attempt = job.attempt + 1
                # What was graded whole counts; a part of it in batches of another size would not.
                since = next_attempt if attempt.phase == "evaluate" else job.graded_since
                job = job.model_copy(update={"plan": plan, "attempt": next_attempt, "graded_since": since})
                result = result.model_copy(update={"plan": plan})
                _write_down(folder, job, result)
            settled = settle_on_disk(folder, result, ending, after=probe(), told=told)
        except OSError as error:
            raise MachineError(unwritable(folder, error)) from error
    if stop.first == signal.SIGINT:
        raise KeyboardInterrupt
    return settled


def _with_telemetry(result: RunResult, job: Job, sampler: Sampler, *, whole: bool) -> RunResult:
    """The result with what was seen beside this attempt; energy belongs to a run only if the attempt is the `whole`."""
    energy = sampler.energy()
    if job.plan.nodes > 1:
        energy = Energy(class_="unavailable", reason="only one machine of several was watched")
    if not whole:
        energy = Energy(class_="unavailable", reason="the run was interrupted and continued")
    telemetry = (*result.telemetry, sampler.telemetry(job.attempt))
    return result.model_copy(update={"telemetry": telemetry, "energy": energy})


def _run_engine(folder: Path, job: Job, stop: StopRequests, *, reporter: Reporter) -> tuple[Ending, Sampler]:
    """Starts the engine and follows it to its end; leaves none of its processes behind."""
    position = Position(job.spec, job.plan)
    sampler = Sampler(lambda: position.phase, job.plan.device_uuids)
    _log(folder, f"{LOG_HEADER}{job.attempt} ==")
    try:
        engine = Engine(folder, job, folder / LOG_FILE)
    except OSError as error:
        _log(folder, f"The engine can't be started: {error.strerror}")
        return Ending(exit_code=NOT_STARTED), sampler
    with engine, sampler.watch(engine.pid), reporter.run(job.spec.hardware.label, position):
        try:
            code = follow(engine, Tail(folder, job), position, stop, reporter)
        except KeyboardInterrupt:  # at once
            code = engine.kill()
        return Ending(code, stop.name), sampler


def _log(folder: Path, line: str) -> None:
    with appended(folder, folder / LOG_FILE) as log:
        log.write(f"{line}\n".encode())
