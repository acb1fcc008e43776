"""`fluxkit.charts.summary_charts`: where marks stand, and what is counted."""

import re

import builders
import pytest

from fluxkit.charts.summary_charts import bars, curve, phases
from fluxkit.compare.compare import compare
from fluxkit.record.metrics import BY_KEY
from fluxkit.record.phase_seconds import PARTS, part_seconds


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
    assert {line[1] for line in chart.table} >= {"0", "15", "30", "60"}
    assert labels(chart) == ["0", "15", "30", "60"]
    assert 'aria-label="budget: 60"' in chart.svg


def test_iterations_have_round_ticks_and_their_budget(workload):
    """Ticks of iterations are whole and round, and the budget is one of them, though longer runs went on."""
    found = labels(curve(workload, "k", "psnr_db", "iteration"))
    assert "200" in found
    assert all(re.fullmatch(r"[\d,]+", text) for text in found)


@pytest.mark.parametrize("over", ["seconds", "iteration"])
def test_evaluation_points_are_counted_once_for_all_configurations(workload, over):
    """The chart says how many evaluation points there are, whatever moments the configurations reached them at."""
    assert " 5 evaluation points," in curve(workload, "k", "psnr_db", over).how_to_read


def test_compiling_and_checkpoints_stand_apart_in_the_order_of_a_run():
    """Parts are taken out of the phases that they were in, and the chart has them where the run had them."""
    run = builders.result()
    compiled = run.tuning.model_copy(update={"compile_seconds": 1.5, "checkpoint_seconds": 4.0})
    inference = run.inference.model_copy(update={"compile_seconds": 2.0})
    whole = run.model_copy(update={"tuning": compiled, "inference": inference})
    before, parts = part_seconds(run), part_seconds(whole)
    assert sum(parts.values()) == pytest.approx(sum(before.values()))
    assert (parts["compile"], parts["checkpoint"]) == (3.5, 4.0)
    assert parts["tune"] == before["tune"] - 4.0
    drawn = phases(compare([whole]).workloads[0], "key")
    assert [name.removesuffix(" (s)").replace(" ", "_") for name in drawn.columns[1:]] == list(PARTS)


def test_a_bar_says_its_value_and_its_share_of_the_best(workload):
    """Behind each bar stand the value and, of all but the best, its share of the best; the best stands first."""
    metric = BY_KEY["training_iterations_per_second"]
    chart = bars(workload, "k", metric, "Training speed")
    assert [line[0] for line in chart.table] == ["Laptop CPU (FP32)", "Laptop CPU (bfloat16)"]
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", chart.svg)
    assert "9.99" in texts
    assert any(re.fullmatch(r"8\.2\d \(8\d %\)", text) for text in texts)
    assert (chart.table[0][4], chart.table[1][6]) == ("—", "slower")


def test_names_stand_above_their_bars_in_whole_words():
    """A long name is broken between words, never inside of one and never cut short."""
    name = "Uncommonlylongprocessorname " * 2
    run = builders.result(of=builders.spec(hardware={"label": name.strip()}))
    chart = bars(compare([run]).workloads[0], "k", BY_KEY["training_iterations_per_second"], "t")
    words = re.findall(r"<tspan[^>]*>([^<]*)</tspan>", chart.svg)
    assert words == ["Uncommonlylongprocessorname"] * 2
    assert "…" not in chart.svg


def test_every_chart_fits_a_phone_unscaled(workload):
    """No chart is wider than what a phone has room for, so that no text is scaled down."""
    charts = [
        curve(workload, "a", "psnr_db", "seconds"),
        bars(workload, "b", BY_KEY["inference_image_steps_per_second"], "t"),
        phases(workload, "c"),
    ]
    assert all(int(re.search(r'width="(\d+)"', chart.svg)[1]) <= 350 for chart in charts)
