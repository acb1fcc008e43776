"""`fluxkit.compare.scaling`: what several devices give against one, by formula, and when nothing is said."""

import math

import builders
import pytest
from scipy import stats as reference

from fluxkit.compare.rows import row_of
from fluxkit.compare.scaling import efficiencies
from fluxkit.compare.side import Side

SPREAD = (0.98, 1.0, 1.03)


def side(processes=1, rate=10.0, repeats=3, batch=8, key=None, **execution):
    """A configuration of so many GPUs whose steps took 1 / rate seconds each, with a little spread."""
    asked = builders.spec(
        tune={"global_batch_size": batch},
        execution={"device": "cuda", "processes": processes, **execution},
    )
    results = [
        builders.result(
            of=asked, repeat=repeat, gpu=True, iteration_seconds=(SPREAD[repeat] / rate,) * 220,
            images_per_second=rate / SPREAD[repeat],
        )
        for repeat in range(repeats)
    ]  # fmt: skip
    return Side(row_of(results, [], 0, key or f"{processes}x{rate:g}"), results)


def one(found, subject, kind="strong"):
    """The one efficiency of a subject and kind."""
    (found,) = [each for each in found if (each.subject, each.kind) == (subject, kind)]
    return found


def test_strong_scaling_is_the_ratio_of_rates_over_the_number_of_devices():
    """Four devices at three times the rate of one work at 75 %; the page can say how that was computed."""
    found = efficiencies([side(1, 10.0), side(4, 30.0)])
    training, inference = one(found, "training_speed"), one(found, "inference_speed")
    assert (training.efficiency, training.devices) == (pytest.approx(0.75), 4)
    assert inference.efficiency == pytest.approx(0.75)
    assert (training.single, training.several) == ("1x10", "4x30")
    assert training.formula == "images/s of 4 devices / (4 x images/s of one), the same batch"
    assert inference.formula.startswith("image-steps/s of 4 devices")


def test_the_interval_is_welch_on_logarithms_over_the_number_of_devices():
    """The ends are SciPy's for the ratio of the run rates, divided by N."""
    single, several = side(1, 10.0), side(2, 17.0)
    found = one(efficiencies([single, several]), "training_speed")
    logs = [
        [math.log(value) for value in each.row.estimate("training_images_per_second").values]
        for each in (several, single)
    ]
    expected = reference.ttest_ind(*logs, equal_var=False).confidence_interval(0.95)
    ends = [math.exp(end) / 2 for end in expected]
    assert (found.interval.low, found.interval.high) == pytest.approx(ends, rel=1e-9)
    assert found.interval.low < found.efficiency < found.interval.high


def test_weak_scaling_grows_the_batch_with_the_devices():
    """Four devices on four times the batch that take as long a step as one scale perfectly: four times the images."""
    found = efficiencies([side(1, 10.0, batch=8), side(4, 10.0, batch=32)])
    training = one(found, "training_speed", "weak")
    assert training.efficiency == pytest.approx(1.0)
    assert training.formula.endswith("the same batch per device")


def test_a_batch_that_grew_by_another_factor_is_neither():
    """Four devices on twice the batch are compared with nothing, and the reason is said."""
    found = one(efficiencies([side(1, batch=8), side(4, batch=16)]), "training_speed")
    assert (found.efficiency, found.single) == (None, None)
    assert found.reason == "no completed run of one Example GPU 48GB in the same precision"


def test_the_fastest_single_device_is_the_measure():
    """Of several ways to run on one device the fastest counts: against a slow one N devices would look good."""
    slow, fast = side(1, 5.0, gradient_checkpointing=True), side(1, 10.0)
    assert one(efficiencies([slow, fast, side(2, 15.0)]), "training_speed").efficiency == pytest.approx(0.75)


def test_another_precision_is_no_measure():
    """A bfloat16 row is not divided by an FP32 row; its FP32 inference still is."""
    found = efficiencies([side(1, 10.0), side(2, 15.0, precision="bfloat16")])
    assert one(found, "training_speed").efficiency is None
    assert one(found, "inference_speed").efficiency == pytest.approx(0.75)


def test_one_run_each_gives_an_efficiency_without_an_interval():
    """Below three runs on a side the number stands alone."""
    found = one(efficiencies([side(1, 10.0, repeats=1), side(2, 18.0, repeats=1)]), "training_speed")
    assert (found.efficiency, found.interval) == (pytest.approx(0.9), None)


def test_processes_that_share_a_cpu_are_not_several_devices():
    """Two processes on one CPU get no efficiency."""
    asked = builders.spec(execution={"processes": 2})
    results = [builders.result(of=asked)]
    assert efficiencies([Side(row_of(results, [], 0, "cpu"), results)]) == ()


def unusable(each):
    """The same row with its training speed graded X."""
    key = "training_images_per_second"
    graded = {**each.row.metrics, key: each.row.metrics[key].model_copy(update={"grade": "X"})}
    return Side(each.row.model_copy(update={"metrics": graded}), each.results)


def test_a_number_graded_x_is_no_measure():
    """A single device whose speed is graded X is left out; where only such are left, the reason is said."""
    slow, fast, several = side(1, 10.0, gradient_checkpointing=True), unusable(side(1, 20.0, key="1x20")), side(2, 15.0)
    found = one(efficiencies([slow, fast, several]), "training_speed")
    assert (found.single, found.efficiency) == ("1x10", pytest.approx(0.75))
    found = one(efficiencies([fast, several]), "training_speed")
    assert (found.efficiency, found.single) == (None, None)
    assert found.reason == "graded X: Laptop CPU, all there is of one Example GPU 48GB"
    assert one(efficiencies([fast, several]), "inference_speed").efficiency == pytest.approx(0.375)
