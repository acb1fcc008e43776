"""`Comparison` -> one self-contained HTML page: no request, no clock, readable without scripts."""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any, NamedTuple

from fluxkit.charts import step_time_charts, summary_charts
from fluxkit.charts.pareto import tradeoffs
from fluxkit.charts.svg import COLOURS, DARK_COLOURS, colour_variables, named_svg, swatch, unchecked_charts
from fluxkit.compare.compare import NO_OPTIONS, compare
from fluxkit.compare.comparison import Comparison, Row, Workload
from fluxkit.compare.published import Published
from fluxkit.compare.ranking import best_first
from fluxkit.compare.reader_options import ReaderOptions
from fluxkit.errors import printable
from fluxkit.files.atomic_file import write_atomically
from fluxkit.record.agreement_facts import BANDS
from fluxkit.record.metrics import BY_QUANTITY, COSTS, CURVES, HELD_OUT, METRICS, Metric
from fluxkit.record.result import RunResult
from fluxkit.report.embedded_json import embedded, inputs_sha256
from fluxkit.report.environment_diff import differing, facts
from fluxkit.report.introduction import (
    about_the_model,
    machine_lines,
    measured_sentence,
    mirrored,
    page_heading,
    page_title,
    work_sentence,
)
from fluxkit.report.personal_data import personal_data
from fluxkit.report.picture_grid import LEFT_OUT, MAX_TOTAL_BYTES, Pictures, picture_grids
from fluxkit.report.price_fields import price_fields
from fluxkit.report.trust_board import BOARD, Square, board, findings
from fluxkit.spec.toml import spec_toml
from fluxkit.spec.workload import MIN_HELD_OUT
from fluxkit.stats import LEVEL, MIN_VALUES
from fluxkit.text.answers import answers, decided_sentence, design_sentence
from fluxkit.text.excerpt import excerpt
from fluxkit.text.number_format import (
    MISSING,
    bracket_text,
    contrast_text,
    decimals_in,
    further_runs_text,
    header,
    in_readable_unit,
    interval_text,
    listed,
    plain,
    seconds_text,
    title_of,
    value_text,
    verdict_words,
)
from fluxkit.text.text_table import cells_of, shown_columns
from fluxkit.trust.estimate import Estimate
from fluxkit.units import counted

Board = Sequence[tuple[Row, Sequence[Square]]]
GRADE_WORDS = {"A": "sound", "B": "with a remark", "C": "in doubt", "X": "not to be used"}
MADE_WITH = ("altair", "vl-convert-python", "jinja2", "pillow")
"""Packages whose versions decide the bytes of a page."""
MAX_PAGE_BYTES = 5_000_000
MOST_RUNS = 20
"""Of a configuration that are told one by one."""
SCRIPTS = ("page", "tips", "tables", "numbers", "prices", "images")
STYLES = ("base", "answers", "tables", "charts", "images", "print")


def write_report(
    sources: Sequence[tuple[Path, RunResult]],
    output: Path,
    published: Sequence[Published] = (),
    given: ReaderOptions = NO_OPTIONS,
    *,
    pictures: bool = True,
) -> Comparison:
    """Writes the page of results, each with its file as `folded_results` reads them, whole or not at all.

    `published` are tables from elsewhere that stand on the page, apart from everything measured; `given` are the
    reader's prices and target. Without `pictures` nobody's photo is on it, and captions stay.
    """
    comparison = compare((result for _, result in sources), given)
    write_atomically(output, render(comparison, sources, published, pictures=pictures))
    return comparison


def render(
    comparison: Comparison,
    folders: Sequence[tuple[Path, RunResult]],
    published: Sequence[Published] = (),
    *,
    pictures: bool = True,
) -> str:
    """The page, from a comparison and the results with their files as `folded_results` gives them.

    The same results give the same bytes: nothing is read but the pictures beside them.
    """
    runs = {result.id: result for _, result in folders}
    results = list(runs.values())
    whole = {workload.key: workload for workload in comparison.workloads}
    cells = {workload.key: cells_of(workload) for workload in comparison.workloads}
    shown, told = _shown(comparison, runs)
    with unchecked_charts():
        sections = [
            _section(place, shown, whole[workload.key], runs) for place, workload in enumerate(shown.workloads, 1)
        ]
    facts_of_page = {
        **_facts(comparison, results, published),
        "comparison": shown,
        "cell": lambda workload, row, column: cells[workload.key](row, column),
        "decided_sentence": lambda workload: decided_sentence(whole[workload.key]),
        "names": {row.key: row.name for workload in shown.workloads for row in workload.rows},
        "runs": sorted(told, key=lambda result: (result.created, result.id)),
        "embedded": embedded(shown, results),
    }
    return _with_pictures(facts_of_page, sections, shown, folders, pictures=pictures) + "\n"


def _facts(comparison: Comparison, results: Sequence[RunResult], published: Sequence[Published]) -> dict[str, Any]:
    """What the page says of all results together, and what it is made with, by the names that the templates use."""
    script = _script()
    return {
        "title": page_title(comparison),
        "heading": page_heading(comparison),
        "machines": machine_lines(results),
        "lede": measured_sentence(comparison, results),
        "grade_words": GRADE_WORDS,
        "light_colours": colour_variables(COLOURS),
        "dark_colours": colour_variables(DARK_COLOURS),
        "published": published,
        "made_with": ", ".join(f"{name} {metadata.version(name)}" for name in MADE_WITH),
        "script": script,
        "script_sha256": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "styles": [f"style/{name}.css" for name in STYLES],
        "inputs_sha256": inputs_sha256(comparison, results, published),
        "bands": BANDS,
        "min_held_out": MIN_HELD_OUT,
        "min_runs": MIN_VALUES,
        "level": f"{100 * LEVEL:g}",
    }


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
    facts_of_page: Mapping[str, Any],
    sections: Sequence[Mapping[str, Any]],
    comparison: Comparison,
    sources: Sequence[tuple[Path, RunResult]],
    *,
    pictures: bool,
) -> str:
    """The page rendered, with as many pictures as keep it below `MAX_PAGE_BYTES`."""
    page = _environment().get_template("page.html.jinja")
    results = [result for _, result in sources]
    most_bytes = MAX_TOTAL_BYTES
    while True:
        grids = picture_grids(comparison, sources, most_bytes) if pictures else [LEFT_OUT] * len(sections)
        filled = [_illustrated(comparison, section, grid) for section, grid in zip(sections, grids, strict=True)]
        text: str = page.render(**facts_of_page, sections=filled, holds=personal_data(results, grids))
        too_many = len(text.encode()) - MAX_PAGE_BYTES
        if too_many < 0 or not (most_bytes and pictures):
            return text
        most_bytes = max(0, sum(row.jpeg_bytes for grid in grids for row in grid.rows) - too_many)


def _best_first(workload: Workload) -> Workload:
    return workload.model_copy(update={"rows": tuple(best_first(workload))})


def _section(place: int, comparison: Comparison, whole: Workload, runs: Mapping[str, RunResult]) -> dict[str, Any]:
    """All but the pictures that the page says about one workload, by the names of the templates; best rows first.

    What a question is answered with is that of the whole workload, whichever of its rows are shown.
    """
    workload, everyone = _best_first(comparison.workloads[place - 1]), _best_first(whole)
    key, own = f"w{place}", {row.key for row in workload.rows}
    answered, lines = answers(everyone), board(workload)
    return {
        "place": place,
        "workload": workload,
        "answers": answered,
        "columns": _headline_columns(workload),
        # Whatever was measured; costs stand with the prices.
        "all_columns": [column for column in shown_columns(workload) if not column.per],
        "quality_charts": [chart for chart in _quality_charts(workload, key) if chart],
        "speed_charts": [chart for chart in _speed_charts(workload, runs, key) if chart],
        "scaling": [
            scaling for scaling in comparison.scaling if scaling.several in own and scaling.efficiency is not None
        ],
        "tradeoffs": tradeoffs(workload, key, everyone),
        "phase_chart": summary_charts.phases(workload, f"{key}-phases"),
        "step_charts": [chart for chart in _step_charts(workload, runs, key) if chart],
        "board": [(row, [square for square, shown in zip(squares, _graded(lines), strict=True) if shown])
                  for row, squares in lines],
        "board_subjects": [subject for subject, shown in zip(BOARD, _graded(lines), strict=True) if shown],
        "ungraded": _ungraded(lines),
        "findings": findings(workload, runs),
        "differing": differing(workload.rows, runs),
        "held_out": [metric for metric in HELD_OUT if any(row.estimate(metric.key).values for row in workload.rows)],
        "energy_columns": _energy_columns(workload),
        # What a card already says in large type is not said again.
        "warnings": [
            warning for warning in comparison.warnings
            if not any(answer.verdict and warning.startswith(answer.verdict) for answer in answered)
        ],
        **_counts(workload),
    }  # fmt: skip


def _illustrated(comparison: Comparison, section: Mapping[str, Any], pictures: Pictures) -> dict[str, Any]:
    """The section with its pictures, what it lacks and where its parts stand."""
    filled = dict(section, pictures=pictures)
    return filled | {"not_measured": _not_measured(comparison, filled), "places": _places(filled)}


def _counts(workload: Workload) -> dict[str, Any]:
    """On how many runs the numbers rest, said once, and how a target was passed."""
    counts = sorted({len(row.runs) for row in workload.rows if row.runs})
    reached = [row.time_to_target for row in workload.rows if row.time_to_target]
    return {
        "runs_differ": len(counts) > 1,
        "of_runs": "over n runs" if len(counts) != 1 else f"over {counted(counts[0], 'run')} each (n = {counts[0]})",
        "passing": "The lower bound over seeds had to pass."
        if all(time.bounded for time in reached)
        else "With too few seeds for a bound the mean had to pass.",
    }


def _graded(lines: Board) -> list[bool]:
    """Of each subject of the board, whether anything was graded."""
    return [any(squares[place].grade for _, squares in lines) for place in range(len(BOARD))]


def _ungraded(lines: Board) -> str:
    """The subjects that no configuration has a grade of, and why: a footnote instead of a column of dashes."""
    return "; ".join(
        f"{subject.replace('_', ' ')} ({listed(sorted({squares[place].reason for _, squares in lines}))})"
        for place, (subject, shown) in enumerate(zip(BOARD, _graded(lines), strict=True))
        if not shown and lines
    )


class EnergyColumn(NamedTuple):
    """One column of the table of energies."""

    title: str
    factor: float
    of: Callable[[Row], Estimate]
    decimals: int


def _energy_columns(workload: Workload) -> list[EnergyColumn]:
    """Energies that were measured or estimated."""
    columns: list[tuple[str, float, Callable[[Row], Estimate]]] = [
        ("Whole run, gross (kJ)", 1e-3, lambda row: row.energy.gross_joules["run"]),
        ("Whole run, net (kJ)", 1e-3, lambda row: row.energy.net_joules["run"]),
        ("Tuning, gross (kJ)", 1e-3, lambda row: row.energy.gross_joules["tune"]),
        ("Inference, gross (kJ)", 1e-3, lambda row: row.energy.gross_joules["inference"]),
        ("Idle (W)", 1.0, lambda row: row.energy.idle_watts),
    ]
    rows = [row for row in workload.rows if row.runs]
    return [
        EnergyColumn(title, factor, of, decimals_in(map(of, rows), factor))
        for title, factor, of in columns
        if any(of(row).mean is not None for row in rows)
    ]


def _not_measured(comparison: Comparison, section: Mapping[str, Any]) -> list[str]:
    """What the page has no section of, and why, in a line."""
    workload: Workload = section["workload"]
    rows = [row for row in workload.rows if row.runs]
    own = {row.key for row in rows}
    scaled = [scaling.reason for scaling in comparison.scaling if scaling.several in own and scaling.reason]
    lacking: dict[str, Sequence[str | None]] = {
        "quality": [] if section["quality_charts"] else [row.estimate("psnr_db").reason for row in rows],
        "time to quality": [] if workload.target.psnr_db or not section["quality_charts"] else [workload.target.origin],
        "images": [] if section["pictures"].rows else [section["pictures"].note],
        "speed": [] if section["speed_charts"] else ["no run was timed"],
        "energy": [] if section["energy_columns"] else [row.energy.reason for row in rows],
        "scaling": [] if section["scaling"] else scaled or ["no configuration ran on several devices"],
    }
    return [
        f"{name} ({listed(sorted({printable(reason) for reason in reasons if reason}) or ['no complete run'])})"
        for name, reasons in lacking.items()
        if reasons or not rows
    ]


def _places(section: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Anchors and names of the sections that there are."""
    w, rows = f"w{section['place']}", section["workload"].rows
    places = (
        ("", "Answers", True),
        ("-headline", "Numbers", True),
        ("-quality", "Quality", section["quality_charts"]),
        ("-speed", "Speed", section["speed_charts"]),
        ("-tradeoffs", "Cost", True),
        ("-images", "Images", section["pictures"].rows),
        ("-time", "Time per phase", section["phase_chart"] or section["step_charts"]),
        ("-energy", "Energy", section["energy_columns"]),
        ("-belief", "Reliability", True),
        ("-check", "Numerical check", any(row.certificates for row in rows)),
        ("-verdicts", "Verdicts", section["workload"].contrasts),
        ("-environment", "Environment", True),
        ("-again", "Run it again", True),
    )
    return [(f"{w}{anchor}", name) for anchor, name, there in places if there]


def _quality_charts(workload: Workload, key: str) -> list[summary_charts.Chart | None]:
    return [
        summary_charts.curve(workload, f"{key}-{metric.key}-{over}".replace("_", "-"), metric.key, over)
        for over in ("seconds", "iteration")
        for metric in CURVES
    ]


def _speed_charts(workload: Workload, runs: Mapping[str, RunResult], key: str) -> list[summary_charts.Chart | None]:
    charts = []
    for metric in (metric for metric in METRICS if metric.bars):
        name = f"{key}-{metric.subject.removesuffix('_speed')}"
        charts.append(summary_charts.bars(workload, name, metric, title_of(metric, workload)))
    return [*charts, step_time_charts.settings(workload, runs, f"{key}-settings")]


def _step_charts(workload: Workload, runs: Mapping[str, RunResult], key: str) -> list[summary_charts.Chart | None]:
    return [
        step_time_charts.spread(workload, runs, f"{key}-spread"),
        step_time_charts.drift(workload, runs, f"{key}-drift"),
        step_time_charts.change(workload, runs, f"{key}-canary"),
    ]


def _headline_columns(workload: Workload) -> list[Metric]:
    """Headline columns that any configuration has a number of: an untuned score stands under the tuned one."""
    columns = [metric for metric in shown_columns(workload) if metric.headline == "always"]
    columns += [metric for metric in shown_columns(workload) if workload.priced and metric.headline == "where priced"]
    return [in_readable_unit(metric, workload) for metric in columns]


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
        about_the_model, bracket_text, contrast_text, decided_sentence, design_sentence, facts,
        further_runs_text, header, interval_text, mirrored, plain, price_fields, seconds_text, spec_toml, value_text,
        verdict_words,
        work_sentence,
    )  # fmt: skip
    costs = {cost.key for cost in COSTS}
    environment.globals.update(
        {function.__name__: function for function in functions},
        beside=_beside,
        besides=_besides,
        best_of=lambda metric: Markup(' data-best="{}"').format({"lower": "low"}.get(metric.better or "", "high")),
        costs=costs,
        # What a reader's own prices make untrue: it is hidden while there are any.
        stored=lambda quantity: Markup(f' data-stored="{quantity}"') if quantity in costs else "",  # noqa: S704 - a key
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


def _besides(row: Row, estimate: Estimate) -> str:
    """What a number rests on beside what is said once for all: another count than that of its row's runs, a gap."""
    count = "" if len(estimate.values) in {0, len(row.runs)} else f"n = {len(estimate.values)}"
    return ", ".join(text for text in (count, estimate.reason) if text)


def _beside(row: Row, column: Metric) -> str:
    """The untuned score under a tuned one."""
    key = column.untuned if column.headline else None
    if key is None or row.estimate(key).mean is None:
        return ""
    return f"untuned {value_text(row.estimate(key), column.factor)}"
