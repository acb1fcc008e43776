"""Runs of a stand-in for the engine."""

from __future__ import annotations

import pytest

from fluxkit.record.result import Check
from fluxkit.run import rerun, study
from fluxkit.run.launch import launch
from fluxkit.run.study import run_study


@pytest.fixture
def go(small_spec, small_plan, tmp_path, engine_is):
    """Launches a scenario in `tmp_path/run`."""

    def run(scenario, plan=small_plan, **more):
        folder = tmp_path / "run"
        engine_is(scenario)
        return launch(small_spec, plan, folder=folder, seed=3, **more), folder

    return run


@pytest.fixture
def here(monkeypatch, small_plan, tmp_path):
    """An empty folder on a machine whose plan is made up."""
    monkeypatch.chdir(tmp_path)
    for module in (study, rerun):
        monkeypatch.setattr(module, "plan_all", lambda specs, **_: [small_plan for _ in specs])
    return tmp_path


@pytest.fixture
def done(here, small_spec, engine_is):
    """The run folders of a study of three repeats."""
    engine_is("completed")
    run_study([small_spec], repeats=3, out=here / "first")
    return sorted((here / "first").glob("0*"))


@pytest.fixture
def changed():
    """The result with other numbers in its summary."""

    def make(result, **summary):
        return result.model_copy(update={"id": "f" * 32, "summary": result.summary.model_copy(update=summary)})

    return make


@pytest.fixture
def spoilt(changed):
    """The result with other numbers and a finding that its numbers about a subject are not to be used."""

    def make(result, subject, **summary):
        check = Check(id="clock", subject=subject, grade="X", evidence="A clock lies.")
        return changed(result, **summary).model_copy(update={"checks": (check,)})

    return make
