"""Reading commands and a run that died: they fold it in memory, say the same of it, and leave its folder alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from stand_in import Log, begin, mark, steps

from fluxkit.cli import app
from fluxkit.files.atomic_file import to_json
from fluxkit.plan.plan import Job
from fluxkit.record.identity import configuration_sha256
from fluxkit.record.run_folder import read_result, write_result
from fluxkit.run.launch import resume

STAND_IN = Path(__file__).parents[1] / "stand_in.py"


@pytest.fixture
def dead(base, small_spec, small_plan, tmp_path):
    """The folder of a run that was killed with its launcher, in the middle of tuning."""
    folder = tmp_path / "study" / "dead"
    small_plan = small_plan.model_copy(update={"device_names": (base.system.before.devices[0].name,)})
    claims = {"configuration_sha256": configuration_sha256(small_spec, base.system.before), "plan": small_plan}
    write_result(folder, base.model_copy(update={"status": "started", **claims}))
    (folder / "job.json").write_text(to_json(Job(spec=small_spec, plan=small_plan, seed=3)))
    (folder / "engine.log").write_text(f"{Path.home()} is named here\n")
    log = Log(folder)
    begin(log)
    mark(log, "untuned", 0)
    steps(log, 0, 15)
    yield folder
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)


@pytest.fixture
def fluxkit(capsys, tmp_path, monkeypatch):
    """Runs a command line in an empty folder; gives its standard output."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run(*words):
        with pytest.raises(SystemExit) as leaving:
            app.main([str(word) for word in words])
        assert not leaving.value.code
        return capsys.readouterr().out

    return run


def hashes(folder):
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("mode", [0o755, 0o555])
def test_whoever_reads_a_dead_run_says_the_same_and_writes_nothing(fluxkit, dead, mode):
    """Compare, report and verify know that it was interrupted, in a writable and in a read-only folder."""
    before = hashes(dead)
    for path in (*dead.rglob("*"), dead):
        path.chmod(mode)
    (ended,) = json.loads(fluxkit("compare", dead.parent, "--format", "json"))["ended"]
    fluxkit("report", dead.parent, "-o", "page.html")
    page = Path("page.html").read_text("utf-8")
    assert fluxkit("verify", dead.parent).endswith("result.json: verified\n")
    assert (ended["status"], ended["phase"]) == ("interrupted", "tune")
    assert "ended without a word" in ended["reason"]
    assert ended["reason"] in page
    assert "still running" not in page
    assert hashes(dead) == before


def test_a_copy_beside_a_page_says_what_was_left_out_of_it(fluxkit, dead):
    """The result of a dead run that is kept beside a page lists its files; the run's own folder does not change."""
    before = hashes(dead)
    Path("kept").mkdir()
    fluxkit("report", dead.parent, "-o", "kept/index.html", "--with-results")
    kept = read_result(next(Path("kept/results").iterdir()))
    assert {artifact.path for artifact in kept.artifacts if artifact.left_out} == {
        "engine.log",
        "events/rank-0.attempt-0.jsonl",
        "job.json",
    }
    assert kept.status == "interrupted"
    assert hashes(dead) == before


def test_resuming_settles_a_dead_run(dead, engine_is, monkeypatch):
    """Whoever runs writes: the next attempt begins from a result that knows how the one before it ended."""
    begun_with = read_result(dead).configuration_sha256
    monkeypatch.setattr("fluxkit.run.launch.configuration_sha256", lambda *_: begun_with)
    engine_is("completed")
    assert resume(dead).status == "completed"
    assert read_result(dead).status == "completed"
    assert str(Path.home()) not in (dead / "engine.log").read_text()
