"""A comparison as CSV, for a spreadsheet or pandas: typed columns, unrounded numbers, nothing that a cell would run."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from fluxkit.compare.comparison import COLUMNS
from fluxkit.errors import printable

if TYPE_CHECKING:
    from fluxkit.compare.comparison import Comparison, Metric, Row, Workload

CsvValue = str | float | None
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins like this would be calculated by a spreadsheet."""


def as_csv(comparison: Comparison) -> str:
    """A line per configuration; numbers unrounded in the units of the header, empty where there is none."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    lines = [
        {**_facts(workload, row), **{name: value for column in COLUMNS for name, value in _parts(column, row)}}
        for workload in comparison.workloads
        for row in workload.rows
    ]
    writer.writerow(lines[0] if lines else ())
    writer.writerows([_defused(value) for value in line.values()] for line in lines)
    return file.getvalue()


def _facts(workload: Workload, row: Row) -> dict[str, CsvValue]:
    """What is not a metric of its own; censored times are empty, and how far was looked stands beside them."""
    reached = row.time_to_target
    facts: dict[str, CsvValue] = {
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
        "seconds_to_target_after": reached.since_seconds if reached else None,
        "seconds_to_target": reached.seconds if reached else None,
        "seconds_looked_for_target": reached.looked_seconds if reached else None,
    }
    facts |= {f"predicted_over_measured_{name}": each.mean for name, each in row.predicted_over_measured.items()}
    for name, basis in row.bases.items():
        facts |= {f"{name}_seconds": basis.seconds.mean, f"{name}_joules": basis.joules.mean}
    return facts


def _parts(column: Metric, row: Row) -> list[tuple[str, CsvValue]]:
    estimate = row.estimate(column.key)
    interval = estimate.interval
    parts: dict[str, CsvValue] = {"": estimate.mean, "_low": interval.low if interval else None}
    parts |= {"_high": interval.high if interval else None, "_n": len(estimate.values)}
    parts |= {"_grade": estimate.grade, "_reason": estimate.reason}
    return [(column.key + part, value) for part, value in parts.items()]


def _defused(value: CsvValue) -> CsvValue:
    """A cell that a spreadsheet takes for what it is: numbers stay, text never begins a formula."""
    if not isinstance(value, str):
        return value
    text = printable(value).replace("\n", " ").replace("\t", " ")
    return f"'{text}" if text.lstrip().startswith(FORMULA_STARTS) else text
