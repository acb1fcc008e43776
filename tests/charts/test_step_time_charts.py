"""`fluxkit.charts.step_time_charts`: what is drawn of the raw series."""

import re

import builders
import pytest

from fluxkit.charts.step_time_charts import change, drift, settings, spread
from fluxkit.compare.compare import compare


def test_the_canary_chart_has_all_processes_together():
    """The chart holds the sum over processes before and after a phase, which is what the checks look at."""
    asked = builders.spec(execution={"processes": 2})
    rates = {("before", 0): 4e9, ("after", 0): 2e9, ("before", 1): 4e9, ("after", 1): 6e9}
    canary = [
        {
            "phase": "tune", "when": when, "rank": rank, "precision": "ieee_float32", "matmul_size": 8,
            "matmul_flops_per_second": rate, "copy_bytes_per_second": rate,
        }
        for (when, rank), rate in rates.items()
    ]  # fmt: skip
    run = builders.result(of=asked, canary=canary)
    found = change(compare([run]).workloads[0], {run.id: run}, "key")
    assert [line[2:] for line in found.table] == [("tune", "8.00", "8.00", "8.00", "8.00", "1.00", "1.00")]


def drawn(maker, *runs):
    """A chart of the raw series of some runs."""
    return maker(compare(runs).workloads[0], {run.id: run for run in runs}, "key")


@pytest.mark.parametrize(("seconds", "unit"), [(0.05, "ms"), (1.2, "s")])
def test_times_of_a_second_and_more_are_in_seconds(seconds, unit):
    """Iterations above 1,000 ms are told in seconds, on the axis, in the labels and in the tables."""
    run = builders.result(iteration_seconds=tuple(seconds * (1 + 0.01 * (step % 5)) for step in range(220)))
    chart = drawn(spread, run)
    assert f"{unit} per iteration" in chart.svg
    assert f"Median ({unit})" in chart.columns
    assert f"Median ({unit})" in drawn(drift, run).columns


def test_a_log_axis_below_a_decade_has_labels():
    """Iteration times that hardly differ still have an axis with at least two numbers."""
    run = builders.result(iteration_seconds=tuple(0.06 * (1 + 0.01 * (step % 3)) for step in range(220)))
    axis = drawn(spread, run).svg.split('aria-label="X-axis', 1)[1]
    labels = re.search(r"role-axis-label.*?</g>", axis, re.DOTALL)[0]
    assert len(re.findall(r"<text[^>]*>[\d.,]+</text>", labels)) >= 2


def test_drift_has_one_line_for_each_configuration():
    """However many runs a configuration has, its drift is one line; the table has every run."""
    chart = drawn(drift, *(builders.result(repeat=repeat) for repeat in range(3)))
    assert chart.svg.count('aria-label="Laptop CPU: first part') == 1
    assert [line[1] for line in chart.table] == ["0", "1", "2"]


def test_micro_batches_have_a_chart_only_where_they_differ():
    """Where all runs have the same micro-batch the bars say everything, and no chart repeats them."""
    run, other = builders.result(), builders.result(repeat=1)
    halved = other.inference.model_copy(update={"micro_batch_size": run.inference.micro_batch_size // 2})
    assert drawn(settings, run, other) is None
    assert drawn(settings, run, other.model_copy(update={"inference": halved})) is not None
