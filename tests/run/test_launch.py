"""Launching a stand-in for the engine: what is written, when, and what becomes of runs that end badly."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from PIL import Image

from fluxkit.errors import MachineError, UsageError
from fluxkit.files import lock
from fluxkit.files.lock import is_held
from fluxkit.fold.outcome import folded_result, settle_dead_run_on_disk
from fluxkit.plan.plan import Job
from fluxkit.record.input_files import input_files
from fluxkit.record.redact import home_as_tilde, public_spec, tilde_as_home
from fluxkit.record.run_folder import read_result
from fluxkit.run import engine_process
from fluxkit.run.launch import launch, resume
from fluxkit.run.progress import Plain
from fluxkit.spec.workload import DataSpec

STAND_IN = Path(__file__).parents[1] / "stand_in.py"


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


@pytest.mark.parametrize("scenario", ["rank_is_killed", "rank_is_killed_at_once_with_the_other"])
def test_a_killed_rank_is_the_cause(go, small_plan, scenario):
    """A rank that was killed has no last words; the error is its death, not the complaint of the rank that noticed."""
    result, _ = go(scenario, plan=small_plan.model_copy(update={"processes": 2}))
    assert (result.status, result.error.kind) == ("failed", "Killed")
    assert result.error.message.startswith("rank 1 was ended by signal 9 (SIGKILL)")
    assert result.error.message.endswith("then rank 0 said: connection reset by peer")


def test_an_engine_that_cannot_start_is_a_failed_run(small_spec, small_plan, tmp_path, monkeypatch):
    """A command that does not exist is said, and the result does not stay `started`."""
    monkeypatch.setattr(engine_process, "engine_command", lambda *_: [str(tmp_path / "absent")])
    result = launch(small_spec, small_plan, folder=tmp_path / "run", seed=3)
    assert result.status == "failed"
    assert "can't be started: No such file" in result.error.message


def test_a_resumed_run_takes_the_devices_that_are_there_now(go, monkeypatch, engine_is):
    """A requeued job may get other GPUs of the same kind: the next attempt names those, not the ones before."""
    _, folder = go("dies")
    monkeypatch.setattr("fluxkit.run.launch.uuids", lambda _spec, _system: ("GPU-other",))
    engine_is("completed")
    result = resume(folder, afresh=True)
    assert (result.status, result.plan.device_uuids) == ("completed", ("GPU-other",))
    assert Job.model_validate_json((folder / "job.json").read_text()).plan == result.plan


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
    assert folded_result(folder).status == "started"
    engines = psutil.Process(launcher.pid).children()
    launcher.kill()
    launcher.wait()
    psutil.wait_procs(engines, timeout=10)  # the stand-in holds no lock of its own
    assert not is_held(folder)
    result = settle_dead_run_on_disk(folder)
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
    assert folded_result(tmp_path / "elsewhere" / "result.json") == started


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


@pytest.fixture
def interrupted(small_spec, small_plan, tmp_path, engine_is):
    """A run that was tuning on a folder of pictures, with an adapter to assist it, when it died."""
    for number in range(3):
        Image.new("RGB", (80, 80), (number, 0, 0)).save(new_file(tmp_path / "pictures" / f"{number}.png"))
        (tmp_path / "pictures" / f"{number}.txt").write_text("a colour")
    new_file(tmp_path / "assistant" / "pytorch_lora_weights.safetensors").write_bytes(b"adapter")
    data = DataSpec(source="folder", path=str(tmp_path / "pictures"))
    model = small_spec.model.model_copy(update={"assistant_adapter": str(tmp_path / "assistant")})
    spec = small_spec.model_copy(update={"data": data, "model": model})
    engine_is("dies")
    launch(spec, small_plan, folder=tmp_path / "run", seed=3)
    events = tmp_path / "run" / "events" / "rank-0.attempt-0.jsonl"
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    told = [line | {"files": input_files(spec)} if line["event"] == "inputs" else line for line in lines]
    events.write_text("".join(json.dumps(line) + "\n" for line in told))
    return tmp_path


def new_file(path):
    path.parent.mkdir(exist_ok=True)
    return path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "pictures" / "1.png").unlink(), "data/1.png is gone"),
        (lambda folder: (folder / "pictures" / "1.txt").write_text("other"), "data/1.png has changed"),
        (lambda folder: Image.new("RGB", (80, 80)).save(folder / "pictures" / "2.png"), "data/2.png has changed"),
        (lambda folder: Image.new("L", (80, 80)).save(folder / "pictures" / "3.png"), "data/3.png is new"),
        (lambda folder: next((folder / "assistant").iterdir()).write_bytes(b"other"), "safetensors has changed"),
    ],
)
def test_a_run_is_not_continued_with_other_files(interrupted, engine_is, change, words):
    """A picture, a caption or an adapter that changed ends it with the file's name, before anything is written."""
    before = (interrupted / "run" / "result.json").read_bytes()
    change(interrupted)
    if words.endswith("is new"):
        (interrupted / "pictures" / "3.txt").write_text("a colour")
    engine_is("completed")
    with pytest.raises(MachineError, match=f"begun with other files: .*{words}"):
        resume(interrupted / "run")
    assert (interrupted / "run" / "result.json").read_bytes() == before


def test_a_run_is_continued_with_the_same_files(interrupted, engine_is):
    """Files that were only touched are the same: it is their content that counts."""
    (interrupted / "pictures" / "1.png").touch()
    engine_is("completed")
    assert resume(interrupted / "run").status == "completed"


def test_a_run_that_begins_afresh_may_have_other_files(interrupted, engine_is):
    """Nothing of the earlier attempt is in it, so nothing is mixed."""
    (interrupted / "pictures" / "1.png").unlink()
    engine_is("completed")
    assert resume(interrupted / "run", afresh=True).status == "completed"


def test_a_resume_that_cannot_be_folded_is_refused_before_it_runs(small_spec, small_plan, tmp_path, engine_is):
    """A checkpoint whose steps the events do not lead up to, as a power loss may leave it, is said at once."""
    engine_is("dies")
    folder = tmp_path / "run"
    launch(small_spec, small_plan, folder=folder, seed=3)
    (folder / "checkpoint").mkdir()
    header = {"__metadata__": {"fluxkit": "seal " + json.dumps({"facts": {"iteration": 30, "seconds": 15.0}})}}
    text = json.dumps(header).encode()
    (folder / "checkpoint" / "tuning.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(MachineError, match=r"resumed at step 30, but only 5 are known\. Remove checkpoint/"):
        resume(folder)
    assert not (folder / "events" / "rank-0.attempt-1.jsonl").exists()


def test_a_failed_run_does_not_name_the_home_folder_and_still_finds_its_files(small_spec, tmp_path, monkeypatch):
    """The job of a run that may be continued says `~`, and means the home folder of who continues it."""
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "alice"))
    path = str(tmp_path / "home" / "alice" / "models" / "flux")
    model = small_spec.model.model_copy(update={"path": path})
    stored = home_as_tilde(small_spec.model_copy(update={"model": model}))
    assert stored.model.path == "~/models/flux"
    assert tilde_as_home(stored).model.path == path
    assert public_spec(stored).model.path == "flux"


@pytest.mark.parametrize(
    "path", ["/scratch/mallory/models", "/data/home/mallory", "relative/mallory/x", "/scratch/mallory2/x", "x/y", "."]
)
def test_a_path_outside_home_names_no_user_and_leads_back(small_spec, monkeypatch, path):
    """The user's folder on a scratch disk is stored without their name, and is found again."""
    monkeypatch.setattr("getpass.getuser", lambda: "mallory")
    model = small_spec.model.model_copy(update={"path": path})
    stored = home_as_tilde(small_spec.model_copy(update={"model": model}))
    assert "mallory" not in stored.model.path.split("/")
    assert tilde_as_home(stored).model.path == path
