"""Charts of the raw series: how the times of single steps spread and drift, and what the machine did beside them."""

import itertools
import statistics
from collections.abc import Iterable, Mapping

from fluxkit.charts.summary_charts import Chart, marked
from fluxkit.charts.svg import svg
from fluxkit.charts.vega_specs import change_layers, drift_layers, setting_layers, spread_layers
from fluxkit.compare.comparison import Row, Workload
from fluxkit.record.result import RunResult
from fluxkit.text.number_format import plain
from fluxkit.trust.ceilings import before_and_after
from fluxkit.trust.finding import SPEED_SUBJECTS
from fluxkit.values import LEAST

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
    series = {}
    for row in workload.rows:
        tunings = [run.tuning for run in _runs_of(row, runs) if run.tuning]
        times = [seconds for tuning in tunings for seconds in tuning.iteration_seconds if seconds >= LEAST]
        if len(times) > 1:
            series[row.key] = (row, times)
    if not series:
        return None
    unit, factor = _unit(second for _, times in series.values() for second in times)
    values, table = [], []
    for row, times in series.values():
        twentieths = [factor * cut for cut in statistics.quantiles(times, n=20, method="inclusive")]
        cuts = [twentieths[place] for place in (0, 4, 9, 14, 18)]
        low, _, median, _, high = map(plain, cuts)
        label = marked(row, f": median {median} {unit}, 5 to 95 %: {low} to {high} {unit}")
        values.append({"name": row.name, **dict(zip(QUANTILES, cuts, strict=True)), "label": label})
        table.append((row.name, f"{len(times):,}", *map(plain, (*cuts, factor * max(times)))))
    return Chart(
        title="How long an iteration took",
        how_to_read=(
            "The marker is the median iteration, the thick line holds the middle half of them, the thin line 5 % to "
            "95 %. Log scale. A long thin line means that some iterations were disturbed; they count in the rates."
        ),
        svg=svg(spread_layers([row for row, _ in series.values()], values, f"{unit} per iteration"), key),
        columns=(
            "Configuration", "Iterations", *(f"{name} ({unit})" for name in ("5 %", "25 %", "Median", "75 %", "95 %")),
            f"Longest ({unit})",
        ),
        table=tuple(table),
    )  # fmt: skip


def drift(workload: Workload, runs: Mapping[str, RunResult], key: str) -> Chart | None:
    """Iteration time in equal parts of a run as a share of the run's median: the mean over a configuration's runs."""
    values, table, rows = [], [], []
    unit, factor = _unit(second for run in runs.values() if run.tuning for second in run.tuning.iteration_seconds)
    for row in workload.rows:
        lines = []
        for run in _runs_of(row, runs):
            steps = run.tuning.iteration_seconds if run.tuning else ()
            if len(steps) < FEWEST_STEPS or min(steps) < LEAST:
                continue
            cuts = [round(place * len(steps) / PARTS) for place in range(PARTS + 1)]
            median = statistics.median(steps)
            shares = [statistics.median(steps[start:end]) / median for start, end in itertools.pairwise(cuts)]
            lines.append(shares)
            ends = map(plain, (shares[0], shares[-1], max(shares)))
            table.append((row.name, str(run.repeat), plain(factor * median), *ends))
        if lines:
            rows.append(row)
            means = [statistics.fmean(part) for part in zip(*lines, strict=True)]
            label = marked(row, f": first part {plain(means[0])}, last part {plain(means[-1])} of the median")
            values += [
                {"name": row.name, "x": 100 * (place + 0.5) / PARTS, "y": share, "label": label}
                for place, share in enumerate(means)
            ]
    if not table:
        return None
    return Chart(
        title="Drift of the iteration time over the run",
        how_to_read=(
            "A line per configuration, the mean over its runs: the median iteration of each twentieth of a run, as a "
            "share of the median of the whole run. A flat line at 1 is a machine that did not change; a rise is one "
            "that became slower, by heat or by other work."
        ),
        svg=svg(drift_layers(rows, values), key),
        columns=("Configuration", "Repeat", f"Median ({unit})", "First part", "Last part", "Slowest part"),
        table=tuple(table),
    )


def change(workload: Workload, runs: Mapping[str, RunResult], key: str) -> Chart | None:
    """The machine's own speed after a timed phase against before it."""
    kinds = ("matrix products", "copies in memory")
    values, table = [], []
    for row, run in _drawn_runs(workload, runs):
        for phase in SPEED_SUBJECTS:
            for before, after in before_and_after(run, phase):
                products = (before.matmul_flops_per_second, after.matmul_flops_per_second)
                copies = (before.copy_bytes_per_second, after.copy_bytes_per_second)
                ratios = (products[1] / products[0], copies[1] / copies[0])
                for kind, ratio in zip(kinds, ratios, strict=True):
                    words = f", repeat {run.repeat}, {phase}: {kind} {plain(ratio)} times the rate before"
                    values.append({"name": row.name, "kind": kind, "x": ratio, "label": marked(row, words)})
                rates = [rate / 1e9 for rate in (*products, *copies)]
                table.append((row.name, str(run.repeat), phase, *map(plain, (*rates, *ratios))))
    if not table:
        return None
    return Chart(
        title="The machine itself, before and after",
        how_to_read=(
            "The same small work is timed before and after each timed phase: products of matrices and copies in "
            "memory, of all processes together. Right of 1 the machine was faster afterwards, left of it slower, "
            "whatever the run did."
        ),
        svg=svg(change_layers([row for row in workload.rows if row.runs], values, kinds), key),
        columns=(
            "Configuration", "Repeat", "Phase", "Products before (GFLOP/s)", "Products after (GFLOP/s)",
            "Copies before (GB/s)", "Copies after (GB/s)", "Products, after / before", "Copies, after / before",
        ),
        table=tuple(table),
    )  # fmt: skip


def settings(workload: Workload, runs: Mapping[str, RunResult], key: str) -> Chart | None:
    """Inference speed by micro-batch and precision; None where all micro-batches are alike: the bars say the rest."""
    measured = [
        (row, run, run.inference, speed)
        for row, run in _drawn_runs(workload, runs)
        if run.inference and (speed := run.summary.inference_image_steps_per_second) is not None
    ]
    if len({inference.micro_batch_size for _, _, inference, _ in measured}) < 2:  # noqa: PLR2004 - two differ
        return None
    table, values = [], []
    unit, factor = _unit(second for _, _, inference, _ in measured for second in inference.step_seconds)
    for row, run, inference, speed in measured:
        steps = sorted(factor * seconds for seconds in inference.step_seconds)
        precision, size = row.inference_precision, inference.micro_batch_size
        name, rate = f"{row.name}, repeat {run.repeat}", plain(speed, 4)
        values.append({
            "name": row.name, "x": f"{precision}, {size}", "y": speed, "precision": precision, "size": size,
            "label": marked(row, f", repeat {run.repeat}: {rate} image-steps/s in {precision}, micro-batch {size}"),
        })  # fmt: skip
        table.append((
            name, precision, str(size), str(inference.processes), str(len(steps)), f"{100 * inference.coverage:.0f} %",
            plain(statistics.median(steps)), plain(steps[-1]), rate,
        ))  # fmt: skip
    rows = list({row.key: row for row, *_ in measured}.values())
    return Chart(
        title="Inference speed by micro-batch and precision",
        how_to_read=(
            f"A point per run ({OR_FIRST}). The batch is worked off in micro-batches, whose size stands below "
            "beside the precision as it was read back. Coverage is the share of one whole batch's steps that was timed."
        ),
        svg=svg(setting_layers(rows, values), key),
        columns=(
            "Run", "Precision", "Micro-batch", "Processes", "Steps timed", "Coverage", f"Median step ({unit})",
            f"Longest step ({unit})", "image-steps/s",
        ),
        table=tuple(table),
    )  # fmt: skip


def _unit(seconds: Iterable[float]) -> tuple[str, float]:
    """The unit of some times, and what seconds are multiplied by: milliseconds only where all are below 1,000."""
    return ("ms", MILLISECONDS) if max(seconds, default=0.0) < 1.0 else ("s", 1.0)


def _drawn_runs(workload: Workload, runs: Mapping[str, RunResult]) -> list[tuple[Row, RunResult]]:
    """Runs that are drawn one by one, with their configurations."""
    pairs = [(row, run) for row in workload.rows for run in _runs_of(row, runs)]
    return pairs if len(pairs) <= MOST_RUNS else [(row, run) for row, run in pairs if run.id == row.runs[0]]


def _runs_of(row: Row, runs: Mapping[str, RunResult]) -> list[RunResult]:
    return [runs[id_] for id_ in row.runs if id_ in runs]
