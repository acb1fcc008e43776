"""The demo, from its command to the page it names."""

from __future__ import annotations

from pathlib import Path

from fluxkit.run import study


def test_the_demo_runs_two_configurations_and_names_its_report(fluxkit, engine, reporting):
    """The demo is one workload in two precisions, and ends with the path of the report, even if a run failed."""
    engine("completed")
    code, out, err = fluxkit("demo", "--out", "d", "--set", "tune.seconds=10.0", "--set", "tune.iterations=40")
    assert (code, out) == (0, "d/report.html\n")
    assert "The report is d/report.html" in err
    assert reporting == {Path("d/report.html"): [Path("d")]}
    specs = study.read_study(Path("d")).specs
    assert [spec.execution.precision for spec in specs] == ["float32", "bfloat16"]
    assert len({spec.workload_sha256() for spec in specs}) == 1
    engine("fails")
    assert fluxkit("demo", "--out", "e", "--quiet") == (4, "e/report.html\n", "")
