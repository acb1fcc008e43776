"""`fluxkit.charts.summary_charts` and `fluxkit.charts.ticks`: where marks and ticks stand."""

import re

import builders
import pytest

from fluxkit.charts.summary_charts import curve
from fluxkit.charts.ticks import round_places, ticks
from fluxkit.compare.compare import compare


@pytest.fixture(scope="module")
def workload():
    """Two configurations whose time marks come a little before their targets."""
    (found,) = compare([early(run) for run in builders.study() if run.tuning]).workloads
    return found


def early(run):
    """The run with each time mark at the last step within its time."""
    marks = [
        mark.model_copy(update={"seconds": mark.seconds - 0.07}) if mark.target_seconds else mark
        for mark in run.tuning.marks
    ]
    return run.model_copy(update={"tuning": run.tuning.model_copy(update={"marks": tuple(marks)})})


def labels(chart):
    """Labels of the horizontal axis of a drawn chart."""
    axis = chart.svg.split('aria-label="X-axis', 1)[1]
    return re.findall(r"<text[^>]*>([^<]*)</text>", re.search(r"role-axis-label.*?</g>", axis, re.DOTALL)[0])


def test_time_marks_stand_at_their_time_and_the_budget_is_ticked(workload):
    """A mark at 60 s stands at 60, not at the last step before it, and the axis says 60."""
    chart = curve(workload, "k", "psnr_db", "seconds")
    assert {line[1] for line in chart.table} >= {"0.00", "15.0", "30.0", "60.0"}
    assert labels(chart) == ["0", "15", "30", "60"]
    assert 'aria-label="budget: 60"' in chart.svg


def test_iterations_have_round_ticks_and_their_budget(workload):
    """Ticks of iterations are whole and round, and the budget is one of them, though longer runs went on."""
    found = labels(curve(workload, "k", "psnr_db", "iteration"))
    assert "200" in found
    assert all(re.fullmatch(r"[\d,]+", text) for text in found)


@pytest.mark.parametrize("over", ["seconds", "iteration"])
def test_marks_are_counted_once_for_all_configurations(workload, over):
    """The chart says how many marks there are, whatever moments the configurations reached them at."""
    assert " 5 marks;" in curve(workload, "k", "psnr_db", over).how_to_read


def test_no_tick_lies_beyond_the_data():
    """A tick is one of the places as it is, and the needed ones are always there."""
    places = [0.0, 1.8437, 28.333, 799.6, 1025.6667]
    assert set(ticks(places, 1.8437)) <= set(places)
    assert max(ticks(places, 1.8437)) == 1025.6667
    assert 800.0 in ticks(round_places(1025.7), 28.3, [800.0])
    assert 5000.0 not in ticks([0.0, 5000.0, 10000.0], 50.0)
