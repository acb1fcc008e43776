"""Doing a run again: what it would read, what is refused, and what the command says."""

from __future__ import annotations

import io
import json
from pathlib import Path

import builders
import pytest

from fluxkit.cli import app
from fluxkit.errors import RunError, UsageError
from fluxkit.record.run_folder import write_result
from fluxkit.run import rerun
from fluxkit.run.study import run_study


def test_the_same_run_is_reproduced(done, engine_is):
    """Equal numbers from the same machine are reproduced, with losses equal to the bit as promised; it is written."""
    asked = rerun.prepare(done[1])
    assert asked.spec.seed == asked.original.seed == 4
    assert len(asked.repeats) == 3
    assert asked.differences == ()
    engine_is("completed")
    verdict, folder = rerun.run_again(asked, out=Path("again"))
    assert verdict.verdict == "reproduced"
    assert (verdict.losses.equal, verdict.losses.promised, verdict.losses.compared) == (True, True, 40)
    assert json.loads((folder / "rerun.json").read_text())["schema"] == "fluxkit.rerun/1"
    assert [number.band for number in verdict.numbers][:3] == [
        "95% prediction interval of 3 repeats",
        "95% prediction interval of 3 repeats",
        "95% prediction interval of 3 repeats, and ±0.5 dB of the original",
    ]


def test_a_path_must_be_given_anew(done, here):
    """A result keeps the last part of a path; the sentence says which option gives it, and the paths are shown."""
    result = rerun.prepare(done[0]).original
    spec = builders.spec(
        model={"family": "schnell", "weights": "pretrained", "path": "FLUX"}, data={"source": "folder", "path": "cats"}
    )
    write_result(here / "stranger", result.model_copy(update={"spec": spec}))
    with pytest.raises(UsageError, match=r"'FLUX'.*'cats'.*--set model.path=PATH --set data.path=PATH"):
        rerun.prepare(here / "stranger")
    asked = rerun.prepare(here / "stranger", ["model.path=weights", "data.path=cats"])
    shown = rerun.announcement(asked, 1)
    assert f"Reads model.path = {here / 'weights'}" in shown
    assert f"Reads data.path = {here / 'cats'}" in shown


def test_a_download_is_announced(done, here):
    """What would be fetched is named with its commit before anything is."""
    result = rerun.prepare(done[0]).original
    model = {"family": "schnell", "weights": "pretrained", "repo": "a/b", "revision": "0" * 40, "download": True}
    write_result(here / "stranger", result.model_copy(update={"spec": builders.spec(model=model)}))
    assert "Downloads, unless it is here already, a/b at 000" in rerun.announcement(rerun.prepare(here / "stranger"), 2)


def test_only_one_completed_result_is_run_again(done, here, small_spec, engine_is):
    """A study of several results and a failed run are refused; a rerun that fails has no verdict."""
    with pytest.raises(UsageError, match="holds 3 results"):
        rerun.prepare(here / "first")
    engine_is("fails")
    run_study([small_spec], out=here / "bad")
    with pytest.raises(UsageError, match="only a completed run"):
        rerun.prepare(here / "bad")
    with pytest.raises(RunError, match="no verdict"):
        rerun.run_again(rerun.prepare(done[0]), out=Path("again"))


@pytest.fixture
def fluxkit(engine_is, capsys):
    """Runs a command line whose engine is the stand-in; gives exit code, standard output and standard error."""
    engine_is("completed")

    def run(*words):
        with pytest.raises(SystemExit) as leaving:
            app.main([str(word) for word in words])
        told = capsys.readouterr()
        return int(leaving.value.code or 0), told.out, told.err

    return run


def test_the_command_asks_first_and_ends_in_a_verdict(fluxkit, done, here, monkeypatch):
    """Refused nothing is run; with --yes the last line is the verdict; any but reproduced ends with exit code 5."""
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    code, out, err = fluxkit("rerun", done[0])
    assert (code, out) == (2, "")
    assert "Once again: small with seed 3" in err
    assert not (here / "runs").exists()
    code, out, _ = fluxkit("rerun", done[0], "--yes", "--out", "a", "--quiet")
    assert code == 0
    assert "the first 40 are equal to the last bit, as promised" in out
    assert out.splitlines()[-1] == "reproduced"
    code, out, err = fluxkit("rerun", done[0], "--yes", "--out", "b", "--set", "tune.lora_rank=4", "--json")
    assert code == 5
    said = json.loads(out)
    assert (said["verdict"], [each["row"] for each in said["differences"]]) == (
        "not comparable",
        ["spec.tune.lora_rank"],
    )
