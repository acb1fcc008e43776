"""A comparison as text: a terminal table, Markdown for a pull request; CSV and JSON at the same door."""

from __future__ import annotations

import io
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from fluxkit.compare.comparison import Comparison, Row, Workload
from fluxkit.compare.ranking import STARS, standing
from fluxkit.errors import printable
from fluxkit.record.metrics import BY_QUANTITY, METRICS, Metric
from fluxkit.text.answers import answers, decided_sentence, design_sentence
from fluxkit.text.csv_export import as_csv
from fluxkit.text.excerpt import excerpt
from fluxkit.text.number_format import (
    MISSING,
    agreement_text,
    contrast_text,
    decimals_in,
    energy_text,
    footing,
    further_runs_text,
    header,
    in_readable_unit,
    interval_text,
    number,
    prediction_text,
    price_text,
    scaling_text,
    target_text,
    value_text,
    verdict_words,
)

if TYPE_CHECKING:
    from rich.table import Table

Format = Literal["table", "markdown", "csv", "json"]
MAX_MARKDOWN_CHARACTERS = 65_000
"""A comment on a pull request holds 65,536."""
VERDICT_HEADERS = ("Quantity", "First", "Second", "First ÷ second, or first minus second", "The first is", "Grade")
LEGEND = (
    "★ best beyond doubt; ☆ ahead, but not settled or without a verdict. "
    "[95 % interval over n runs; of quality, n seeds; the untuned model is one, whatever the seed]. "
    "Grades: A sound, B with a remark, C in doubt, X not to be used."
)
SHORT_LEGEND = "★ best beyond doubt, ☆ ahead; [95 % interval]; grade A sound, B remark, C in doubt, X not to be used."
NAME_COLUMNS, NUMBER_COLUMNS = 20, 20
"""Characters of the short table: at the left, and for each configuration."""


class Cell(NamedTuple):
    """One number of a table."""

    value: str
    interval: str
    footing: str
    mark: str
    """A star for the best."""


def render(
    comparison: Comparison,
    format: Format = "table",  # noqa: A002 - the option's name
    width: int = 80,
    *,
    everything: bool = False,
) -> str:
    """The comparison as text that ends with a newline; `width` in characters and `everything` are for the table."""
    if format == "json":
        values = comparison.model_dump(mode="json", by_alias=True)
        return json.dumps(values, indent=1, allow_nan=False) + "\n"
    if format == "csv":
        return as_csv(comparison)
    return _markdown(comparison) if format == "markdown" else _table(comparison, width, everything=everything)


def shown_columns(workload: Workload) -> list[Metric]:
    """Metrics of which at least one row has a value; a table of reasons alone helps nobody."""
    return [
        in_readable_unit(metric, workload)
        for metric in METRICS
        if any(row.estimate(metric.key).mean is not None for row in workload.rows)
    ]


def cells_of(workload: Workload) -> Callable[[Row, Metric], Cell]:
    """Writes a row's number of a column as it stands in every table of fluxkit, or a dash and the reason."""

    @cache
    def decimals_of(column: Metric) -> int | None:
        # A page prices costs again by itself, one by one.
        return None if column.per else decimals_in((row.estimate(column.key) for row in workload.rows), column.factor)

    def cell(row: Row, column: Metric) -> Cell:
        estimate = row.estimate(column.key)
        if estimate.mean is None:
            return Cell(MISSING, "", f"({estimate.reason if row.runs else 'no complete run'})", "")
        return Cell(
            value_text(estimate, column.factor, decimals_of(column)),
            interval_text(estimate, column.factor, decimals_of(column)),
            footing(estimate),
            STARS[standing(workload, row, column.key)],
        )

    return cell


def _lines(workload: Workload, whole: Workload) -> list[tuple[str, ...]]:
    """A line per number, a column per configuration: few configurations, many numbers.

    A star is for the best of the whole workload. Beside the numbers stands when it was good, how it was priced and
    metered, and what was predicted.
    """
    rows, target, cell = workload.rows, workload.target.psnr_db, cells_of(whole)
    numbers = [
        (header(column, workload), *[_one_line(cell(row, column)) for row in rows])
        for column in shown_columns(workload)
    ]
    facts = [
        (f"Time to {number(target or 0.0, 2)} dB", *[target_text(row.time_to_target) for row in rows]),
        ("Price", *[price_text(row) for row in rows]),
        ("Energy", *[energy_text(row) for row in rows]),
        ("Numerical check", *[agreement_text(row) for row in rows]),
        ("Predicted / measured peak memory", *[prediction_text(row, "peak_memory") for row in rows]),
        ("Predicted / measured seconds", *[prediction_text(row, "seconds") for row in rows]),
    ]
    return [
        ("Device", *[" + ".join(sorted(set(row.devices))) for row in rows]),
        ("Processes", *[str(row.processes) for row in rows]),
        ("Precision, tuning", *[row.precision for row in rows]),
        ("Precision, inference", *[row.inference_precision for row in rows]),
        *numbers,
        *[line for line in facts if any(not text.startswith(MISSING) for text in line[1:])],
    ]


def _one_line(number: Cell) -> str:
    return " ".join(_cell_lines(number))


def _cell_lines(number: Cell) -> list[str]:
    return [part for part in (f"{number.value} {number.mark}".rstrip(), number.interval, number.footing) if part]


def _title(workload: Workload, place: int) -> str:
    model, tune = workload.tables["model"], workload.tables["tune"]
    return (
        f"Workload {place}: {model['family']} ({model['weights']}), {tune['method']} tuning, "
        f"global batch {tune['global_batch_size']}, {tune['iterations']} iterations and {tune['seconds']:g} s"
    )


def _target_line(workload: Workload) -> str:
    target = workload.target
    if target.psnr_db is None:
        return f"No time-to-quality: {target.origin}."
    return f"Time-to-quality is the tuning time to {number(target.psnr_db, 2)} dB: {target.origin}."


def _decided_line(workload: Workload) -> str:
    """What is decided, and by which looks."""
    return f"{decided_sentence(workload)} {design_sentence(workload)}".rstrip()


def _verdicts(workload: Workload) -> list[tuple[str, ...]]:
    """A line per contrast, in the order of `VERDICT_HEADERS`; one for all of two machines that may not be compared."""
    lines = []
    for contrast in workload.contrasts:
        names = (workload.row(contrast.first).name, workload.row(contrast.second).name)
        if not contrast.certified:
            lines.append(("all", *names, MISSING, f"not compared: {contrast.reason}", ""))
            continue
        more = further_runs_text(contrast.further_runs) or contrast.reason
        words = [verdict_words(contrast), more or "", "measured apart" if contrast.near_drift else ""]
        text = "; ".join(word for word in words if word)
        title = BY_QUANTITY[contrast.quantity].title
        lines.append((title, *names, contrast_text(contrast), text, contrast.grade or ""))
    return list(dict.fromkeys(lines))


def _table(comparison: Comparison, width: int, *, everything: bool) -> str:
    """The answers, then the numbers; what is not `everything` fits a terminal and a glance."""
    from rich.console import Console
    from rich.text import Text

    file = io.StringIO()
    console = Console(file=file, width=width, color_system=None, markup=False, highlight=False, emoji=False)
    whole = {workload.key: workload for workload in comparison.workloads}
    comparison = excerpt(comparison)
    for place, workload in enumerate(comparison.workloads, 1):
        everyone = whole[workload.key]
        console.print(Text(_title(workload, place)), end="\n\n")
        console.print(Text(_decided_line(everyone) if everything else decided_sentence(everyone)), end="\n\n")
        for answer in answers(everyone):
            said = f"{answer.scenario}: {answer.sentence if everything else answer.short}"
            console.print(Text(textwrap.fill(said, width, subsequent_indent="    ", break_on_hyphens=False)))
        console.print()
        for grid in _whole_grids(workload, everyone) if everything else _short_grids(workload, everyone, width):
            console.print(grid)
        console.print(Text(LEGEND if everything else SHORT_LEGEND), end="\n\n")
        if everything:
            console.print(Text(_target_line(workload)))
    for line in [*(f"! {warning}" for warning in comparison.warnings), *_rest(comparison)]:
        console.print(Text(line))
    if not everything:
        console.print(Text("All numbers, ratios and intervals: --all. As a page: fluxkit report RESULT -o FILE.html"))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def _whole_grids(workload: Workload, everyone: Workload) -> Iterator[Table]:
    """Every number, and every ratio."""
    yield _grid("", ("", *[row.name for row in workload.rows]), _lines(workload, everyone))
    if verdicts := _verdicts(workload):
        yield _grid("Ratios and differences", VERDICT_HEADERS, verdicts)


def _short_grids(workload: Workload, everyone: Workload, width: int) -> Iterator[Table]:
    """The numbers that answers are about, of as many configurations at a time as stand side by side."""
    columns = [column for column in shown_columns(workload) if column.question and column.headline == "always"]
    rows, cell = [row for row in workload.rows if row.runs], cells_of(everyone)
    abreast = max(1, (width - NAME_COLUMNS) // NUMBER_COLUMNS)
    for begin in range(0, len(rows), abreast):
        part = rows[begin : begin + abreast]
        lines = [
            (header(column, workload), *["\n".join(_cell_lines(cell(row, column))) for row in part])
            for column in columns
        ]
        yield _grid("", ("", *[row.name for row in part]), lines)


def _grid(title: str, headers: Sequence[str], lines: Iterable[Sequence[str]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title) if title else None, title_justify="left", show_lines=False)
    for name in headers:
        table.add_column(Text(name), overflow="fold")
    for texts in lines:
        table.add_row(*[Text(printable(text)) for text in texts])
    return table


def _rest(comparison: Comparison) -> list[str]:
    """Lines about what is in no table: scaling, differing keys and runs that ended early."""
    rows = {row.key: row for workload in comparison.workloads for row in workload.rows}
    lines = [scaling_text(scaling, rows) for scaling in comparison.scaling]
    if comparison.differences:
        names = {workload.key: f"workload {place}" for place, workload in enumerate(comparison.workloads, 1)}
        lines.append("Not comparable. The workloads differ in:")
        lines += [
            f"  {difference.key}: " + ", ".join(f"{names[key]} {value}" for key, value in difference.values.items())
            for difference in comparison.differences
        ]
    if comparison.ended:
        lines.append("Runs without a complete result, in no mean:")
        lines += [f"  {run.name} repeat {run.repeat} ({run.label}): {run.reason}" for run in comparison.ended]
    return lines


def _markdown(comparison: Comparison) -> str:
    """Fits a comment on a pull request: where there are too many ratios, they are counted instead of listed."""
    text = _markdown_text(comparison, ratios=True)
    return text if len(text) <= MAX_MARKDOWN_CHARACTERS else _markdown_text(comparison, ratios=False)


def _markdown_text(comparison: Comparison, *, ratios: bool) -> str:
    whole = {workload.key: workload for workload in comparison.workloads}
    comparison = excerpt(comparison)
    lines = [f"> {_escaped(warning)}\n" for warning in comparison.warnings]
    for place, workload in enumerate(comparison.workloads, 1):
        lines += [f"### {_escaped(_title(workload, place))}", ""]
        lines += [_escaped(_decided_line(whole[workload.key])), ""]
        lines += [f"- **{answer.scenario}:** {_escaped(answer.sentence)}" for answer in answers(whole[workload.key])]
        names = ("", *[row.name for row in workload.rows])
        lines += ["", *_grid_markdown(names, _lines(workload, whole[workload.key]))]
        lines += ["", _escaped(LEGEND), "", _escaped(_target_line(workload)), ""]
        verdicts = _verdicts(workload)
        if verdicts and ratios:
            lines += [*_grid_markdown(VERDICT_HEADERS, verdicts), ""]
        elif verdicts:
            lines += [f"{len(verdicts)} ratios and differences are too many for a comment; a table has them.", ""]
    lines += [f"{'- ' if line.startswith(' ') else ''}{_escaped(line.strip())}\n" for line in _rest(comparison)]
    return "\n".join(lines).rstrip("\n") + "\n"


def _grid_markdown(headers: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    rows = [f"| {' | '.join(map(_escaped, texts))} |" for texts in (headers, *lines)]
    return [rows[0], "|---" * len(headers) + "|", *rows[1:]]


def _escaped(text: str) -> str:
    """Text of strangers as nothing but text in Markdown: no table cell, tag, link, emphasis, mention or issue."""
    single = " ".join(printable(text).split())
    escaped = re.sub(r"([\\`*_{}\[\]|#~!$])", r"\\\1", single)
    entities = escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "&#64;")
    return re.sub(r"(?i)\b(https?|ftp|mailto|www)([:.])", r"\1<span>\2</span>", entities)
