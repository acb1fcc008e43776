"""Command lines, run with a stand-in for the engine, for the comparison or for the report."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from fluxkit.cli import app
from fluxkit.run import study
from fluxkit.run.launch import launch


@pytest.fixture
def fluxkit(capsys, tmp_path, monkeypatch):
    """Runs a command line in an empty folder; gives exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        with pytest.raises(SystemExit) as leaving:
            app.main([str(word) for word in words])
        told = capsys.readouterr()
        return int(leaving.value.code or 0), told.out, told.err

    return run


@pytest.fixture
def engine(engine_is, monkeypatch, small_plan):
    """Lets a scenario of the stand-in be the engine, with a plan that is made up."""
    monkeypatch.setattr(study, "plan_all", lambda specs, **_: [small_plan for _ in specs])
    return engine_is


@pytest.fixture
def run_folder(small_spec, small_plan, tmp_path, engine_is):
    """A completed run."""
    engine_is("completed")
    launch(small_spec, small_plan, folder=tmp_path / "done", seed=0)
    return tmp_path / "done"


@pytest.fixture
def reporting(monkeypatch):
    """Stands in for comparison, tables and report; keeps what they were given."""
    given = {}
    modules = {
        "compare.compare": {
            "compare": lambda results, *_: SimpleNamespace(comparable=len(results) < 2, results=results)
        },
        "text.text_table": {"render": lambda comparison, form, *_, **__: f"{form} of {len(comparison.results)}\n"},
        "report.page": {
            "write_report": lambda sources, output, *_, **__: given.update({output: [file for file, _ in sources]})
        },
    }
    for name, functions in modules.items():
        monkeypatch.setitem(sys.modules, f"fluxkit.{name}", SimpleNamespace(**functions))
    monkeypatch.setattr("fluxkit.fold.outcome.folded_results", lambda paths, **_: [(path, None) for path in paths])
    return given
