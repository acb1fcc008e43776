"""How a run ended: what its events say outranks how its processes did, and what is said of its checkpoint is true."""

from __future__ import annotations

import pytest
from stand_in import Log, begin, finish, steps, whole_run

from fluxkit.files.atomic_file import to_json
from fluxkit.fold.outcome import Ending, settle_dead_run_on_disk, status_and_error
from fluxkit.fold.replay import replay
from fluxkit.fold.verify import verify_result
from fluxkit.plan.plan import Job
from fluxkit.record.run_folder import CHECKPOINT_FILE, JOB_FILE, SNAPSHOTS, read_result, write_result


def ended(base, folder, ending):
    return status_and_error(folder, base, replay(folder), ending)


@pytest.mark.parametrize("exit_code", [0, 1, -11, -9, -15, 75, None])
def test_a_run_that_did_everything_is_completed_however_its_processes_ended(base, tmp_path, exit_code):
    """A crash while leaving, a kill in the last moment, a signal that came too late: nothing is thrown away."""
    whole_run(Log(tmp_path), base.spec.tune.model_dump())
    for name in (None, "SIGTERM"):
        assert ended(base, tmp_path, Ending(exit_code, name)) == ("completed", None)


def test_a_run_of_which_one_rank_is_not_done_is_not_completed(base, tmp_path):
    """All ranks have to say so."""
    two = base.model_copy(update={"plan": base.plan.model_copy(update={"processes": 2})})
    whole_run(Log(tmp_path), base.spec.tune.model_dump())
    assert ended(two, tmp_path, Ending(0))[0] == "failed"


def test_a_rank_that_was_told_to_stop_alone_interrupts_the_run(base, tmp_path):
    """The other ranks complain that it left the collective; nothing is wrong with the run."""
    two = base.model_copy(update={"plan": base.plan.model_copy(update={"processes": 2})})
    log, other = Log(tmp_path), Log(tmp_path, rank=1)
    for each in (log, other):
        begin(each)
        steps(each, 0, 5)
    finish(other, "checkpointed")
    log.write("failed", phase="tune", kind="RuntimeError", message="connection closed by peer", exit_code=4)
    status, error = ended(two, tmp_path, Ending(1))
    assert (status, error.kind) == ("interrupted", "Stopped")


@pytest.mark.parametrize(
    ("taken", "saved", "words"),
    [
        (0, None, "it had not begun to tune"),
        (5, None, "of 5 steps none was saved yet"),
        (5, 3, "its checkpoint holds 3 of 5 steps"),
        (5, 5, "its checkpoint holds all 5 steps"),
    ],
)
@pytest.mark.parametrize("exit_code", [75, -9])
def test_what_is_said_of_the_checkpoint_is_what_the_events_tell(base, tmp_path, taken, saved, words, exit_code):
    """Never that none was written where one was, nor the other way round."""
    log = Log(tmp_path)
    begin(log)
    if taken:
        steps(log, 0, taken, seconds=80.0)
    if saved:
        log.write("checkpoint", iteration=saved, seconds=0.1)
    if exit_code == 75:
        finish(log, "checkpointed")
    status, error = ended(base, tmp_path, Ending(exit_code, "SIGTERM"))
    assert (status, error.kind) == ("interrupted", "Checkpointed" if exit_code == 75 else "Stopped")
    late = exit_code == -9 and taken
    assert ("longest step took 80 s" in error.message) == bool(late)
    assert error.message.startswith("The run was told to stop by SIGTERM")
    assert words in error.message


def test_begun_again_without_its_checkpoint_a_run_has_none(tmp_path):
    """What an earlier attempt had saved is no part of the trajectory that began anew."""
    for attempt in (0, 1):
        log = Log(tmp_path, attempt)
        begin(log)
        steps(log, 0, 5)
        if not attempt:
            log.write("checkpoint", iteration=5, seconds=0.1)
    assert replay(tmp_path).checkpoint is None


def test_a_run_that_dies_after_its_last_event_is_completed_and_keeps_its_checkpoint_until_that_is_written(
    base, tmp_path, small_spec, small_plan
):
    """The launcher was killed before it wrote anything: settling writes the result first, then it removes."""
    (tmp_path / JOB_FILE).write_text(to_json(Job(spec=small_spec, plan=small_plan, seed=3)))
    write_result(tmp_path, base.model_copy(update={"status": "started"}))
    whole_run(Log(tmp_path), base.spec.tune.model_dump())
    working = [tmp_path / CHECKPOINT_FILE, tmp_path / SNAPSHOTS / "iteration-00000004.safetensors"]
    for file in working:
        file.parent.mkdir()
        file.write_bytes(b"tensors")
    seen = []

    def write(folder, result):
        seen.append([file.exists() for file in working])
        write_result(folder, result)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fluxkit.fold.outcome.write_result", write)
        result = settle_dead_run_on_disk(tmp_path)
    assert (result.status, read_result(tmp_path).status) == ("completed", "completed")
    assert seen == [[True, True]]
    assert not any(file.parent.exists() for file in working)
    assert {artifact.path for artifact in result.artifacts} == {JOB_FILE, "events/rank-0.attempt-0.jsonl"}


def test_a_death_between_a_result_and_the_removal_is_no_fault_of_the_result(base, tmp_path, small_spec, small_plan):
    """What only a run that goes on needs may lie beside a completed one; any other file is still found."""
    (tmp_path / JOB_FILE).write_text(to_json(Job(spec=small_spec, plan=small_plan, seed=3)))
    write_result(tmp_path, base.model_copy(update={"status": "started"}))
    whole_run(Log(tmp_path), base.spec.tune.model_dump())
    settle_dead_run_on_disk(tmp_path)
    before = verify_result(tmp_path / "result.json").problems
    (tmp_path / CHECKPOINT_FILE).parent.mkdir()
    (tmp_path / CHECKPOINT_FILE).write_bytes(b"tensors")
    assert verify_result(tmp_path / "result.json").problems == before
    (tmp_path / CHECKPOINT_FILE).with_name("other").write_bytes(b"added")
    assert [words for words in verify_result(tmp_path / "result.json").problems if "checkpoint/other" in words]


def test_scores_of_other_pictures_are_forgotten(base, tmp_path):
    """A failed run that was begun afresh on another folder has scores of those pictures alone."""
    whole_run(Log(tmp_path), base.spec.tune.model_dump())
    assert replay(tmp_path).anchors
    begin(Log(tmp_path, attempt=1))
    assert replay(tmp_path).anchors, "the same pictures"
    log = Log(tmp_path, attempt=2)
    log.write(
        "inputs", weights_sha256="0" * 64, dataset_sha256="9" * 64, pairs=[], parameters=10, trainable_parameters=5
    )
    run = replay(tmp_path)
    assert (run.anchors, run.reconstruction, run.validation) == ({}, {}, {})
