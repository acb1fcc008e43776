"""The selftest names what is broken, and leaves nothing behind."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from fluxkit.cli import app, selftest
from fluxkit.errors import MachineError
from fluxkit.files.cache import ENVIRONMENT_VARIABLE, cache_folder

STAND_IN = Path(__file__).parents[1] / "stand_in.py"
GOLDEN = {"psnr_db": 29.51060851, "ssim": 0.94208267, "wanted_psnr_db": 29.51060851, "wanted_ssim": 0.94208267}


@pytest.fixture
def scenario(monkeypatch, small_plan, tmp_path, engine_is):
    """Runs the selftest with a scenario of the stand-in as its engine, its temporary folders under `tmp_path`."""
    monkeypatch.setattr(selftest, "make_plan", lambda *_: small_plan)
    monkeypatch.setattr(selftest, "_output_of", lambda *_: json.dumps(GOLDEN))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def run(name):
        engine_is(name)
        return {step.name: step for step in selftest.run_selftest()}

    return run


def test_every_part_is_tried_once_and_nothing_is_left(scenario, tmp_path):
    """Metric, run, certificate, fold, verification and page pass; the temporary folder and its cache are gone."""
    before = os.environ.get(ENVIRONMENT_VARIABLE), cache_folder()
    steps = scenario("completed")
    assert list(steps) == ["metric", "tune", "agreement", "fold", "verify", "report"]
    assert [step.words for step in steps.values() if not step.passed] == []
    assert steps["tune"].numbers["last_loss"] == 0.5
    assert steps["agreement"].numbers == {"relative_l2_ieee_float32": 1.6e-6}
    assert list(tmp_path.iterdir()) == []
    assert (os.environ.get(ENVIRONMENT_VARIABLE), cache_folder()) == before


def test_a_failed_run_is_named_and_the_others_are_still_tried(scenario, tmp_path):
    """A run that dies fails the step that needs it, with its phase; the page of the failure is still made."""
    steps = scenario("fails")
    assert not steps["tune"].passed
    assert "in phase tune" in steps["tune"].words
    assert not steps["agreement"].passed
    assert steps["verify"].passed
    assert steps["report"].passed
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_metric_is_named(scenario, monkeypatch):
    """A metric off by a thousandth is named with both values."""
    monkeypatch.setattr(selftest, "_output_of", lambda *_: json.dumps(GOLDEN | {"ssim": 0.943}))
    step = scenario("completed")["metric"]
    assert not step.passed
    assert "ssim is 0.943 and should be 0.94208267" in step.words


def test_a_device_that_computes_something_else_is_named(scenario):
    """A certificate outside of its band fails its step and says the bound."""
    step = scenario("disagrees")["agreement"]
    assert not step.passed
    assert "relative L2 error 0.001, at most 1e-05" in step.words


def test_an_unforeseen_error_is_a_failed_step(scenario, monkeypatch):
    """Whatever breaks is a step that failed, with the kind of error, and never a traceback."""

    def breaks(_workspace):
        raise ZeroDivisionError("by nought")

    monkeypatch.setitem(selftest.STEPS, "fold", breaks)
    assert scenario("completed")["fold"].words == "ZeroDivisionError: by nought"


def test_no_temporary_folder_is_one_sentence(monkeypatch):
    """Without a folder for temporary files the sentence names TMPDIR."""

    def refuses(**_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(selftest.tempfile, "TemporaryDirectory", refuses)
    with pytest.raises(MachineError, match="TMPDIR"):
        selftest.run_selftest()


@pytest.mark.parametrize(("passed", "code"), [(True, 0), (False, 4)])
def test_the_command_prints_a_line_a_step_and_has_an_exit_code(monkeypatch, capsys, passed, code):
    """A line for each step, or JSON; exit code 4 where one failed."""
    step = selftest.Step(name="metric", passed=passed, words="as it should be", numbers={"ssim": 0.9}, seconds=1.0)

    def run(tell):
        tell(step)
        return (step,)

    monkeypatch.setattr(selftest, "run_selftest", run)
    for words in (["selftest"], ["selftest", "--json"]):
        with pytest.raises(SystemExit) as leaving:
            app.main(words)
        assert int(leaving.value.code or 0) == code
    text, _, rest = capsys.readouterr().out.partition("\n")
    assert text.split()[:2] == ["metric", "ok" if passed else "failed"]
    assert json.loads(rest) == [step.model_dump()]
