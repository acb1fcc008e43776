"""`Comparison` -> one self-contained HTML page: no request, no clock, readable without scripts."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import metadata, resources
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from fluxkit.charts import step_time_charts, summary_charts
from fluxkit.charts.pareto import Tradeoffs, tradeoffs
from fluxkit.charts.svg import named, swatch
from fluxkit.compare.compare import NOTHING_GIVEN, compare
from fluxkit.compare.comparison import COLUMNS, COSTS, Comparison, Metric, Row, Scaling, Workload
from fluxkit.compare.ranking import metric_of
from fluxkit.record.agreement_facts import BANDS
from fluxkit.record.atomic_file import write_atomically
from fluxkit.report.embedded_json import embedded, inputs_sha256
from fluxkit.report.environment_diff import DifferingGroup, clean, differing, facts, spec_toml
from fluxkit.report.introduction import about_the_model, lede, title, work
from fluxkit.report.picture_grid import Pictures, grid
from fluxkit.report.thumbnails import Spent
from fluxkit.report.trust_board import BOARD, Found, Square, Stopped, board, findings, stopped
from fluxkit.spec.workload import MIN_HELD_OUT
from fluxkit.stats import LEVEL, MIN_VALUES
from fluxkit.text.answers import Answer, answers
from fluxkit.text.number_format import (
    bracket_text,
    contrast_text,
    further_runs_text,
    header,
    interval_text,
    p_text,
    plain,
    value_text,
    verdict_words,
)
from fluxkit.text.text_table import cell, shown_columns
from fluxkit.values import FROZEN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from fluxkit.compare.published import Published
    from fluxkit.compare.reader_options import Given
    from fluxkit.record.result import RunResult

HEADLINE = (
    "training_iterations_per_second",
    "training_images_per_second",
    "inference_image_steps_per_second",
    "psnr_db",
    "ssim",
    "validation_loss",
    "peak_memory_bytes",
    "energy_joules",
    "usd_per_adapter",
)
WHERE_PRICED = ("usd_per_1000_iterations", "usd_per_1000_images")
"""Further columns where at least one configuration has a price."""
BESIDE = {
    "psnr_db": "psnr_db_untuned",
    "ssim": "ssim_untuned",
    "validation_loss": "validation_loss_untuned",
}
"""No score stands without what it is measured from."""
MADE_WITH = ("altair", "vl-convert-python", "jinja2")
"""Packages whose versions decide the bytes of a page."""
SCRIPTS = ("page", "tips", "tables", "numbers", "costs", "prices", "images")
STYLES = ("base", "answers", "tables", "charts", "images", "print")


class Section(BaseModel):
    """All that the page says about one workload."""

    model_config = FROZEN
    place: int
    workload: Workload
    answers: tuple[Answer, ...]
    columns: tuple[Metric, ...]
    all_columns: tuple[Metric, ...]
    """Whatever was measured; costs stand with the prices."""
    quality_charts: tuple[summary_charts.Chart, ...]
    speed_charts: tuple[summary_charts.Chart, ...]
    scaling: tuple[Scaling, ...]
    tradeoffs: Tradeoffs
    phase_chart: summary_charts.Chart | None
    step_charts: tuple[summary_charts.Chart, ...]
    pictures: Pictures
    board: tuple[tuple[Row, tuple[Square, ...]], ...]
    findings: tuple[Found, ...]
    stopped: tuple[Stopped, ...]
    differing: tuple[DifferingGroup, ...]


def write_report(
    sources: Sequence[tuple[Path, RunResult]],
    output: Path,
    published: Sequence[Published] = (),
    given: Given = NOTHING_GIVEN,
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
    runs = {result.id: result for _, result in folders}
    sections = _sections(comparison, folders, runs)
    script = _script()
    page = _environment().get_template("report.html.jinja")
    text: str = page.render(
        title=title(comparison),
        lede=lede(comparison, list(runs.values())),
        comparison=comparison,
        sections=sections,
        names={row.key: row.name for workload in comparison.workloads for row in workload.rows},
        published=published,
        made_with=", ".join(f"{name} {metadata.version(name)}" for name in MADE_WITH),
        runs=[runs[id_] for id_ in sorted(runs, key=lambda id_: (runs[id_].created, id_))],
        script=script,
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        styles=[f"style/{name}.css" for name in STYLES],
        embedded=embedded(comparison, list(runs.values())),
        inputs_sha256=inputs_sha256(comparison, list(runs.values()), published),
        bands=BANDS,
        board_subjects=BOARD,
        min_held_out=MIN_HELD_OUT,
        min_runs=MIN_VALUES,
        level=f"{100 * LEVEL:g}",
    )
    return text + "\n"


def _sections(
    comparison: Comparison, sources: Sequence[tuple[Path, RunResult]], runs: Mapping[str, RunResult]
) -> list[Section]:
    from altair.utils.schemapi import debug_mode

    spent = Spent()
    # Altair would check every part of every chart against its schema, which costs more than drawing it.
    with debug_mode(arg=False):
        return [_section(place, comparison, sources, runs, spent) for place in range(1, len(comparison.workloads) + 1)]


def _script() -> str:
    """The page's own script: its files one after another, in a scope of their own."""
    folder = resources.files("fluxkit") / "report" / "templates" / "script"
    parts = [(folder / f"{name}.js").read_text("utf-8").strip() for name in SCRIPTS]
    return "\n".join(['"use strict";', "(() => {", *parts, "})();"])


def _section(
    place: int,
    comparison: Comparison,
    sources: Sequence[tuple[Path, RunResult]],
    runs: Mapping[str, RunResult],
    spent: Spent,
) -> Section:
    workload, key = comparison.workloads[place - 1], f"w{place}"
    own = {row.key for row in workload.rows}
    return Section(
        place=place,
        workload=workload,
        answers=answers(workload),
        columns=tuple(_headline_columns(workload)),
        all_columns=tuple(column for column in shown_columns(workload) if column not in COSTS),
        quality_charts=tuple(chart for chart in _quality_charts(workload, key) if chart),
        speed_charts=tuple(chart for chart in _speed_charts(workload, runs, key) if chart),
        scaling=tuple(each for each in comparison.scaling if each.several in own),
        tradeoffs=tradeoffs(workload, key),
        phase_chart=summary_charts.phases(workload, f"{key}-phases"),
        step_charts=tuple(chart for chart in _step_charts(workload, runs, key) if chart),
        pictures=grid(workload, sources, spent),
        board=board(workload),
        findings=findings(workload, runs),
        stopped=stopped(workload, runs),
        differing=differing(workload.rows, runs),
    )


def _quality_charts(workload: Workload, key: str) -> list[summary_charts.Chart | None]:
    return [
        summary_charts.curve(workload, f"{key}-{score}-{over}".replace("_", "-"), score, over)
        for score in ("psnr_db", "ssim", "validation_loss")
        for over in ("seconds", "iteration")
    ]


def _speed_charts(workload: Workload, runs: Mapping[str, RunResult], key: str) -> list[summary_charts.Chart | None]:
    batch = workload.tables["inference"]["batch_size"]
    training, inference = "training_iterations_per_second", "inference_image_steps_per_second"
    return [
        summary_charts.bars(workload, f"{key}-training", training, "Training speed", "iterations/s"),
        summary_charts.forest(workload, f"{key}-training-ratio", "training_speed", "Training speed"),
        summary_charts.bars(
            workload, f"{key}-inference", inference, f"Inference speed at batch size {batch}", "image-steps/s"
        ),
        summary_charts.forest(workload, f"{key}-inference-ratio", "inference_speed", "Inference speed"),
        step_time_charts.settings(workload, runs, f"{key}-settings"),
    ]


def _step_charts(workload: Workload, runs: Mapping[str, RunResult], key: str) -> list[summary_charts.Chart | None]:
    return [
        step_time_charts.spread(workload, runs, f"{key}-spread"),
        step_time_charts.drift(workload, runs, f"{key}-drift"),
        step_time_charts.change(workload, runs, f"{key}-canary"),
    ]


def _headline_columns(workload: Workload) -> list[Metric]:
    """Headline columns: an untuned score stands under the tuned one."""
    priced = any(row.usd_per_hour > 0 or row.usd_per_kwh > 0 for row in workload.rows)
    found = {column.key: column for column in COLUMNS}
    return [found[key] for key in (*HEADLINE, *(WHERE_PRICED if priced else ()))]


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
        finalize=lambda value: value if isinstance(value, Markup) or not isinstance(value, str) else clean(value),
    )
    environment.globals.update(
        cell=cell,
        beside=_beside,
        bracket_text=bracket_text,
        contrast_text=contrast_text,
        facts=facts,
        further_runs_text=further_runs_text,
        header=header,
        interval_text=interval_text,
        p_text=p_text,
        about_the_model=about_the_model,
        work=work,
        plain=plain,
        quantity_title=lambda quantity: metric_of(quantity).title,
        run_anchor=lambda id_: "run-" + re.sub(r"[^A-Za-z0-9._-]+", "-", id_),
        sci=lambda value: "—" if value is None else f"{value:.2g}",
        sort_value=lambda row, column: row.estimate(column.key).mean,
        sorting=lambda value: "" if value is None else Markup(' data-value="{}"').format(value),
        spec_toml=spec_toml,
        swatch=lambda number: Markup(swatch(number)),  # noqa: S704 - made of constants only
        svg=lambda chart, where: Markup(named(chart.svg, clean(chart.title + where))),  # noqa: S704 - the chart compiler escapes every text it draws
        trusted=Markup,  # the page's own script, and JSON by `inside_script`
        value_text=value_text,
        verdict_words=verdict_words,
    )
    return environment


def _beside(row: Row, column: Metric) -> str:
    """The untuned score under a tuned one."""
    key = BESIDE.get(column.key)
    if key is None or row.estimate(key).mean is None:
        return ""
    return f"untuned {value_text(row.estimate(key), column.factor)}"
