"""`fluxkit.charts.step_time_charts`: what is drawn of the raw series."""

import builders

from fluxkit.charts.step_time_charts import change
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
