"""Launching a stand-in for the engine: what is written, when, and what becomes of runs that end badly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from fluxkit.errors import MachineError, UsageError
from fluxkit.fold.outcome import load
from fluxkit.plan.plan import Job
from fluxkit.record import lock
from fluxkit.record.lock import RunLock, is_held
from fluxkit.record.run_folder import read_result
from fluxkit.run import engine_process, follow
from fluxkit.run.engine_process import engine_command, engine_environment
from fluxkit.run.launch import launch, resume
from fluxkit.run.progress import Live, Plain, Position

STAND_IN = Path(__file__).parents[1] / "stand_in.py"


@pytest.fixture
def go(small_spec, small_plan, tmp_path, engine_is):
    """Launches a scenario in `tmp_path/run`."""

    def run(scenario, plan=small_plan, **more):
        folder = tmp_path / "run"
        engine_is(scenario)
        return launch(small_spec, plan, folder=folder, seed=3, **more), folder

    return run


@contextmanager
def signal_when_ready(folder, *numbers):
    """Sends this process signals once the stand-in says that it is ready."""

    def wait():
        while not (folder / "ready").exists():
            time.sleep(0.02)
        for number in numbers:
            os.kill(os.getpid(), number)
            time.sleep(0.3)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    yield
    thread.join(5)


def test_a_completed_run_is_written_whole(go):
    """The result on disk is the one returned: folded, summarised, with the hash of every file."""
    result, folder = go("completed", study="s", repeat=1, order=2)
    assert result.status == "completed"
    assert read_result(folder) == result
    assert result.summary.training_iterations_per_second == pytest.approx(2.0)
    paths = {artifact.path for artifact in result.artifacts}
    assert paths == {"job.json", "engine.log", "events/rank-0.attempt-0.jsonl", "samples/cat.png"}
    assert (result.study, result.repeat, result.order, result.seed) == ("s", 1, 2, 3)
    assert result.system.after is not None
    assert not (folder / lock.LOCK_FILE).exists()


def test_the_result_exists_before_the_engine(small_spec, small_plan, tmp_path, engine_is, monkeypatch):
    """From the first moment there is a result that says `started`, and a lock that says by whom."""
    seen = []
    engine_is("completed")
    command = engine_process.engine_command

    def look(folder, plan):
        seen.append(
            (read_result(folder).status, is_held(folder), json.loads((folder / "job.json").read_text())["seed"])
        )
        return command(folder, plan)

    monkeypatch.setattr(engine_process, "engine_command", look)
    launch(small_spec, small_plan, folder=tmp_path / "run", seed=3)
    assert seen == [("started", True, 3)]


def test_the_engine_gets_its_environment(go):
    """Threads and offline switches are set; the log keeps no path of this machine."""
    _, folder = go("told")
    log = (folder / "engine.log").read_text()
    assert "'OMP_NUM_THREADS': '1', 'HF_HUB_OFFLINE': '1', 'TRANSFORMERS_OFFLINE': '1'" in log
    assert str(folder) not in log
    assert f" {Path.home()} " not in log


def test_a_download_that_is_allowed_is_possible(small_spec, small_plan):
    """The offline switches are left alone only where the spec allows a download."""
    model = {"family": "schnell", "weights": "pretrained", "repo": "a/b", "revision": "c" * 40, "download": True}
    allowed = small_spec.model_copy(update={"model": type(small_spec.model)(**model)})
    assert "HF_HUB_OFFLINE" not in set(engine_environment(allowed, small_plan)) - set(os.environ)


def test_several_processes_are_torchruns(small_plan):
    """One process is the engine itself; several are torchrun's on this node alone."""
    assert engine_command(Path("x"), small_plan) == [sys.executable, "-m", "fluxkit.engine", "x"]
    two = engine_command(Path("x"), small_plan.model_copy(update={"processes": 2}))
    assert two[1:] == [
        "-m", "torch.distributed.run", "--standalone", "--nnodes=1", "--nproc-per-node=2", "-m", "fluxkit.engine", "x",
    ]  # fmt: skip


def test_a_failure_is_data(go):
    """The engine's last words become the error, without paths of this machine; what was measured stays."""
    result, folder = go("fails")
    assert (result.status, result.error.kind, result.error.phase) == ("failed", "ValueError", "tune")
    assert "are broken" in result.error.message
    text = (folder / "result.json").read_text() + (folder / "events/rank-0.attempt-0.jsonl").read_text()
    assert str(folder) not in text
    assert f"{Path.home()}/weights" not in text
    assert len(result.tuning.losses) == 5


def test_a_killed_engine_is_a_failed_run(go):
    """An engine that is killed leaves the signal, the phase, and a hint at memory."""
    result, _ = go("dies")
    assert (result.status, result.error.exit_code, result.error.phase) == ("failed", -signal.SIGKILL, "tune")
    assert "SIGKILL" in result.error.message
    assert "memory" in result.error.message


def test_memory_that_runs_out_halves_the_micro_batch(go, capsys):
    """8 and 4 samples do not fit, 2 do: three processes, one whole trajectory, the global batch that was asked for."""
    result, folder = go("runs_out", reporter=Plain())
    assert result.status == "completed"
    tried = [(each.micro_batch_size, each.outcome) for each in result.attempts]
    assert tried == [(8, "out_of_memory"), (4, "out_of_memory"), (2, "completed")]
    assert (result.plan.micro_batch_size, result.plan.accumulation_steps) == (2, 4)
    assert str(folder) not in (result.attempts[0].evidence or str(folder))
    assert not (folder / "checkpoint").exists(), "steps of two micro-batches are no one speed"
    assert len(result.tuning.iteration_seconds) == 40
    assert not result.interruptions
    assert "continued" not in (result.energy.reason or "")
    assert "the micro-batch of tuning from 8 became 4" in capsys.readouterr().err
    assert read_result(folder) == result


def test_memory_that_never_suffices_is_a_failed_run(go):
    """After the last halving the run has failed, and says so with every attempt."""
    result, _ = go("never_enough")
    assert (result.status, result.error.kind) == ("failed", "OutOfMemoryError")
    assert [each.micro_batch_size for each in result.attempts] == [8, 4, 2, 1]
    assert {each.outcome for each in result.attempts} == {"out_of_memory"}


def test_a_crash_without_words_quotes_the_log(go):
    """Where the events say nothing, the last lines of the log do."""
    result, _ = go("crashes")
    assert (result.status, result.error.exit_code) == ("failed", 1)
    assert "out of luck" in result.error.message


def test_only_the_last_attempts_log_is_quoted(go, engine_is):
    """What an earlier attempt wrote into the log does not explain a later one's end."""
    _, folder = go("crashes")
    engine_is("dies")
    result = resume(folder)
    assert "SIGKILL" in result.error.message
    assert "out of luck" not in result.error.message
    assert "out of luck" in (folder / "engine.log").read_text()


def test_unreadable_events_fail_the_run(go):
    """Events that can't be read to the end make no completed run."""
    result, _ = go("garbage")
    assert (result.status, result.error.kind) == ("failed", "UnreadableEvents")


def test_the_first_rank_to_fail_is_named(go, small_plan):
    """With several processes the error is that of the rank which went first."""
    result, _ = go("rank_dies", plan=small_plan.model_copy(update={"processes": 2}))
    assert result.status == "failed"
    assert result.error.message.startswith("rank 1: out of memory")
    assert result.error.kind == "MemoryError"


def test_the_first_to_fail_is_told_by_the_machines_clock(go, small_plan):
    """Each rank counts from its own start, so the one with the smaller count need not be the one that went first."""
    result, _ = go("rank_fails_first", plan=small_plan.model_copy(update={"processes": 2}))
    assert result.error.message == "rank 1: a bad image"


def test_a_killed_rank_is_the_cause(go, small_plan):
    """A rank that was killed has no last words; the error is its death, not the complaint of the rank that noticed."""
    result, _ = go("rank_is_killed", plan=small_plan.model_copy(update={"processes": 2}))
    assert (result.status, result.error.kind) == ("failed", "Killed")
    assert result.error.message.startswith("rank 1 was ended by signal 9 (SIGKILL)")
    assert result.error.message.endswith("then rank 0 said: connection reset by peer")


def test_an_engine_that_cannot_start_is_a_failed_run(small_spec, small_plan, tmp_path, monkeypatch):
    """A command that does not exist is said, and the result does not stay `started`."""
    monkeypatch.setattr(engine_process, "engine_command", lambda *_: [str(tmp_path / "absent")])
    result = launch(small_spec, small_plan, folder=tmp_path / "run", seed=3)
    assert result.status == "failed"
    assert "can't be started: No such file" in result.error.message


def test_no_process_is_left_behind(go, monkeypatch):
    """Descendants in sessions of their own are ended too, as torchrun's ranks would be."""
    monkeypatch.setattr(engine_process, "LOOK_SECONDS", 0.1)
    _, folder = go("leaves_child")
    left = int((folder / "child").read_text())
    assert not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_scheduler_can_stop_and_continue_a_run(go, tmp_path, number, engine_is):
    """SIGTERM and SIGUSR1 are passed on, the run is interrupted at a checkpoint, and resuming completes it."""
    with signal_when_ready(tmp_path / "run", number):
        result, folder = go("stoppable")
    assert (result.status, result.error.kind, result.error.exit_code) == ("interrupted", "Checkpointed", 75)
    assert (folder / "checkpoint" / "state").read_text() == number.name
    engine_is("stoppable")
    result = resume(folder)
    assert (result.status, result.error) == ("completed", None)
    assert len(result.tuning.losses) == 40
    assert [(each.at_seconds, each.resumed_seconds) for each in result.interruptions] == [(7.5, 5.0)]
    assert read_result(folder) == result


def test_a_resumed_run_takes_the_devices_that_are_there_now(go, monkeypatch, engine_is):
    """A requeued job may get other GPUs of the same kind: the next attempt names those, not the ones before."""
    _, folder = go("dies")
    monkeypatch.setattr("fluxkit.run.launch.uuids", lambda _spec, _system: ("GPU-other",))
    engine_is("completed")
    result = resume(folder, afresh=True)
    assert (result.status, result.plan.device_uuids) == ("completed", ("GPU-other",))
    assert Job.model_validate_json((folder / "job.json").read_text()).plan == result.plan


def test_an_interrupt_by_hand_is_an_interrupt(go, tmp_path):
    """Ctrl-C lets the engine write a checkpoint, writes the result, and then is an interrupt."""
    before = signal.getsignal(signal.SIGINT)
    with signal_when_ready(tmp_path / "run", signal.SIGINT), pytest.raises(KeyboardInterrupt):
        go("stoppable")
    result = load(tmp_path / "run")
    assert (result.status, result.error.kind) == ("interrupted", "Checkpointed")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_interrupt_ends_it_at_once(go, tmp_path):
    """An engine that does not listen is ended by the second Ctrl-C, and the run is interrupted, not lost."""
    with signal_when_ready(tmp_path / "run", signal.SIGINT, signal.SIGINT), pytest.raises(KeyboardInterrupt):
        go("stubborn")
    assert load(tmp_path / "run").status == "interrupted"


def test_an_engine_that_does_not_listen_is_ended(go, tmp_path, monkeypatch):
    """After the grace period the engine is ended."""
    monkeypatch.setattr(follow, "GRACE_SECONDS", 0.2)
    with signal_when_ready(tmp_path / "run", signal.SIGTERM):
        result, _ = go("stubborn")
    assert (result.status, result.error.kind) == ("interrupted", "Stopped")


def test_a_killed_launcher_leaves_a_run_that_says_so(small_spec, small_plan, tmp_path):
    """kill -9 of the launcher: the engine stops at a checkpoint by itself, and loading folds the run."""
    folder = tmp_path / "run"
    job = Job(spec=small_spec, plan=small_plan, seed=3)
    (tmp_path / "job.json").write_text(job.model_dump_json(by_alias=True))
    code = (
        f"import sys\nfrom pathlib import Path\nfrom fluxkit.plan.plan import Job\n"
        f"from fluxkit.run import engine_process\nfrom fluxkit.run.launch import launch\n"
        f"engine = [sys.executable, {str(STAND_IN)!r}, 'stoppable', {str(folder)!r}]\n"
        f"engine_process.engine_command = lambda *_: engine\n"
        f"job = Job.model_validate_json(Path({str(tmp_path / 'job.json')!r}).read_text())\n"
        f"launch(job.spec, job.plan, folder=Path({str(folder)!r}), seed=3)\n"
    )
    launcher = subprocess.Popen([sys.executable, "-c", code])
    while not (folder / "ready").exists():
        assert launcher.poll() is None
        time.sleep(0.05)
    assert load(folder).status == "started"
    launcher.kill()
    launcher.wait()
    for _ in range(100):
        if not is_held(folder):
            break
        time.sleep(0.05)
    result = load(folder)
    assert result.status == "interrupted"
    assert result.error.phase == "tune"
    assert len(result.tuning.losses) == 15
    assert read_result(folder) == result
    if sys.platform == "linux":
        assert result.error.kind == "Checkpointed"


def test_a_lone_result_is_left_alone(go, tmp_path):
    """A result that was copied somewhere else while it was `started` is read as it is."""
    _, folder = go("completed")
    started = read_result(folder).model_copy(update={"status": "started"})
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "result.json").write_text(started.model_dump_json(by_alias=True))
    assert load(tmp_path / "elsewhere" / "result.json") == started


def test_a_completed_run_is_not_resumed(go, engine_is):
    """There is nothing to resume in a run that is completed."""
    _, folder = go("completed")
    engine_is("completed")
    with pytest.raises(UsageError, match="nothing to resume"):
        resume(folder)


def test_half_a_run_from_another_machine_is_refused(go, monkeypatch, machine, engine_is):
    """A run is not continued on other hardware: its row would be neither machine's."""
    _, folder = go("fails")
    monkeypatch.setattr("fluxkit.machine.system.probe", lambda: machine(cores=64, memory_bytes=10**12))
    engine_is("completed")
    with pytest.raises(MachineError, match="other hardware"):
        resume(folder)


def test_a_failed_run_can_begin_again(go, engine_is):
    """Afresh, the checkpoint is not used and the earlier attempt leaves no steps behind."""
    _, folder = go("fails")
    (folder / "checkpoint").mkdir()
    engine_is("completed")
    result = resume(folder, afresh=True)
    assert (result.status, result.interruptions) == ("completed", ())
    assert not (folder / "checkpoint").exists()


def test_a_taken_folder_is_refused(go, tmp_path):
    """A folder with something in it is not touched."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        go("completed")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_a_folder_that_cannot_be_made_is_refused(small_spec, small_plan, tmp_path, engine_is):
    """Where nothing can be written nothing is left, and the sentence says what to do."""
    (tmp_path / "file").write_text("")
    engine_is("completed")
    with pytest.raises(MachineError, match="--out"):
        launch(small_spec, small_plan, folder=tmp_path / "file" / "a" / "run", seed=3)


def test_a_path_is_stored_as_its_name(small_spec, small_plan, tmp_path, engine_is):
    """Where the weights lie stays with the job until the run is completed, and never reaches the result."""
    place = tmp_path / "secret" / "FLUX.1-schnell"
    model = type(small_spec.model)(family="schnell", weights="pretrained", path=str(place))
    spec = small_spec.model_copy(update={"model": model})
    engine_is("completed")
    result = launch(spec, small_plan, folder=tmp_path / "run", seed=3)
    assert result.spec.model.path == "FLUX.1-schnell"
    assert not [path for path in (tmp_path / "run").rglob("*") if path.is_file() and b"secret" in path.read_bytes()]


def test_a_held_folder_is_not_entered(tmp_path):
    """A second process waits its turn; a lock of a dead process or an old heartbeat holds nothing."""
    with RunLock(tmp_path), pytest.raises(MachineError, match="in use"), RunLock(tmp_path):
        pass
    assert not is_held(tmp_path)
    path = tmp_path / lock.LOCK_FILE
    path.write_text(json.dumps({"host": lock._host(), "process": os.getpid(), "process_created": 1.0}))
    assert not is_held(tmp_path), "the number is in use again by another process"
    path.write_text(json.dumps({"host": "another", "process": 1}))
    assert is_held(tmp_path), "a fresh heartbeat of another host"
    old = time.time() - lock.STALE_SECONDS - 1
    os.utime(path, (old, old))
    assert not is_held(tmp_path)


def test_the_heart_beats(tmp_path, monkeypatch):
    """The lock's modification time moves while it is held."""
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.02)
    with RunLock(tmp_path):
        os.utime(tmp_path / lock.LOCK_FILE, (1.0, 1.0))
        time.sleep(0.2)
        assert (tmp_path / lock.LOCK_FILE).stat().st_mtime > 2.0


def test_plain_progress_tells_phases_and_tuning(go, capsys):
    """Without a terminal every phase is a line, and tuning tells iteration, loss, speed and time left."""
    go("completed", reporter=Plain(every_seconds=0.0))
    told = capsys.readouterr()
    assert told.out == ""
    assert "small (seed 3): importing torch" in told.err
    assert "tuning: iteration 40/40, loss 0.5000, 2 it/s, 0:00 left" in told.err
    assert "measuring inference: 64 steps, 64 image-steps/s" in told.err


def test_a_position_knows_its_way(small_spec, small_plan):
    """Iteration, loss, speed and time left follow from the events; both budgets count."""
    from fluxkit.record.events import Iterations, PhaseStarted

    position = Position(small_spec, small_plan)
    position.update(PhaseStarted(at_seconds=0, phase="tune"))
    position.update(Iterations(at_seconds=1, first=0, seconds=(0.5,) * 10, losses=(0.25,) * 10, total_seconds=5.0))
    assert position.words() == "tuning: iteration 10/40, loss 0.2500, 2 it/s, 0:15 left"
    assert position.seconds_left() == pytest.approx(15.0)
    assert position.share() == pytest.approx(0.25)


def test_live_progress_runs_through(go, capsys):
    """The moving line survives a whole run and leaves nothing on standard output."""
    go("completed", reporter=Live())
    assert capsys.readouterr().out == ""
