"""What was graded is not graded again: scores, reference lines and samples of earlier attempts count."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from real_engine import EngineRun, run_engine, small_spec, start_engine
from stand_in import Log, mark

from fluxkit.engine.evaluate.graded import GradedBefore
from fluxkit.fold.replay import replay
from fluxkit.plan.plan import Job
from fluxkit.record.events import event_path, read_events

if TYPE_CHECKING:
    from pathlib import Path

    from fluxkit.plan.plan import Plan
    from fluxkit.spec.run_spec import RunSpec


@pytest.fixture
def before(small_spec: RunSpec, small_plan: Plan, tmp_path: Path) -> Any:
    """What an attempt knows of those before it."""

    def known(attempt: int = 1, since: int = 0) -> GradedBefore:
        job = Job(spec=small_spec, plan=small_plan, seed=0, attempt=attempt, graded_since=since)
        return GradedBefore(tmp_path, job, 0)

    return known


def grade_cat(log: Log, image: str | None = None) -> None:
    log.write("reconstruction", mark="untuned", pair="cat", seed=0, mse=1.0, psnr_db=9.0, ssim=0.1, image=image)
    log.write("validation", mark="untuned", pair="dog", sigma=0.5, draw=1, loss=0.5, psnr_db=9.0, ssim=0.1)
    for anchor in ("autoencoder_reconstruction", "flat_colour"):
        log.write("anchor", anchor=anchor, pair="cat", mse=1.0, psnr_db=9.0, ssim=0.1)


def test_scores_and_reference_lines_of_the_attempt_before_count(before: Any, tmp_path: Path) -> None:
    """Each by mark, pair and numbers; a line that a death cut short is none."""
    log = Log(tmp_path)
    grade_cat(log)
    log.add('{"event":"reconstruction"')
    known = before()
    assert known.has_score(("untuned", "cat", 0))
    assert known.has_score(("untuned", "dog", 0.5, 1))
    assert known.has_anchors("cat")
    for key in (("untuned", "cat", 1), ("untuned", "dog", 0.5, 0), ("iterations-4", "cat", 0)):
        assert not known.has_score(key)
    assert not known.has_anchors("dog")


def test_what_was_graded_in_other_batches_or_on_other_files_does_not_count(before: Any, tmp_path: Path) -> None:
    """The job names the first attempt that counts; those before it are not looked at."""
    grade_cat(Log(tmp_path))
    assert not before(attempt=2, since=1).has_score(("untuned", "cat", 0))
    assert not before(attempt=0).has_score(("untuned", "cat", 0))


def test_a_mark_that_is_reached_again_is_another_state(before: Any, tmp_path: Path) -> None:
    """Begun again without its checkpoint, a run grades its states anew; reference lines need no tuning and stay."""
    grade_cat(Log(tmp_path))
    mark(Log(tmp_path, attempt=1), "untuned", 0)
    known = before(attempt=2)
    assert not known.has_score(("untuned", "cat", 0))
    assert known.has_anchors("cat")


def test_a_score_whose_sample_is_gone_is_made_again(before: Any, tmp_path: Path) -> None:
    """The picture belongs to the result, and a path out of the folder is none."""
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "cat.png").write_bytes(b"picture")
    for image, kept in (("samples/cat.png", True), ("samples/gone.png", False), ("../run/samples/cat.png", False)):
        grade_cat(Log(tmp_path), image)
        assert before().has_score(("untuned", "cat", 0)) is kept


def test_a_run_that_was_stopped_while_it_was_graded_ends_as_if_it_had_not_been(
    short_run: EngineRun, tmp_path: Path
) -> None:
    """No score is paid twice but those of one batch, and all at equal steps are the same to the last digit."""
    spec, folder = small_spec(tune={"seconds": 0.1}), tmp_path / "stopped"
    process = start_engine(folder, spec)
    while not any(event.event == "validation" for event in read_events(event_path(folder, 0, 0))):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 75, output
    batch = json.loads((folder / "job.json").read_text())["plan"]["inference_micro_batch_size"]
    resumed = run_engine(folder, spec, attempt=1)
    assert resumed.code == 0, resumed.output
    whole = replay(short_run.folder)
    run = replay(folder)
    kinds = ("reconstruction", "validation")
    written = sum(len(resumed.events(kind, attempt=attempt)) for kind in kinds for attempt in (0, 1))
    assert resumed.events("reconstruction", attempt=0)
    assert written <= len(run.reconstruction) + len(run.validation) + batch * len(run.marks)
    assert not resumed.events("anchor", attempt=1)
    for name in kinds:
        ours, theirs = getattr(run, name), getattr(whole, name)
        common = [key for key in theirs if key[0] in {"untuned", "iterations-12"}]
        assert common
        for key in common:
            assert ours[key].model_copy(update={"image": None}) == theirs[key].model_copy(update={"image": None})
    assert run.anchors == whole.anchors
    assert resumed.images(12) == short_run.images(12)
