"""`Comparison` -> one self-contained HTML page: no request, no clock, readable without scripts."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from fluxkit import charts
from fluxkit.answers import Answer, answers, metric_of
from fluxkit.compare import NOTHING_GIVEN, compare
from fluxkit.comparison import COLUMNS, Comparison, Metric, Row, Workload
from fluxkit.contrasts import MIN_HELD_OUT
from fluxkit.drawing import swatch
from fluxkit.environment import Differing, clean, differing, facts, spec_toml
from fluxkit.figures import contrast_text, header, interval_text, plain, value_text, verdict_words
from fluxkit.folder import find_results, write_atomically
from fluxkit.frozen import FROZEN
from fluxkit.pictures import Pictures, Spent, grid
from fluxkit.stats import LEVEL, MIN_VALUES
from fluxkit.tables import cell

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from fluxkit.given import Given
    from fluxkit.published import Published
    from fluxkit.record import RunResult

MAX_EMBEDDED_CHARACTERS = 1_200_000
"""Of all results as JSON; beyond it the raw series are left out, and the page says so."""
HEADLINE = (
    "training_iterations_per_second",
    "training_images_per_second",
    "inference_image_steps_per_second",
    "inference_batch_steps_per_second",
    "psnr_db",
    "psnr_db_untuned",
    "ssim",
    "ssim_untuned",
    "validation_loss",
    "validation_loss_untuned",
    "peak_memory_bytes",
    "tuning_seconds",
    "usd_per_1000_iterations",
    "usd_per_adapter",
    "usd_per_1000_images",
)
BESIDE = {
    "psnr_db": "psnr_db_untuned",
    "ssim": "ssim_untuned",
    "validation_loss": "validation_loss_untuned",
}
"""No score stands without what it is measured from."""


class Embedded(BaseModel):
    """The results as JSON that cannot end its own script element, and whether raw series are in it."""

    model_config = FROZEN
    text: str
    whole: bool


class Section(BaseModel):
    """All that the page says about one workload."""

    model_config = FROZEN
    place: int
    workload: Workload
    answers: tuple[Answer, ...]
    columns: tuple[Metric, ...]
    quality_charts: tuple[charts.Chart, ...]
    speed_charts: tuple[charts.Chart, ...]
    phase_chart: charts.Chart | None
    pictures: Pictures
    differing: tuple[Differing, ...]


def write_report(
    results_paths: Iterable[Path], output: Path, published: Sequence[Published] = (), given: Given = NOTHING_GIVEN
) -> Comparison:
    """Reads results from files, run folders and study folders, and writes their page whole or not at all.

    `published` are tables from elsewhere that stand on the page, apart from everything measured; `given` are the
    reader's prices and target.

    Raises:
        UsageError: a path holds no result, or one cannot be read.
    """
    sources = find_results(results_paths)
    comparison = compare((result for _, result in sources), given)
    write_atomically(output, render(comparison, sources, published))
    return comparison


def render(
    comparison: Comparison, folders: Sequence[tuple[Path, RunResult]], published: Sequence[Published] = ()
) -> str:
    """The page, from a comparison and the results with their files as `folder.find_results` gives them.

    The same results give the same bytes: nothing is read but the pictures beside them.
    """
    runs = {result.id: result for _, result in folders}
    spent = Spent()
    sections = [
        _section(place, workload, folders, runs, spent) for place, workload in enumerate(comparison.workloads, 1)
    ]
    script = (resources.files("fluxkit") / "templates" / "script.js").read_text("utf-8").strip()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = _environment().get_template("report.html.jinja")
    text: str = page.render(
        configurations=sum(len(workload.rows) for workload in comparison.workloads),
        comparison=comparison,
        sections=sections,
        published=published,
        runs=[runs[id_] for id_ in sorted(runs, key=lambda id_: (runs[id_].created, id_))],
        script=script,
        script_sha256=digest,
        embedded=_embedded(comparison, list(runs.values())),
        min_held_out=MIN_HELD_OUT,
        min_runs=MIN_VALUES,
        level=f"{100 * LEVEL:g}",
    )
    return text + "\n"


def _section(
    place: int,
    workload: Workload,
    sources: Sequence[tuple[Path, RunResult]],
    runs: Mapping[str, RunResult],
    spent: Spent,
) -> Section:
    key = f"w{place}"
    curves = (
        charts.curve(workload, f"{key}-{score}-{over}".replace("_", "-"), score, over)
        for score in ("psnr_db", "ssim", "validation_loss")
        for over in ("seconds", "iteration")
    )
    return Section(
        place=place,
        workload=workload,
        answers=answers(workload),
        columns=tuple(_headline_columns(workload)),
        quality_charts=tuple(chart for chart in curves if chart),
        speed_charts=tuple(chart for chart in _speed_charts(workload, key) if chart),
        phase_chart=charts.phases(workload, f"{key}-phases"),
        pictures=grid(workload, sources, spent),
        differing=differing(workload.rows, runs),
    )


def _speed_charts(workload: Workload, key: str) -> list[charts.Chart | None]:
    batch = workload.tables["inference"]["batch_size"]
    training, inference = "training_iterations_per_second", "inference_image_steps_per_second"
    return [
        charts.bars(workload, f"{key}-training", training, "Training speed", "iterations/s"),
        charts.bars(workload, f"{key}-inference", inference, f"Inference speed at batch size {batch}", "image-steps/s"),
        charts.forest(workload, f"{key}-training-ratio", "training_speed", "Training speed"),
        charts.forest(workload, f"{key}-inference-ratio", "inference_speed", "Inference speed"),
    ]


def _headline_columns(workload: Workload) -> list[Metric]:
    """Headline columns: an untuned score stands under the tuned one; costs are left out where no price was given."""
    priced = any(row.usd_per_hour > 0 for row in workload.rows)
    found = {column.key: column for column in COLUMNS}
    keys = [key for key in HEADLINE if key not in BESIDE.values() and (priced or not key.startswith("usd_"))]
    return [found[key] for key in keys]


def _embedded(comparison: Comparison, results: Sequence[RunResult]) -> Embedded:
    """Comparison and results as JSON; without the raw series where they would make the page heavy."""
    ordered = sorted(results, key=lambda result: (result.created, result.id))
    compared = script_json(comparison.model_dump(mode="json", by_alias=True))
    whole, left = [], MAX_EMBEDDED_CHARACTERS - len(compared)
    for result in ordered:
        whole.append(script_json(result.model_dump(mode="json", by_alias=True)))
        left -= len(whole[-1])
        if left < 0:
            break
    texts = whole if left >= 0 else [script_json(_light(result)) for result in ordered]
    return Embedded(text=f'{{"comparison":{compared},"results":[{",".join(texts)}]}}', whole=left >= 0)


def _light(result: RunResult) -> dict[str, Any]:
    """A result as JSON values without its raw series."""
    series = {
        "tuning": {"iteration_seconds", "losses"},
        "quality": {"reconstruction", "validation", "anchors"},
        "inference": {"step_seconds"},
    }
    return result.model_dump(mode="json", by_alias=True, exclude=series)


def script_json(values: Any) -> str:
    """JSON that can stand inside a script element: no character in it can begin a tag, a comment or an entity."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _environment() -> Any:
    """Templates with escaping everywhere; what is missing is an error, never an empty place."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fluxkit", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) or not isinstance(value, str) else clean(value),
    )
    environment.globals.update(
        cell=cell,
        beside=_beside,
        contrast_text=contrast_text,
        facts=facts,
        header=header,
        interval_text=interval_text,
        plain=plain,
        quantity_title=lambda quantity: metric_of(quantity).title,
        sort_value=lambda row, column: row.estimate(column.key).mean,
        spec_toml=spec_toml,
        swatch=lambda number: Markup(swatch(number)),  # noqa: S704 - made of constants only
        svg=lambda chart: Markup(chart.svg),  # noqa: S704 - the chart compiler escapes every text it draws
        trusted=Markup,  # the page's own script, and JSON by `script_json`
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
