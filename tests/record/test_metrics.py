"""`fluxkit.record.metrics`: the one place that knows a metric; a new one is a row, a field and a line of the fold."""

import csv
import html
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import builders
import pytest

import fluxkit
from fluxkit.compare.comparison import CurvePoint
from fluxkit.compare.cost import spent
from fluxkit.record.metrics import BY_KEY, CONTRASTED, COSTS, CURVES, METRICS, QUESTIONS, SUMMARY_METRICS
from fluxkit.record.result import Summary

ROW = """    Metric(
        "blinks_per_second", "Blinking speed", "blinks/s", "higher", "training_speed", verdicts=FASTER, role="primary",
        headline="always", rerun=True, end_of_run="blinks/s",
        question=Question(9, "Least time to blink", "blinks fastest", "blink equally fast"),
    ),
"""
NEW_LINES = {
    "record/metrics.py": (r"^METRICS = \(\n", ROW),
    "record/result.py": (
        r"^class Summary\(Frozen\):\n    \"\"\".*\"\"\"\n",
        "    blinks_per_second: float | None = None\n",
    ),
    "fold/fold.py": (r"^    return Summary\(\n", "        blinks_per_second=12.5,\n"),
}
"""Behind what they are inserted, by the file: all that a new metric takes."""
CHILD = """
import json, pathlib, sys
from fluxkit.compare.compare import compare
from fluxkit.fold.fold import summarise
from fluxkit.fold.outcome import folded_results
from fluxkit.record.json_schema import json_schema
from fluxkit.report.page import write_report
from fluxkit.run.rerun_verdict import judge, verdict_lines
from fluxkit.run.progress import run_sentence
from fluxkit.text.text_table import render
sources = folded_results([pathlib.Path(sys.argv[1])])
results = [result for _, result in sources]
comparison = compare(results)
texts = {style: render(comparison, style, 400, everything=True) for style in ("table", "markdown", "csv", "json")}
page = pathlib.Path(sys.argv[1]) / "page.html"
write_report(sources, page)
texts |= {"page": page.read_text("utf-8"), "schema": json.dumps(json_schema("result"))}
texts |= {"sentence": run_sentence(results[0]), "rerun": verdict_lines(judge(results[0], [results[0]]))}
print(json.dumps({**texts, "folded": summarise(results[0]).blinks_per_second}))
"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Everything that a fluxkit with one more metric shows of a study in which it was measured."""
    folder = tmp_path_factory.mktemp("metric")
    package, runs = folder / "code" / "fluxkit", folder / "runs"
    source = Path(fluxkit.__file__).parent
    shutil.copytree(source, package, ignore=shutil.ignore_patterns("__pycache__", "data"))
    (package / "data").symlink_to(source / "data")
    for name, (place, lines) in NEW_LINES.items():
        code = (package / name).read_text("utf-8")
        (found,) = re.finditer(place, code, re.MULTILINE)
        (package / name).write_text(code[: found.end()] + lines + code[found.end() :], "utf-8")
    for result in builders.study()[:-1]:
        values = result.model_dump(mode="json", by_alias=True)
        speed = 20.0 if result.spec.execution.precision == "float32" else 10.0
        values["summary"]["blinks_per_second"] = speed + result.repeat / 100
        (runs / result.id).mkdir(parents=True)
        (runs / result.id / "result.json").write_text(json.dumps(values), "utf-8")
    command, environment = [sys.executable, "-c", CHILD, str(runs)], {**os.environ, "PYTHONPATH": str(package.parent)}
    made = subprocess.run(command, check=False, capture_output=True, text=True, cwd=package.parent, env=environment)
    assert not made.returncode, made.stderr
    return json.loads(made.stdout)


@pytest.mark.parametrize("style", ["table", "markdown"])
def test_a_new_metric_is_in_the_tables(shown, style):
    """In the terminal and in Markdown it has a line of numbers, a verdict and an answer."""
    text = shown[style].replace("\\", "")
    lines = [re.sub(r"[|│┃ ]+", " ", line).strip() for line in text.splitlines()]
    assert [line for line in lines if line.startswith("Blinking speed (blinks/s) 20.0") and "★" in line]
    assert [line for line in lines if line.startswith("Blinking speed Laptop CPU (FP32)") and " faster " in line]
    assert "“Laptop CPU (FP32)” blinks fastest: 99" in text


def test_a_new_metric_is_in_the_csv(shown):
    """It has a column for each part of its estimate."""
    lines = list(csv.DictReader(io.StringIO(shown["csv"])))
    assert {line["blinks_per_second"][:2] for line in lines} == {"20", "10"}
    assert {line["blinks_per_second_n"] for line in lines} == {"3"}


def test_a_new_metric_is_in_the_comparison(shown):
    """As JSON the comparison has its estimates and its contrast."""
    (workload,) = json.loads(shown["json"])["workloads"]
    assert all(row["metrics"]["blinks_per_second"]["mean"] for row in workload["rows"])
    assert [each["verdict"] for each in workload["contrasts"] if each["quantity"] == "blinks_per_second"] == ["faster"]


def test_a_new_metric_is_on_the_page(shown):
    """The page has it among the answers, in the first table and in that of all numbers."""
    text = html.unescape(shown["page"])
    assert '<li data-quantity="blinks_per_second">' in text
    headline, every = (re.search(rf'id="w1-{name}">.*?</table>', text, re.DOTALL)[0] for name in ("numbers", "all"))
    assert "Blinking speed (blinks/s)" in headline
    assert "Blinking speed (blinks/s)" in every


def test_a_new_metric_is_in_the_schema(shown):
    """The published schema of a result has it, and the fold makes it."""
    assert "blinks_per_second" in json.loads(shown["schema"])["$defs"]["Summary"]["properties"]
    assert shown["folded"] == 12.5


def test_a_new_metric_ends_a_run_and_is_reproduced(shown):
    """A run's last sentence says it, and a run that is done again is held against it."""
    assert re.search(r"\b[12]0 blinks/s \(grade A\)", shown["sentence"])
    assert re.search(r"^blinks_per_second: ([12]0) there, \1 here", shown["rerun"], re.MULTILINE)


def test_every_field_of_a_summary_has_a_row():
    """No number of a result is unknown to the table, and no row is of nothing."""
    assert {metric.key for metric in SUMMARY_METRICS} == set(Summary.model_fields)
    assert {metric.key for metric in COSTS} == set(spent(builders.result()))
    assert {metric.key for metric in CURVES} <= set(CurvePoint.model_fields)
    assert len(BY_KEY) == len(METRICS)


def test_rows_hold_together():
    """What a row says by the key of another one is there; what is asked about is contrasted and has a better side."""
    for metric in METRICS:
        assert {metric.untuned, metric.same_verdict_as} - {None} <= set(BY_KEY)
        assert metric.verdicts or not (metric.question or metric.contrast_name or metric.scored)
        assert metric.better or not metric.verdicts
    assert [metric.question.place for metric in QUESTIONS] == list(range(1, len(QUESTIONS) + 1))
    assert len({metric.quantity for metric in CONTRASTED}) == len(CONTRASTED)
