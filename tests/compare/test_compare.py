"""`fluxkit.compare.compare`: what is grouped, what is put into a ratio, and what never is."""

import math

import builders
import pytest
from scipy import stats as reference

from fluxkit.compare.compare import compare
from fluxkit.compare.comparison import Comparison
from fluxkit.compare.ranking import standing
from fluxkit.compare.reader_options import ReaderOptions
from fluxkit.text.answers import answers


def contrast(comparison, quantity):
    """The one contrast of a quantity."""
    (found,) = [each for each in comparison.workloads[0].contrasts if each.quantity == quantity]
    return found


def two(first, second, repeats=3):
    """Runs of two makers of results, a few of each."""
    return [make(repeat) for repeat in range(repeats) for make in (first, second)]


def test_a_comparison_round_trips_through_json():
    """A comparison written as JSON and read again is the same value."""
    comparison = compare(builders.study())
    assert Comparison.model_validate_json(comparison.model_dump_json(by_alias=True)) == comparison


def test_the_order_of_results_does_not_matter():
    """The same results in another order give the same comparison."""
    results = builders.study()
    assert compare(results) == compare(results[::-1])


def test_the_same_result_counts_once():
    """A result that is given twice counts once."""
    results = builders.study()
    assert compare([*results, *results]) == compare(results)


def test_a_row_carries_mean_values_interval_and_worst_grade():
    """A metric of a row is the mean over runs with each run's value, an interval and the worst grade about it."""
    results = [builders.result(repeat=repeat) for repeat in range(3)]
    estimate = compare(results).workloads[0].rows[0].metrics["training_iterations_per_second"]
    speeds = [result.summary.training_iterations_per_second for result in results]
    assert estimate.values == tuple(speeds)
    assert estimate.mean == pytest.approx(sum(speeds) / 3)
    assert estimate.interval.low < estimate.mean < estimate.interval.high
    assert (estimate.grade, compare(results).workloads[0].rows[0].metrics["psnr_db"].grade) == ("A", "B")


def test_faster_is_said_with_three_runs_each():
    """A fifth between two configurations with three quiet runs each is decided, and its interval holds the ratio."""
    found = contrast(compare(builders.study()), "training_speed")
    assert (found.verdict, found.together) == ("faster", True)
    assert found.interval.low < 1.2 < found.interval.high


def test_one_run_each_gives_a_ratio_but_no_verdict():
    """With one run each the measured ratio is shown, without an interval, and not decided."""
    found = contrast(compare(builders.study(repeats=1)), "training_speed")
    assert found.value == pytest.approx(1.2, abs=0.05)
    assert (found.interval, found.verdict, found.further_runs) == (None, "not settled", None)
    assert found.reason == "no spread known; at least 3 runs each"


def test_equal_configurations_are_equivalent():
    """Two configurations that differ by noise alone are equivalent in speed."""
    other = builders.spec(execution={"threads": 2})
    results = two(lambda n: builders.result(repeat=n), lambda n: builders.result(of=other, repeat=n, id=f"other-{n}"))
    assert contrast(compare(results), "inference_speed").verdict == "equivalent"


def test_quality_needs_images_and_runs_to_agree():
    """A gain seen in every image and run is better; with few held-out photos the held-out loss decides nothing."""
    assert contrast(compare(builders.study()), "psnr_db").verdict == "better"
    other = builders.spec(execution={"precision": "bfloat16"})
    results = two(
        lambda n: builders.result(repeat=n, held_out=3),
        lambda n: builders.result(of=other, repeat=n, held_out=3, psnr_gain=5.0),
    )
    found = contrast(compare(results), "validation_loss")
    assert found.verdict is None
    assert "3 held-out photos" in found.reason


def test_grade_x_enters_no_verdict():
    """A number that a check graded X is shown with its grade but is in no verdict and is not best."""
    bad = [{"id": "clock", "subject": "training_speed", "grade": "X", "evidence": "The clock went back."}]
    other = builders.spec(execution={"precision": "bfloat16"})
    results = two(lambda n: builders.result(repeat=n, checks=bad), lambda n: builders.result(of=other, repeat=n))
    comparison = compare(results)
    found = contrast(comparison, "training_speed")
    assert (found.verdict, found.grade) == (None, "X")
    assert "graded X" in found.reason
    workload = comparison.workloads[0]
    assert standing(workload, workload.rows[0], "training_iterations_per_second") == ""


def test_different_workloads_stand_apart_key_by_key():
    """Results of different workloads form no ratio; the differing keys are named with both values."""
    other = builders.spec(tune={"learning_rate": 1e-3, "seconds": 60.0, "iterations": 200})
    comparison = compare([builders.result(), builders.result(of=other, id="other")])
    assert not comparison.comparable
    assert [workload.contrasts for workload in comparison.workloads] == [(), ()]
    (difference,) = comparison.differences
    assert difference.key == "tune.learning_rate"
    assert sorted(difference.values.values()) == ["0.001", "0.004"]


@pytest.mark.parametrize(
    ("part", "change", "key"),
    [
        ("inputs", {"dataset_sha256": "c" * 64}, "inputs.dataset_sha256"),
        ("inputs", {"weights_sha256": "d" * 64}, "inputs.weights_sha256"),
        ("quality", {"definition": {**builders.DEFINITION, "sigma": 2.0}}, "quality.definition.sigma"),
    ],
)
def test_other_inputs_or_another_evaluation_are_another_workload(part, change, key):
    """Equal specs with other weights, other data or another metric definition are not compared."""
    first = builders.result()
    changed = getattr(first, part).model_copy(update=change)
    comparison = compare([first, first.model_copy(update={part: changed, "id": "other"})])
    assert not comparison.comparable
    assert [each.key for each in comparison.differences] == [key]


def test_a_claimed_workload_hash_proves_nothing():
    """A result that claims the hash of another workload is still told apart by its spec."""
    other = builders.result(of=builders.spec(tune={"lora_rank": 4, "seconds": 60.0}), id="other")
    claimed = other.model_copy(update={"workload_sha256": builders.result().workload_sha256})
    assert not compare([builders.result(), claimed]).comparable


def test_one_label_for_two_configurations_gives_two_names_and_a_warning():
    """Two configurations under one label are two rows with names that differ, and a warning says so."""
    comparison = compare(builders.study())
    assert [row.name for row in comparison.workloads[0].rows] == ["Laptop CPU (FP32)", "Laptop CPU (bfloat16)"]
    assert any("share the label" in warning for warning in comparison.warnings)


def test_another_device_under_one_label_is_another_row():
    """The device decides the row, whatever the label says."""
    comparison = compare([builders.result(), builders.result(gpu=True, id="gpu")])
    names = [row.name for row in comparison.workloads[0].rows]
    assert len(set(names)) == 2
    assert any("Example GPU 48GB" in name for name in names)


def test_two_devices_behind_one_hash_are_two_rows():
    """A claimed hash is no proof: runs that saw another processor, or whose ranks named another, stand apart."""
    first, second, third = (builders.result(repeat=repeat) for repeat in range(3))
    smaller = second.system.before.devices[0].model_copy(update={"name": "Example CPU 4-core"})
    before = second.system.before.model_copy(update={"devices": (smaller,)})
    second = second.model_copy(update={"system": second.system.model_copy(update={"before": before})})
    rank = third.tuning.ranks[0].model_copy(update={"device_name": "Example GPU 48GB"})
    third = third.model_copy(update={"tuning": third.tuning.model_copy(update={"ranks": (rank,)})})
    comparison = compare([first, second, third, builders.failed()])
    rows = comparison.workloads[0].rows
    assert sorted(len(row.runs) for row in rows) == [1, 1, 1]
    assert len({row.key for row in rows}) == 3
    assert any("3 different configurations share the label" in warning for warning in comparison.warnings)


def test_findings_that_were_left_out_are_found_again():
    """A result that came without the findings its raw values give is graded by them all the same."""
    run = builders.result(checks=[])
    rank = run.tuning.ranks[0].model_copy(update={"precision": {"dtype": "float32", "cuda.matmul": "tf32"}})
    posing = run.model_copy(update={"tuning": run.tuning.model_copy(update={"ranks": (rank,)})})
    (row,) = compare([posing]).workloads[0].rows
    assert row.metrics["training_iterations_per_second"].grade == "X"
    assert any(remark.id == "tuning_precision" for remark in row.remarks)


def test_every_number_has_a_grade():
    """Each number of a row with a value carries a grade, whatever it is about."""
    row = compare([builders.result(energy=builders.energy())]).workloads[0].rows[0]
    estimates = [*row.metrics.values(), *row.costs.values(), *row.phases.values(), *row.energy.gross_joules.values()]
    estimates += [score for point in row.curve for score in (point.psnr_db, point.ssim, point.validation_loss)]
    assert all(each.grade for each in estimates if each.mean is not None)


def test_the_plans_error_is_in_the_row():
    """What the plan predicted over what was measured stands in the row, for memory and for time."""
    error = {"peak_memory": 1.1, "seconds": 0.9}
    row = compare([builders.result(predicted_over_measured=error)]).workloads[0].rows[0]
    assert {name: each.mean for name, each in row.predicted_over_measured.items()} == error
    for found in row.predicted_over_measured.values():
        assert (found.mean is None) == (found.reason is not None)


@pytest.mark.parametrize(("seconds", "near"), [(0.1, True), (0.2, False)])
def test_measured_apart_is_said_only_where_drift_could_be_the_difference(seconds, near):
    """Runs of two studies were not interleaved: a warning where speeds differ no more than a machine drifted."""
    other = builders.spec(execution={"precision": "bfloat16"})
    rates = (("before", 2e11), ("after", 1.8e11))
    canary = [
        {
            "phase": "tune", "when": when, "precision": "ieee_float32", "matmul_size": 1024,
            "matmul_flops_per_second": rate, "copy_bytes_per_second": 1e10,
        }
        for when, rate in rates
    ]  # fmt: skip
    results = two(
        lambda n: builders.result(repeat=n, canary=canary),
        lambda n: builders.result(of=other, repeat=n, study="elsewhere", iteration_seconds=(seconds,) * 220),
    )
    comparison = compare(results)
    pair = contrast(comparison, "training_speed")
    assert (pair.together, pair.near_drift) == (False, near)
    assert not contrast(comparison, "peak_memory_bytes").near_drift
    assert any("measured apart" in warning for warning in comparison.warnings) is near


def test_failed_runs_are_listed_and_never_in_a_mean():
    """A failed run is listed with phase and reason, and changes no number."""
    good = [builders.result(repeat=repeat) for repeat in range(3)]
    comparison = compare([*good, builders.failed()])
    (ended,) = comparison.ended
    assert (ended.phase, ended.status) == ("tune", "failed")
    assert "OutOfMemoryError" in ended.reason
    assert comparison.workloads[0].rows[0].metrics == compare(good).workloads[0].rows[0].metrics


def test_a_configuration_that_only_failed_is_a_row_of_reasons():
    """A configuration without a complete run still has its row, and each number says why it is missing."""
    broken = builders.failed(of=builders.spec(execution={"precision": "bfloat16"}))
    comparison = compare([builders.result(), broken])
    assert comparison.comparable
    row = comparison.workloads[0].rows[1]
    assert row.runs == ()
    assert row.metrics["psnr_db"].mean is None
    assert "failed in phase tune" in row.metrics["psnr_db"].reason


def test_only_failures_make_a_comparison_without_numbers():
    """Failures alone are shown, with a warning that nothing can be compared."""
    comparison = compare([builders.failed()])
    assert any("nothing to compare" in warning for warning in comparison.warnings)
    assert all(answer.state != "decided" for answer in answers(comparison.workloads[0]))


@pytest.mark.parametrize(
    ("asked", "read_back", "name"),
    [
        ("ieee_float32", {"dtype": "float32", "matmul": "ieee"}, "FP32"),
        ("ieee_float32", {"dtype": "float32", "cuda.matmul.fp32_precision": "tf32"}, "TF32 (asked for FP32)"),
        ("ieee_float32", {"dtype": "float32", "allow_tf32": "True"}, "TF32 (asked for FP32)"),
        ("ieee_float32", {"dtype": "torch.bfloat16"}, "bfloat16 (asked for FP32)"),
        ("tf32", {"dtype": "float32", "matmul": "tf32"}, "TF32"),
        ("bfloat16", {"dtype": "bfloat16", "weights": "int8"}, "bfloat16, int8 weights"),
        (
            "ieee_float32",
            {"dtype": "float32", "weights": "bfloat16 (99.9% of the numbers), adapters apart"},
            "FP32, bfloat16 weights",
        ),
        ("ieee_float32", {}, "FP32"),
    ],
)
def test_precision_is_named_as_it_was_read_back(asked, read_back, name):
    """What the backends say outweighs what the spec asked for: TF32 and int8 weights are never called FP32."""
    run = builders.result(of=builders.spec(execution={"device": "cuda", "inference_precision": asked}), gpu=True)
    run = run.model_copy(update={"inference": run.inference.model_copy(update={"precision": read_back})})
    assert compare([run]).workloads[0].rows[0].inference_precision == name


def test_curves_hold_every_mark_in_order():
    """The curve has a point for each mark, in the order of time, that begins untuned."""
    curve = compare(builders.study()).workloads[0].rows[0].curve
    assert [point.mark for point in curve] == ["untuned", "seconds-15", "iterations-200", "seconds-30", "seconds-60"]
    assert curve[0].psnr_db.mean < curve[-1].psnr_db.mean
    assert curve[-1].validation_loss.interval is not None


def test_answers_are_decided_only_where_the_verdict_is():
    """The answer names the fastest where that is decided, and says how many runs are missing where it is not."""
    (decided, *_) = answers(compare(builders.study()).workloads[0])
    assert decided.state == "decided"
    assert decided.sentence.startswith("“Laptop CPU (FP32)” tunes fastest: 2")
    (undecided, *_) = answers(compare(builders.study(repeats=1)).workloads[0])
    assert undecided.state != "decided"
    assert "Not settled; no spread known; at least 3 runs each" in undecided.sentence


def test_a_claimed_configuration_hash_proves_nothing():
    """Runs with other settings that claim the hash of a configuration are rows of their own, named by the settings."""
    claim = builders.result().configuration_sha256
    asked = builders.spec(execution={"threads": 1, "gradient_checkpointing": True})
    claiming = [builders.result(of=asked, repeat=n, id=f"o-{n}", configuration_sha256=claim) for n in range(3)]
    rows = compare([*(builders.result(repeat=n) for n in range(3)), *claiming]).workloads[0].rows
    assert sorted((row.name, len(row.runs)) for row in rows) == [
        ("Laptop CPU (checkpointing)", 3),
        ("Laptop CPU (no checkpointing)", 3),
    ]


def test_another_fluxkit_or_another_image_is_another_configuration():
    """What made the results counts: another version of fluxkit or another image is another row, named by it."""
    made = {"version": "0.2.0", "commit": None, "dirty": None, "image": f"other@sha256:{'1' * 64}"}
    results = [builders.result(), builders.result(repeat=1, kit=made), builders.failed(kit=made)]
    rows = compare(results).workloads[0].rows
    assert sorted(row.name for row in rows) == [
        "Laptop CPU (fluxkit 0.1.0, no image)",
        "Laptop CPU (fluxkit 0.2.0, image other 1111111)",
    ]
    assert len({row.key for row in rows}) == 2


def test_other_packages_are_another_configuration_named_by_them():
    """Results whose packages have other versions are rows that say which."""
    first = builders.result()
    before = first.system.before
    before = before.model_copy(update={"packages": {**before.packages, "torch": "2.14.0", "peft": "0.19"}})
    newer = first.model_copy(update={"id": "newer", "system": first.system.model_copy(update={"before": before})})
    names = sorted(row.name for row in compare([first, newer]).workloads[0].rows)
    assert names == ["Laptop CPU (no peft, torch 2.13.0)", "Laptop CPU (peft 0.19, torch 2.14.0)"]


def test_two_prices_of_energy_in_one_row_are_warned_about():
    """Runs of one configuration with two prices of energy are priced at the latest, and a warning says so."""
    results = [
        builders.result(of=builders.spec(hardware={"label": "Laptop CPU", "usd_per_kwh": price}), repeat=repeat)
        for repeat, price in enumerate((0.2, 0.2, 0.3))
    ]
    comparison = compare(results)
    assert comparison.workloads[0].rows[0].usd_per_kwh == 0.3
    (said,) = [warning for warning in comparison.warnings if "several prices" in warning]
    assert "“Laptop CPU” has 0.2 USD/kWh and 0.3 USD/kWh" in said


def offers(*labels_and_prices):
    """Three runs of one machine under each label, at each price by the hour."""
    return [
        builders.result(
            of=builders.spec(hardware={"label": label, "usd_per_hour": price}), repeat=n, id=f"{label}{price}-{n}"
        )
        for label, price in labels_and_prices
        for n in range(3)
    ]


def test_two_offers_of_one_device_are_two_rows_with_their_prices():
    """The same device under two labels is two rows, each at its own price and with a hash of its own."""
    comparison = compare(offers(("A100, community", 1.9), ("A100, secure", 4.1)))
    rows = comparison.workloads[0].rows
    assert {row.name: row.usd_per_hour for row in rows} == {"A100, community": 1.9, "A100, secure": 4.1}
    assert len({row.key for row in rows}) == len({row.configuration_sha256 for row in rows}) == 2
    assert not [warning for warning in comparison.warnings if "price" in warning]


@pytest.mark.parametrize("precisions", [("float32", "float32"), ("float32", "bfloat16")])
def test_one_label_with_two_prices_is_a_warning_that_names_both(precisions):
    """Whether the runs are one row or two: two prices under one label may be two offers, so both are named."""
    results = [
        builders.result(
            of=builders.spec(hardware={"label": "A100", "usd_per_hour": price}, execution={"precision": precision}),
            repeat=n,
            id=f"{price}-{n}",
        )
        for price, precision in zip((1.9, 4.1), precisions, strict=True)
        for n in range(3)
    ]
    (said,) = [warning for warning in compare(results).warnings if "several prices" in warning]
    assert "“A100” has 1.9 USD/h and 4.1 USD/h" in said
    priced_by_reader = compare(results, ReaderOptions(usd_per_hour={"A100": 2.0}))
    assert not [warning for warning in priced_by_reader.warnings if "several prices" in warning]


def test_shares_and_predictions_have_intervals_on_the_log_scale():
    """A share of the ceiling and plan / measured are ratios: geometric mean, and SciPy's interval of the logarithms."""
    ratios = (0.3, 0.5, 0.9)
    results = []
    for repeat, ratio in enumerate(ratios):
        made = builders.result(repeat=repeat, predicted_over_measured={"peak_memory": ratio, "seconds": ratio})
        shares = {"training_flops_share": ratio, "inference_flops_share": ratio}
        results.append(made.model_copy(update={"summary": made.summary.model_copy(update=shares)}))
    (row,) = compare(results).workloads[0].rows
    expected = reference.ttest_1samp([math.log(ratio) for ratio in ratios], 0).confidence_interval(0.95)
    for found in (*row.predicted_over_measured.values(), row.metrics["training_flops_share"]):
        assert found.mean == pytest.approx(math.prod(ratios) ** (1 / 3))
        ends = (math.exp(expected.low), math.exp(expected.high))
        assert (found.interval.low, found.interval.high) == pytest.approx(ends, rel=1e-9)


@pytest.mark.parametrize("strange", [0.0, 1e38])
def test_a_ratio_that_cannot_be_is_no_crash(strange):
    """A stranger's ratio of nothing has no mean and a reason; an endless spread has an interval all the same."""
    results = [
        builders.result(repeat=repeat, predicted_over_measured={"peak_memory": ratio})
        for repeat, ratio in enumerate((strange, 1.0, 1e-9))
    ]
    found = compare(results).workloads[0].rows[0].predicted_over_measured["peak_memory"]
    assert (found.mean is None) == ("geometric mean" in (found.reason or "")) == (strange == 0)
    assert (found.interval is None) == (strange == 0)
