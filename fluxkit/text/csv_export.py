"""A comparison as CSV, for a spreadsheet or pandas: typed columns, unrounded numbers, nothing that a cell would run."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

from fluxkit.compare.comparison import Comparison, Row, Workload
from fluxkit.errors import printable
from fluxkit.record.metrics import METRICS, Subject
from fluxkit.record.result import RunResult
from fluxkit.trust.estimate import grade_about

CsvValue = str | float | None
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins like this would be calculated by a spreadsheet."""


def as_csv(comparison: Comparison) -> str:
    """A line per configuration; numbers unrounded in the units of the header, empty where there is none."""
    return _csv([_line(workload, row) for workload in comparison.workloads for row in workload.rows])


def runs_as_csv(comparison: Comparison, results: Iterable[RunResult]) -> str:
    """A line per run, those without a complete result too: what its summary says and which configuration it is of."""
    rows = {id_: (workload, row) for workload in comparison.workloads for row in workload.rows for id_ in row.runs}
    return _csv([_run_line(result, *rows.get(result.id, (None, None))) for result in results])


def _run_line(result: RunResult, workload: Workload | None, row: Row | None) -> dict[str, CsvValue]:
    """The summary in its stored units; the worst grade of each subject beside it."""
    return {
        "run": result.id,
        "study": result.study,
        "workload": workload.key if workload else None,
        "configuration": row.name if row else result.spec.hardware.label,
        "configuration_sha256": row.configuration_sha256 if row else None,
        "repeat": result.repeat,
        "order": result.order,
        "seed": result.seed,
        "created": result.created,
        "fluxkit": result.kit.version,
        "status": result.status,
        "error": result.error.message if result.error else None,
        **result.summary.model_dump(),
        **{f"{subject}_grade": grade_about([result], subject) for subject in get_args(Subject)},
    }


def _csv(lines: Sequence[Mapping[str, CsvValue]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(lines[0] if lines else ())
    writer.writerows([_defused(value) for value in line.values()] for line in lines)
    return file.getvalue()


def _line(workload: Workload, row: Row) -> dict[str, CsvValue]:
    """The cells of a configuration by their column; a metric has a column for each part of its estimate.

    Censored times are empty, and how far was looked stands beside them.
    """
    time = row.time_to_target
    line: dict[str, CsvValue] = {
        "workload": workload.key,
        "configuration": row.name,
        "configuration_sha256": row.configuration_sha256,
        "devices": " + ".join(row.devices),
        "processes": row.processes,
        "precision": row.precision,
        "inference_precision": row.inference_precision,
        "usd_per_hour": row.usd_per_hour,
        "usd_per_kwh": row.usd_per_kwh,
        "runs": len(row.runs),
        "agreement": row.agreement,
        "energy_class": row.energy.class_,
        "target_psnr_db": workload.target.psnr_db,
        "seconds_to_target_after": time.since_seconds if time else None,
        "seconds_to_target": time.seconds if time else None,
        "seconds_looked_for_target": time.looked_seconds if time else None,
    }
    line |= {f"predicted_over_measured_{name}": ratio.mean for name, ratio in row.predicted_over_measured.items()}
    for name, basis in row.bases.items():
        line |= {f"{name}_seconds": basis.seconds.mean, f"{name}_joules": basis.joules.mean}
    for metric in METRICS:
        estimate, interval = row.estimate(metric.key), row.estimate(metric.key).interval
        line |= {
            metric.key: estimate.mean,
            f"{metric.key}_low": interval.low if interval else None,
            f"{metric.key}_high": interval.high if interval else None,
            f"{metric.key}_n": len(estimate.values),
            f"{metric.key}_grade": estimate.grade,
            f"{metric.key}_reason": estimate.reason,
        }
    return line


def _defused(value: CsvValue) -> CsvValue:
    """A cell that a spreadsheet takes for what it is: numbers stay, text never begins a formula."""
    if not isinstance(value, str):
        return value
    text = printable(value).replace("\n", " ").replace("\t", " ")
    return f"'{text}" if text.lstrip().startswith(FORMULA_STARTS) else text
