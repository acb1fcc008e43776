"""Charts of the raw series: how the times of single steps spread and drift, and what the machine did beside them."""

import itertools
import statistics
from collections.abc import Mapping

from fluxkit.charts.summary_charts import Chart
from fluxkit.charts.svg import svg
from fluxkit.charts.vega_specs import change_layers, drift_layers, setting_layers, spread_layers
from fluxkit.compare.comparison import Row, Workload
from fluxkit.record.result import RunResult
from fluxkit.text.number_format import plain
from fluxkit.trust.ceilings import before_and_after
from fluxkit.trust.finding import SPEED_SUBJECTS

PARTS = 20
"""Of a run, for its drift."""
FEWEST_STEPS = 40
"""Of a run with a drift: with fewer, a part would be a single step."""
MILLISECONDS = 1000.0
MOST_RUNS = 60
"""Of a workload that are drawn one by one; of more than can be told apart, the first of each configuration."""
OR_FIRST = f"of more than {MOST_RUNS} runs, the first of each configuration"
QUANTILES = ("low", "quarter", "median", "three_quarters", "high")
"""5, 25, 50, 75 and 95 % of the iteration times."""


def spread(workload: Workload, runs: Mapping[str, RunResult], key: str) -> Chart | None:
    """How long an iteration took, over all iterations of all runs of a configuration."""
    rows, values, table = [], [], []
    for row in workload.rows:
        tunings = [run.tuning for run in _runs_of(row, runs) if run.tuning]
        times = [MILLISECONDS * seconds for tuning in tunings for seconds in tuning.iteration_seconds if seconds > 0]
        if len(times) > 1:
            twentieths = statistics.quantiles(times, n=20, method="inclusive")
            cuts = [twentieths[place] for place in (0, 4, 9, 14, 18)]
            low, _, median, _, high = map(plain, cuts)
            label = f"{row.name}: median {median} ms, 5 to 95 %: {low} to {high} ms"
            rows.append(row)
            values.append({"name": row.name, **dict(zip(QUANTILES, cuts, strict=True)), "label": label})
            table.append((row.name, f"{len(times):,}", *map(plain, (*cuts, max(times)))))
    if not rows:
        return None
    return Chart(
        title="How long an iteration took",
        how_to_read=(
            "The marker is the median iteration, the thick line holds the middle half of them, the thin line 5 % to "
            "95 %; the axis is logarithmic. A long thin line means that some iterations were disturbed. The rate in "
            "the tables is count / total seconds, so disturbed iterations count in it."
        ),
        svg=svg(spread_layers(rows, values, "ms per iteration"), key),
        columns=(
            "Configuration", "Iterations", "5 % (ms)", "25 % (ms)", "Median (ms)", "75 % (ms)", "95 % (ms)",
            "Longest (ms)",
        ),
        table=tuple(table),
    )  # fmt: skip


def drift(workload: Workload, runs: Mapping[str, RunResult], key: str) -> Chart | None:
    """Median iteration time in equal parts of each run, as a share of the run's median."""
    values, table = [], []
    for row, run in _drawn_runs(workload, runs):
        steps = run.tuning.iteration_seconds if run.tuning else ()
        if len(steps) < FEWEST_STEPS or min(steps) <= 0:
            continue
        cuts = [round(place * len(steps) / PARTS) for place in range(PARTS + 1)]
        median = statistics.median(steps)
        shares = [statistics.median(steps[start:end]) / median for start, end in itertools.pairwise(cuts)]
        first, last = plain(shares[0]), plain(shares[-1])
        label = f"{row.name}, repeat {run.repeat}: first part {first}, last part {last} of its median"
        values += [
            {"name": row.name, "run": run.id, "x": 100 * (place + 0.5) / PARTS, "y": share, "label": label}
            for place, share in enumerate(shares)
        ]
        table.append((row.name, str(run.repeat), plain(MILLISECONDS * median), first, last, plain(max(shares))))
    if not table:
        return None
    return Chart(
        title="Drift of the iteration time over the run",
        how_to_read=(
            f"A line per run ({OR_FIRST}): the median iteration of each twentieth of the run, as a share of the "
            "median of the whole run. A flat line at 1 is a machine that did not change; a rise is one that became "
            "slower, by heat or by other work."
        ),
        svg=svg(drift_layers([row for row in workload.rows if row.runs], values), key),
        columns=("Configuration", "Repeat", "Median (ms)", "First part", "Last part", "Slowest part"),
        table=tuple(table),
    )


def change(workload: Workload, runs: Mapping[str, RunResult], key: str) -> Chart | None:
    """The canary after a timed phase against before it."""
    kinds = ("matrix products", "copies in memory")
    values, table = [], []
    for row, run in _drawn_runs(workload, runs):
        for phase in SPEED_SUBJECTS:
            for before, after in before_and_after(run, phase):
                products = (before.matmul_flops_per_second, after.matmul_flops_per_second)
                copies = (before.copy_bytes_per_second, after.copy_bytes_per_second)
                ratios = (products[1] / products[0], copies[1] / copies[0])
                for kind, ratio in zip(kinds, ratios, strict=True):
                    label = f"{row.name}, repeat {run.repeat}, {phase}: {kind} {plain(ratio)} times the rate before"
                    values.append({"name": row.name, "kind": kind, "x": ratio, "label": label})
                rates = [rate / 1e9 for rate in (*products, *copies)]
                table.append((row.name, str(run.repeat), phase, *map(plain, (*rates, *ratios))))
    if not table:
        return None
    return Chart(
        title="The machine itself, before and after",
        how_to_read=(
            "The canary is the same small work before and after each timed phase: products of matrices and copies in "
            "memory, of all processes together. A point at 1 means that the machine was as fast after as before; a "
            "point left of it, that it had become slower, whatever the run did."
        ),
        svg=svg(change_layers([row for row in workload.rows if row.runs], values, kinds), key),
        columns=(
            "Configuration", "Repeat", "Phase", "Products before (GFLOP/s)", "Products after (GFLOP/s)",
            "Copies before (GB/s)", "Copies after (GB/s)", "Products, after / before", "Copies, after / before",
        ),
        table=tuple(table),
    )  # fmt: skip


def settings(workload: Workload, runs: Mapping[str, RunResult], key: str) -> Chart | None:
    """Inference speed by micro-batch and precision."""
    table, values = [], []
    for row, run in _drawn_runs(workload, runs):
        inference, speed = run.inference, run.summary.inference_image_steps_per_second
        if inference is None or speed is None:
            continue
        steps = sorted(MILLISECONDS * seconds for seconds in inference.step_seconds)
        precision, size = row.inference_precision, inference.micro_batch_size
        name, rate = f"{row.name}, repeat {run.repeat}", plain(speed, 4)
        values.append({
            "name": row.name, "x": f"{precision}, {size}", "y": speed, "precision": precision, "size": size,
            "label": f"{name}: {rate} image-steps/s in {precision}, micro-batch {size}",
        })  # fmt: skip
        table.append((
            name, precision, str(size), str(inference.processes), str(len(steps)), f"{100 * inference.coverage:.0f} %",
            plain(statistics.median(steps)), plain(steps[-1]), rate,
        ))  # fmt: skip
    if not table:
        return None
    rows = [row for row in workload.rows if any(value["name"] == row.name for value in values)]
    return Chart(
        title="Inference speed by micro-batch and precision",
        how_to_read=(
            f"A point per run ({OR_FIRST}). The batch is worked off in micro-batches, whose size stands below "
            "beside the precision as it was read back. Coverage is the share of one whole batch's steps that was timed."
        ),
        svg=svg(setting_layers(rows, values), key),
        columns=(
            "Run", "Precision", "Micro-batch", "Processes", "Steps timed", "Coverage", "Median step (ms)",
            "Longest step (ms)", "image-steps/s",
        ),
        table=tuple(table),
    )  # fmt: skip


def _drawn_runs(workload: Workload, runs: Mapping[str, RunResult]) -> list[tuple[Row, RunResult]]:
    """Runs that are drawn one by one, with their configurations."""
    pairs = [(row, run) for row in workload.rows for run in _runs_of(row, runs)]
    return pairs if len(pairs) <= MOST_RUNS else [(row, run) for row, run in pairs if run.id == row.runs[0]]


def _runs_of(row: Row, runs: Mapping[str, RunResult]) -> list[RunResult]:
    return [runs[id_] for id_ in row.runs if id_ in runs]
