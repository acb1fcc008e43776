"""`Comparison` -> one self-contained HTML page: no request, no clock, readable without scripts."""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from fluxkit.charts import step_time_charts, summary_charts
from fluxkit.charts.pareto import tradeoffs
from fluxkit.charts.svg import named_svg, swatch
from fluxkit.compare.compare import NO_OPTIONS, compare
from fluxkit.compare.comparison import Comparison, Row, Workload
from fluxkit.compare.excerpt import excerpt
from fluxkit.compare.published import Published
from fluxkit.compare.reader_options import ReaderOptions
from fluxkit.errors import printable
from fluxkit.record.agreement_facts import BANDS
from fluxkit.record.atomic_file import write_atomically
from fluxkit.record.metrics import BY_QUANTITY, CURVES, HELD_OUT, METRICS, Metric
from fluxkit.record.result import RunResult
from fluxkit.report.embedded_json import embedded, inputs_sha256
from fluxkit.report.environment_diff import differing, facts
from fluxkit.report.introduction import about_the_model, measured_sentence, page_title, work_sentence
from fluxkit.report.picture_grid import MAX_TOTAL_BYTES, picture_grids
from fluxkit.report.trust_board import BOARD, board, findings
from fluxkit.spec.toml import spec_toml
from fluxkit.spec.workload import MIN_HELD_OUT
from fluxkit.stats import LEVEL, MIN_VALUES
from fluxkit.text.answers import answers, decided_sentence, design_sentence
from fluxkit.text.number_format import (
    MISSING,
    bracket_text,
    contrast_text,
    further_runs_text,
    header,
    interval_text,
    plain,
    title_of,
    value_text,
    verdict_words,
)
from fluxkit.text.text_table import cell, shown_columns

MADE_WITH = ("altair", "vl-convert-python", "jinja2", "pillow")
"""Packages whose versions decide the bytes of a page."""
MAX_PAGE_BYTES = 5_000_000
MOST_RUNS = 20
"""Of a configuration that are told one by one."""
SCRIPTS = ("page", "tips", "tables", "numbers", "costs", "prices", "images")
STYLES = ("base", "answers", "tables", "charts", "images", "print")


def write_report(
    sources: Sequence[tuple[Path, RunResult]],
    output: Path,
    published: Sequence[Published] = (),
    given: ReaderOptions = NO_OPTIONS,
) -> Comparison:
    """Writes the page of results, each with its file as `folded_results` reads them, whole or not at all.

    `published` are tables from elsewhere that stand on the page, apart from everything measured; `given` are the
    reader's prices and target.
    """
    comparison = compare((result for _, result in sources), given)
    write_atomically(output, render(comparison, sources, published))
    return comparison


def render(
    comparison: Comparison, folders: Sequence[tuple[Path, RunResult]], published: Sequence[Published] = ()
) -> str:
    """The page, from a comparison and the results with their files as `folded_results` gives them.

    The same results give the same bytes: nothing is read but the pictures beside them.
    """
    from altair.utils.schemapi import debug_mode

    runs = {result.id: result for _, result in folders}
    results = list(runs.values())
    whole = {workload.key: workload for workload in comparison.workloads}
    shown, told = _shown(comparison, runs)
    # Altair would check every part of every chart against its schema, which costs more than drawing it.
    with debug_mode(arg=False):
        sections = [
            _section(place, shown, whole[workload.key], runs) for place, workload in enumerate(shown.workloads, 1)
        ]
    script = _script()
    page = _environment().get_template("page.html.jinja")
    facts_of_page = {
        "title": page_title(comparison),
        "lede": measured_sentence(comparison, results),
        "comparison": shown,
        "cell": lambda workload, row, column: cell(whole[workload.key], row, column),
        "decided_sentence": lambda workload: decided_sentence(whole[workload.key]),
        "names": {row.key: row.name for workload in shown.workloads for row in workload.rows},
        "published": published,
        "made_with": ", ".join(f"{name} {metadata.version(name)}" for name in MADE_WITH),
        "runs": sorted(told, key=lambda result: (result.created, result.id)),
        "script": script,
        "script_sha256": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "styles": [f"style/{name}.css" for name in STYLES],
        "embedded": embedded(shown, results),
        "inputs_sha256": inputs_sha256(comparison, results, published),
        "bands": BANDS,
        "board_subjects": BOARD,
        "min_held_out": MIN_HELD_OUT,
        "min_runs": MIN_VALUES,
        "level": f"{100 * LEVEL:g}",
    }
    return _with_pictures(page, facts_of_page, sections, shown, folders) + "\n"


def _script() -> str:
    """The page's own script: its files one after another, in a scope of their own."""
    folder = resources.files("fluxkit") / "report" / "templates" / "script"
    parts = [(folder / f"{name}.js").read_text("utf-8").strip() for name in SCRIPTS]
    return "\n".join(['"use strict";', "(() => {", *parts, "})();"])


def _shown(comparison: Comparison, runs: Mapping[str, RunResult]) -> tuple[Comparison, list[RunResult]]:
    """What of a comparison stands on the page, and the runs that it tells of one by one; its warnings say what not."""
    shown = excerpt(comparison)
    told = []
    for row in (row for workload in shown.workloads for row in workload.rows):
        own = [runs[id_] for id_ in row.runs if id_ in runs]
        interrupted = [run for run in own[MOST_RUNS:] if run.interruptions]
        told += [*own[:MOST_RUNS], *interrupted[:MOST_RUNS]]
    if any(len(row.runs) > MOST_RUNS for workload in shown.workloads for row in workload.rows):
        words = f"Of a configuration with more than {MOST_RUNS} runs, the first {MOST_RUNS} are told one by one; "
        words += "its numbers are of all of them, and fluxkit compare --format json has every value."
        shown = shown.model_copy(update={"warnings": (*shown.warnings, words)})
    return shown, told


def _with_pictures(
    page: Any,
    facts_of_page: Mapping[str, Any],
    sections: Sequence[Mapping[str, Any]],
    comparison: Comparison,
    sources: Sequence[tuple[Path, RunResult]],
) -> str:
    """The page rendered, with as many pictures as keep it below `MAX_PAGE_BYTES`."""
    most_bytes = MAX_TOTAL_BYTES
    while True:
        grids = picture_grids(comparison, sources, most_bytes)
        filled = [dict(section, pictures=grid) for section, grid in zip(sections, grids, strict=True)]
        text: str = page.render(**facts_of_page, sections=filled)
        too_many = len(text.encode()) - MAX_PAGE_BYTES
        if too_many < 0 or not most_bytes:
            return text
        most_bytes = max(0, sum(row.jpeg_bytes for grid in grids for row in grid.rows) - too_many)


def _section(place: int, comparison: Comparison, whole: Workload, runs: Mapping[str, RunResult]) -> dict[str, Any]:
    """All but the pictures that the page says about one workload, by the names that the templates use.

    What a question is answered with is that of the whole workload, whichever of its rows are shown.
    """
    workload, key = comparison.workloads[place - 1], f"w{place}"
    own = {row.key for row in workload.rows}
    return {
        "place": place,
        "workload": workload,
        "answers": answers(whole),
        "columns": _headline_columns(workload),
        # Whatever was measured; costs stand with the prices.
        "all_columns": [column for column in shown_columns(workload) if not column.per],
        "quality_charts": [chart for chart in _quality_charts(workload, key) if chart],
        "speed_charts": [chart for chart in _speed_charts(workload, runs, key) if chart],
        "scaling": [scaling for scaling in comparison.scaling if scaling.several in own],
        "tradeoffs": tradeoffs(workload, key, whole),
        "phase_chart": summary_charts.phases(workload, f"{key}-phases"),
        "step_charts": [chart for chart in _step_charts(workload, runs, key) if chart],
        "board": board(workload),
        "findings": findings(workload, runs),
        "differing": differing(workload.rows, runs),
    }


def _quality_charts(workload: Workload, key: str) -> list[summary_charts.Chart | None]:
    return [
        summary_charts.curve(workload, f"{key}-{metric.key}-{over}".replace("_", "-"), metric.key, over)
        for metric in CURVES
        for over in ("seconds", "iteration")
    ]


def _speed_charts(workload: Workload, runs: Mapping[str, RunResult], key: str) -> list[summary_charts.Chart | None]:
    charts = []
    for metric in (metric for metric in METRICS if metric.bars):
        name = f"{key}-{metric.subject.removesuffix('_speed')}"
        charts.append(summary_charts.bars(workload, name, metric.key, title_of(metric, workload), metric.unit))
        charts.append(summary_charts.forest(workload, f"{name}-ratio", metric))
    return [*charts, step_time_charts.settings(workload, runs, f"{key}-settings")]


def _step_charts(workload: Workload, runs: Mapping[str, RunResult], key: str) -> list[summary_charts.Chart | None]:
    return [
        step_time_charts.spread(workload, runs, f"{key}-spread"),
        step_time_charts.drift(workload, runs, f"{key}-drift"),
        step_time_charts.change(workload, runs, f"{key}-canary"),
    ]


def _headline_columns(workload: Workload) -> list[Metric]:
    """Headline columns: an untuned score stands under the tuned one."""
    priced = any(row.usd_per_hour > 0 or row.usd_per_kwh > 0 for row in workload.rows)
    columns = [metric for metric in METRICS if metric.headline == "always"]
    return [*columns, *(metric for metric in METRICS if priced and metric.headline == "where priced")]


def _environment() -> Any:
    """Templates with escaping everywhere; what is missing is an error, never an empty place."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fluxkit.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) or not isinstance(value, str) else printable(value),
    )
    functions = (
        about_the_model, bracket_text, cell, contrast_text, decided_sentence, design_sentence, facts,
        further_runs_text, header, interval_text, plain, spec_toml, value_text, verdict_words, work_sentence,
    )  # fmt: skip
    environment.globals.update(
        {function.__name__: function for function in functions},
        beside=_beside,
        held_out_metrics=HELD_OUT,
        quantity_title=lambda quantity: BY_QUANTITY[quantity].title,
        run_anchor=lambda id_: "run-" + re.sub(r"[^A-Za-z0-9._-]+", "-", id_),
        sci=lambda value: MISSING if value is None else f"{value:.2g}",
        sorting=lambda value: "" if value is None else Markup(' data-value="{}"').format(value),
        swatch=lambda number: Markup(swatch(number)),  # noqa: S704 - made of constants only
        # The chart compiler escapes every text that it draws.
        svg=lambda chart, where: Markup(named_svg(chart.svg, printable(chart.title + where))),  # noqa: S704
        trusted=Markup,  # the page's own script, and JSON by `inside_script`
    )
    return environment


def _beside(row: Row, column: Metric) -> str:
    """The untuned score under a tuned one."""
    key = column.untuned if column.headline else None
    if key is None or row.estimate(key).mean is None:
        return ""
    return f"untuned {value_text(row.estimate(key), column.factor)}"
