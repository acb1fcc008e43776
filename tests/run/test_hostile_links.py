"""A stranger's folder with links in it: whatever is done with it, nothing outside of it changes."""

from __future__ import annotations

from contextlib import suppress

import pytest

from fluxkit.errors import FluxkitError, MachineError
from fluxkit.files import lock
from fluxkit.files.atomic_file import to_json
from fluxkit.fold.outcome import folded_results, settle_dead_run_on_disk
from fluxkit.plan.plan import Job
from fluxkit.record.run_folder import read_result, write_result
from fluxkit.run.join import join
from fluxkit.run.launch import resume
from fluxkit.run.study import run_study

FOLDERS = (
    "events", "checkpoint", "samples", "samples/real", "adapter", "snapshots", "transformer", "cache", ".x.0123abcd",
)  # fmt: skip
FILES = (
    "engine.log", "job.json", "result.json", "result.json.sha256", "run.lock", "run.rank-0.lock", "run.join-1.lock",
    "events/rank-0.attempt-0.jsonl", "events/rank-0.attempt-1.jsonl",
    "../study.json", "../study.json.sha256", "../run.lock",
)  # fmt: skip


@pytest.fixture
def study(here, small_spec, engine_is, monkeypatch):
    """A study whose only run died with its launcher in the middle of tuning, and a folder that must not change."""
    monkeypatch.setattr(lock, "STALE_SECONDS", 0.2)
    engine_is("dies")
    run_study([small_spec], out=here / "study")
    (run,) = (here / "study").glob("0*")
    write_result(run, read_result(run).model_copy(update={"status": "started", "error": None}))
    (run / "samples" / "real").mkdir(parents=True)
    (here / "outside" / "deeper").mkdir(parents=True)
    for name in ("state", "cat.png", "rank-0.attempt-0.jsonl", "rank-0.attempt-1.jsonl", ".y.0123abcd", "deeper/z"):
        (here / "outside" / name).write_text(f'{{"event":"failed","message":"{here}"}}\n')
    engine_is("completed")
    return here / "study"


def tree(folder):
    return {path: path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


def everything(study, spec):
    """All that settles, continues or joins; each ends in a result or in a sentence."""
    for act in (
        lambda: folded_results([study], with_manifest=True),
        lambda: settle_dead_run_on_disk(study / "00-small-r0"),
        lambda: resume(study / "00-small-r0"),
        lambda: resume(study / "00-small-r0", afresh=True),
        lambda: run_study([spec], out=study, resuming=True),
        lambda: run_study([spec], out=study),
        lambda: join(study, patience_seconds=0.0),
    ):
        with suppress(FluxkitError):
            act()


@pytest.mark.parametrize("place", FOLDERS)
def test_a_folder_that_is_a_link_leads_nothing_outside(study, small_spec, place):
    """Neither reading, settling, resuming nor joining writes or removes anything behind it."""
    path = study / "00-small-r0" / place
    if path.exists():
        path.rename(study / "moved")
    path.symlink_to(study.parent / "outside")
    before = tree(study.parent / "outside")
    with pytest.raises(MachineError, match="is a link"):
        resume(study / "00-small-r0")
    everything(study, small_spec)
    assert tree(study.parent / "outside") == before


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("place", FILES)
def test_a_file_that_is_a_link_changes_no_other(study, small_spec, place, hard):
    """A link or a second name at any place that is written: what it names keeps its content."""
    path, outside = study / "00-small-r0" / place, study.parent / "outside"
    target = outside / "deeper" / "taken"
    path.parent.mkdir(exist_ok=True)
    if path.exists():
        target.write_bytes(path.read_bytes())
        path.unlink()
    else:
        target.write_text("mine")
    path.hardlink_to(target) if hard else path.symlink_to(target)
    before = tree(outside)
    everything(study, small_spec)
    assert tree(outside) == before


def test_a_run_that_is_a_link_is_resumed_by_its_name_alone(study, small_spec):
    """A person may name a folder by a link; a study of a stranger may not."""
    run = study / "00-small-r0"
    run.rename(study.parent / "elsewhere")
    run.symlink_to(study.parent / "elsewhere")
    with pytest.raises(MachineError, match="is a link"):
        run_study([small_spec], out=study, resuming=True)
    assert read_result(run).status == "started"
    assert resume(run).status == "completed"


def test_a_machine_joins_no_run_behind_a_link(base, small_plan, small_spec, tmp_path):
    """A run of several machines that is a link in its study is refused before anything is started."""
    plan = small_plan.model_copy(update={"processes": 2, "nodes": 2})
    write_result(tmp_path / "elsewhere", base.model_copy(update={"status": "started", "plan": plan}))
    (tmp_path / "elsewhere" / "job.json").write_text(to_json(Job(spec=small_spec, plan=plan, seed=3)))
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MachineError, match="is a link"):
        join(tmp_path / "study", patience_seconds=5.0)
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == [
        "job.json", "result.json", "result.json.sha256",
    ]  # fmt: skip
