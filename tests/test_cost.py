"""`fluxkit.cost`: price of the instance times measured seconds, through whole results."""

import builders
import pytest

from fluxkit.compare import compare
from fluxkit.folder import find_results


def timed(label, iterations, seconds, usd_per_hour=0.0):
    """A run of so many iterations that took so many seconds in all."""
    asked = builders.spec(
        name=f"schnell-{iterations}",
        tune={"iterations": iterations, "seconds": 60.0},
        hardware={"label": label, "usd_per_hour": usd_per_hour},
        execution={"threads": len(label)},
    )
    return builders.result(of=asked, iteration_seconds=(seconds / iterations,) * iterations, id=f"{label}-{iterations}")


def test_the_known_table_comes_out_of_result_files(tmp_path):
    """Four known runs, written and read as files, give their four rates and a ratio of 1.72 in both columns."""
    table = {("A100", 500): 1013, ("A100", 2000): 5236, ("A40", 500): 1744, ("A40", 2000): 9017}
    for (label, iterations), seconds in table.items():
        run = timed(label, iterations, seconds)
        builders.run_folder(tmp_path / run.id, run)
    comparison = compare(result for _, result in find_results([tmp_path]))
    speeds = {
        (row.label, workload.tables["tune"]["iterations"]): row.metrics["training_iterations_per_second"].mean
        for workload in comparison.workloads
        for row in workload.rows
    }
    assert {key: round(value, 4) for key, value in speeds.items()} == {
        ("A100", 500): 0.4936,
        ("A100", 2000): 0.3820,
        ("A40", 500): 0.2867,
        ("A40", 2000): 0.2218,
    }
    ratios = [
        each.value
        for workload in comparison.workloads
        for each in workload.contrasts
        if each.quantity == "training_speed"
    ]
    assert [round(ratio, 2) for ratio in ratios] == [1.72, 1.72]
    assert not comparison.comparable


def test_costs_are_price_times_seconds():
    """At 3.60 USD an hour a second costs 0.001 USD: iterations, adapter and images follow from the measured rates."""
    run = timed("GPU", 500, 1000.0, usd_per_hour=3.6)
    costs = compare([run]).workloads[0].rows[0].costs
    assert costs["usd_per_1000_iterations"].mean == pytest.approx(2.0)
    assert costs["usd_per_adapter"].mean == pytest.approx(0.06)
    steps = run.summary.inference_image_steps_per_second
    assert costs["usd_per_1000_images"].mean == pytest.approx(1000 * 4 / steps * 0.001)


def test_no_price_is_no_cost():
    """A price of 0 means not given: costs are missing with that reason, never 0."""
    costs = compare([timed("GPU", 500, 1000.0)]).workloads[0].rows[0].costs
    assert {cost.mean for cost in costs.values()} == {None}
    assert all("no price given" in cost.reason for cost in costs.values())


def test_a_missing_rate_is_a_cost_with_its_reason():
    """A run without inference speed has no price per image, and says why; its other costs stand."""
    run = timed("GPU", 500, 1000.0, usd_per_hour=3.6)
    blind = run.model_copy(
        update={"summary": run.summary.model_copy(update={"inference_image_steps_per_second": None})}
    )
    costs = compare([blind]).workloads[0].rows[0].costs
    assert costs["usd_per_1000_images"].mean is None
    assert "no inference speed" in costs["usd_per_1000_images"].reason
    assert costs["usd_per_adapter"].mean is not None
