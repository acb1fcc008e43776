"""A comparison as text: a table for a terminal, Markdown for a pull request, CSV for a spreadsheet, JSON for a program."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from fluxkit.answers import answers, best_row
from fluxkit.comparison import COLUMNS, Comparison, Estimate, Metric
from fluxkit.errors import printable
from fluxkit.figures import MISSING, contrast_text, footing, header, interval_text, value_text, verdict_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxkit.comparison import Contrast, Row, Workload

Format = Literal["table", "markdown", "csv", "json"]
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins like this would be calculated by a spreadsheet."""
BEST = "★"


class Cell(NamedTuple):
    """One number of a table."""

    value: str
    interval: str
    footing: str
    best: bool


def render(comparison: Comparison, format: Format = "table", width: int = 120) -> str:  # noqa: A002 - the option's name
    """The comparison as text that ends with a newline; `width` in characters is for the table only."""
    if format == "json":
        values = comparison.model_dump(mode="json", by_alias=True)
        return json.dumps(values, indent=1, allow_nan=False) + "\n"
    if format == "csv":
        return _csv(comparison)
    return _markdown(comparison) if format == "markdown" else _table(comparison, width)


def shown_columns(workload: Workload) -> list[Metric]:
    """Columns in which at least one row has a value; a table of reasons alone helps nobody."""
    return [column for column in COLUMNS if any(row.estimate(column.key).mean is not None for row in workload.rows)]


def cell(workload: Workload, row: Row, column: Metric) -> Cell:
    """A number as it stands in every table of fluxkit, or a dash and the reason."""
    estimate: Estimate = row.estimate(column.key)
    if estimate.mean is None:
        return Cell(MISSING, "", f"({estimate.reason})", best=False)
    best = best_row(workload, column.key)
    rivals = sum(each.estimate(column.key).mean is not None for each in workload.rows)
    return Cell(
        value_text(estimate, column.factor),
        interval_text(estimate, column.factor),
        footing(estimate),
        best=rivals > 1 and best is not None and best.key == row.key,
    )


def _lines(workload: Workload) -> list[tuple[str, list[str]]]:
    """A line per number, a column per configuration: few configurations, many numbers."""
    lines = [
        ("Device", [" + ".join(sorted(set(row.devices))) for row in workload.rows]),
        ("Processes", [str(row.processes) for row in workload.rows]),
        ("Precision, tuning", [row.precision for row in workload.rows]),
        ("Precision, inference", [row.inference_precision for row in workload.rows]),
    ]
    for column in shown_columns(workload):
        cells = [cell(workload, row, column) for row in workload.rows]
        lines.append((header(column, workload), [_one_line(each) for each in cells]))
    return lines


def _one_line(each: Cell) -> str:
    words = [each.value + (f" {BEST}" if each.best else ""), each.interval, each.footing]
    return " ".join(word for word in words if word)


def _title(workload: Workload, place: int) -> str:
    model, tune = workload.tables["model"], workload.tables["tune"]
    return (
        f"Workload {place}: {model['family']} ({model['weights']}), {tune['method']} tuning, "
        f"global batch {tune['global_batch_size']}, {tune['iterations']} iterations and {tune['seconds']:g} s"
    )


def _verdict_line(workload: Workload, contrast: Contrast) -> str:
    first, second = workload.row(contrast.first).name, workload.row(contrast.second).name
    apart = "" if contrast.together else " Measured apart."
    why = f" ({contrast.reason})" if contrast.reason else ""
    quantity = contrast.quantity.replace("_", " ")
    relation = "to" if contrast.scale == "ratio" else "minus"
    return f"{quantity}: {first} {relation} {second}: {contrast_text(contrast)}, {verdict_words(contrast)}{why}.{apart}"


def _table(comparison: Comparison, width: int) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    file = io.StringIO()
    console = Console(file=file, width=width, color_system=None, markup=False, highlight=False, emoji=False)
    for warning in comparison.warnings:
        console.print(f"! {warning}")
    for place, workload in enumerate(comparison.workloads, 1):
        table = Table(title=Text(_title(workload, place)), title_justify="left", show_lines=False)
        table.add_column("")
        for row in workload.rows:
            table.add_column(Text(row.name), overflow="fold")
        for name, texts in _lines(workload):
            table.add_row(Text(name), *[Text(printable(text)) for text in texts])
        console.print(table)
        for answer in answers(workload):
            console.print(Text(f"{answer.scenario}: {answer.sentence}"))
        for contrast in workload.contrasts:
            console.print(Text(f"  {_verdict_line(workload, contrast)}"))
    _print_rest(comparison, lambda line: console.print(Text(line)))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"
