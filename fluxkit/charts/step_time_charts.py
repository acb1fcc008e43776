"""Charts of the raw series: how the times of single steps spread and drift, and what the machine did beside them."""

from __future__ import annotations

import itertools
import statistics
from typing import TYPE_CHECKING, Any

from fluxkit.charts.summary_charts import Chart
from fluxkit.charts.svg import svg
from fluxkit.charts.vega_specs import change_layers, drift_layers, setting_layers, spread_layers
from fluxkit.text.number_format import plain
from fluxkit.trust.ceilings import before_and_after
from fluxkit.trust.finding import SPEED_SUBJECTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fluxkit.compare.comparison import Row, Workload
    from fluxkit.record.result import RunResult

PARTS = 20
"""Of a run, for its drift."""
FEWEST_STEPS = 40
"""Of a run with a drift: with fewer, a part would be a single step."""
MILLISECONDS = 1000.0
MOST_RUNS = 60
"""Of a workload that are drawn one by one; of more than can be told apart, the first of each configuration."""
OR_FIRST = f"of more than {MOST_RUNS} runs, the first of each configuration"


def spread(workload: Workload, runs: Mapping[str, RunResult], key: str) -> Chart | None:
    """How long an iteration took, over all iterations of all runs of a configuration."""
    found = {row.name: _iteration_seconds(row, runs) for row in workload.rows}
    rows = [row for row in workload.rows if len(found[row.name]) > 1]
    if not rows:
        return None
    values = [_spread_value(row, found[row.name]) for row in rows]
    return Chart(
        key=key,
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
        table=tuple(
            (row.name, f"{len(found[row.name]):,}", *(plain(value[name]) for name in SPREAD), plain(value["longest"]))
            for row, value in zip(rows, values, strict=True)
        ),
    )  # fmt: skip


SPREAD = ("low", "quarter", "median", "three_quarters", "high")


def _spread_value(row: Row, seconds: Sequence[float]) -> dict[str, Any]:
    twentieths = statistics.quantiles(seconds, n=20, method="inclusive")
    cuts = [MILLISECONDS * twentieths[place] for place in (0, 4, 9, 14, 18)]
    label = f"{row.name}: median {plain(cuts[2])} ms, 5 to 95 %: {plain(cuts[0])} to {plain(cuts[4])} ms"
    return {
        "name": row.name,
        **dict(zip(SPREAD, cuts, strict=True)),
        "longest": MILLISECONDS * max(seconds),
        "label": label,
    }


def drift(workload: Workload, runs: Mapping[str, RunResult], key: str) -> Chart | None:
    """Median iteration time in equal parts of each run, as a share of the run's median."""
    shown = [(row, run) for row, run in _shown(workload, runs) if _long_enough(run)]
    if not shown:
        return None
    values, table = [], []
    for row, run in shown:
        steps = run.tuning.iteration_seconds if run.tuning else ()
        parts, centre = _parts(steps), statistics.median(steps)
        ends = [part / centre for part in (parts[0], parts[-1])]
        label = (
            f"{row.name}, repeat {run.repeat}: first part {plain(ends[0])}, last part {plain(ends[1])} of its median"
        )
        values += [
            {"name": row.name, "run": run.id, "x": 100 * (place + 0.5) / PARTS, "y": part / centre, "label": label}
            for place, part in enumerate(parts)
        ]
        worst = max(parts) / centre
        table.append((row.name, str(run.repeat), plain(MILLISECONDS * centre), *map(plain, (*ends, worst))))
    return Chart(
        key=key,
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


def _parts(seconds: Sequence[float]) -> list[float]:
    cuts = [round(place * len(seconds) / PARTS) for place in range(PARTS + 1)]
    return [statistics.median(seconds[start:end]) for start, end in itertools.pairwise(cuts)]


def change(workload: Workload, runs: Mapping[str, RunResult], key: str) -> Chart | None:
    """The canary after a timed phase against before it."""
    pairs = [
        (row, run, phase, before, after)
        for row, run in _shown(workload, runs)
        for phase in SPEED_SUBJECTS
        for before, after in before_and_after(run, phase)
    ]
    if not pairs:
        return None
    values, table = [], []
    for row, run, phase, before, after in pairs:
        ratios = (
            after.matmul_flops_per_second / before.matmul_flops_per_second,
            after.copy_bytes_per_second / before.copy_bytes_per_second,
        )
        for kind, ratio in zip(("matrix products", "copies in memory"), ratios, strict=True):
            label = f"{row.name}, repeat {run.repeat}, {phase}: {kind} {plain(ratio)} times the rate before"
            values.append({"name": row.name, "kind": kind, "x": ratio, "label": label})
        rates = (before.matmul_flops_per_second, after.matmul_flops_per_second)
        copies = (before.copy_bytes_per_second, after.copy_bytes_per_second)
        table.append((
            row.name, str(run.repeat), phase, *(plain(rate / 1e9) for rate in (*rates, *copies)), *map(plain, ratios),
        ))  # fmt: skip
    return Chart(
        key=key,
        title="The machine itself, before and after",
        how_to_read=(
            "The canary is the same small work before and after each timed phase: products of matrices and copies in "
            "memory, of all processes together. A point at 1 means that the machine was as fast after as before; a "
            "point left of it, that it had become slower, whatever the run did."
        ),
        svg=svg(change_layers([row for row in workload.rows if row.runs], values), key),
        columns=(
            "Configuration", "Repeat", "Phase", "Products before (GFLOP/s)", "Products after (GFLOP/s)",
            "Copies before (GB/s)", "Copies after (GB/s)", "Products, after / before", "Copies, after / before",
        ),
        table=tuple(table),
    )  # fmt: skip


def settings(workload: Workload, runs: Mapping[str, RunResult], key: str) -> Chart | None:
    """Inference speed by micro-batch and precision."""
    table, values = [], []
    for row, run in _shown(workload, runs):
        speed = run.summary.inference_image_steps_per_second
        if run.inference is None or speed is None:
            continue
        each = run.inference
        steps = sorted(MILLISECONDS * seconds for seconds in each.step_seconds)
        name = f"{row.name}, repeat {run.repeat}"
        setting = f"in {row.inference_precision}, micro-batch {each.micro_batch_size}"
        label = f"{name}: {plain(speed, 4)} image-steps/s {setting}"
        values.append({
            "name": row.name, "x": f"{row.inference_precision}, {each.micro_batch_size}", "y": speed, "label": label,
            "precision": row.inference_precision, "size": each.micro_batch_size,
        })  # fmt: skip
        table.append((
            name, row.inference_precision, str(each.micro_batch_size), str(each.processes), str(len(steps)),
            f"{100 * each.coverage:.0f} %", plain(statistics.median(steps)), plain(steps[-1]), plain(speed, 4),
        ))  # fmt: skip
    if not table:
        return None
    rows = [row for row in workload.rows if any(value["name"] == row.name for value in values)]
    return Chart(
        key=key,
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


def _iteration_seconds(row: Row, runs: Mapping[str, RunResult]) -> list[float]:
    return [
        seconds for run in _runs(row, runs) if run.tuning for seconds in run.tuning.iteration_seconds if seconds > 0
    ]


def _shown(workload: Workload, runs: Mapping[str, RunResult]) -> list[tuple[Row, RunResult]]:
    every = [(row, run) for row in workload.rows for run in _runs(row, runs)]
    return every if len(every) <= MOST_RUNS else [(row, run) for row, run in every if run.id == row.runs[0]]


def _runs(row: Row, runs: Mapping[str, RunResult]) -> list[RunResult]:
    return [runs[id_] for id_ in row.runs if id_ in runs]


def _long_enough(run: RunResult) -> bool:
    return (
        run.tuning is not None
        and len(run.tuning.iteration_seconds) >= FEWEST_STEPS
        and min(run.tuning.iteration_seconds) > 0
    )
