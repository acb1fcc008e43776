"""Pictures of the runs beside the real photos: which captions, which marks, and in what order."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel

from fluxkit.errors import printable
from fluxkit.record.protocol_marks import UNTUNED, iteration_mark, time_mark
from fluxkit.report.thumbnails import LARGE, SMALL, Copy, Spent, Tile, read_png, tile
from fluxkit.stats import mean
from fluxkit.text.number_format import plain
from fluxkit.values import FROZEN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from fluxkit.compare.comparison import Comparison, Row, Workload
    from fluxkit.record.facts import AnchorScore, InputPair, Mark, ReconstructionScore
    from fluxkit.record.result import RunResult

MAX_PAIRS = 12
MAX_MARKS = 12
"""More of them than the page can switch between are left out."""


class Moment(BaseModel):
    """A graded mark that the grid can show."""

    model_config = FROZEN
    id: str
    label: str


class PictureRow(BaseModel):
    """The pictures of one caption."""

    model_config = FROZEN
    caption: str
    why: str
    """How this pair was chosen, if it was."""
    fixed: tuple[Tile, ...]
    """Real photo, autoencoder, untuned model."""
    tuned: tuple[tuple[Tile, ...], ...]
    """Of each configuration, one for each moment."""


class Pictures(BaseModel):
    """The grid: columns are the real photo, the autoencoder, the untuned model and the configurations."""

    model_config = FROZEN
    columns: tuple[str, ...]
    numbers: tuple[int, ...] = ()
    """Of the configurations with a column."""
    moments: tuple[Moment, ...] = ()
    chosen: int = 0
    """Place of the moment that is shown first."""
    rows: tuple[PictureRow, ...]
    note: str


class Shown(NamedTuple):
    """A run whose pictures can be read."""

    folder: Path
    result: RunResult


class Extent(NamedTuple):
    """How much of the pictures a page holds."""

    every_mark: bool
    copy: Copy
    words: str


EXTENTS = (
    Extent(every_mark=True, copy=LARGE, words=""),
    Extent(every_mark=False, copy=LARGE, words="Only the marks that end a budget are shown"),
    Extent(every_mark=False, copy=SMALL, words="Only the marks that end a budget are shown, and in a smaller size"),
)
"""From all of it to what always fits."""


def grid(workload: Workload, sources: Sequence[tuple[Path, RunResult]], spent: Spent) -> Pictures:
    """The pictures of a workload; what does not fit the page is smaller or left out, and the note says so."""
    runs = {result.id: Shown(file.parent, result) for file, result in sources}
    shown = [(row, run) for row in workload.rows if (run := _first_with_pictures(row, runs)) is not None]
    columns = ("Real photo", "Autoencoder", "Untuned", *(row.name for row, _ in shown))
    if not shown:
        reasons = sorted({_why_none(row, runs) for row in workload.rows})
        return Pictures(columns=columns, rows=(), note=f"— ({'; '.join(reasons)})")
    ordered = _ordered_pairs([run.result for _, run in shown])
    for extent in EXTENTS:
        left = Spent(spent.left, extent.copy)
        moments = _moments([run.result for _, run in shown], every=extent.every_mark)
        rows = _rows(ordered[:MAX_PAIRS], shown, moments, left)
        if len(rows) == min(len(ordered), MAX_PAIRS):
            break
    spent.left = left.left
    spent.copied += left.copied
    return Pictures(
        columns=columns,
        numbers=tuple(row.number for row, _ in shown),
        moments=tuple(moments),
        chosen=_chosen(moments, shown[0][1].result),
        rows=tuple(rows),
        note=" ".join([_note(len(rows), len(ordered), extent), *_without(workload, shown, runs)]),
    )


def shown_images(comparison: Comparison, sources: Sequence[tuple[Path, RunResult]]) -> dict[str, set[str]]:
    """Paths of the pictures that a page of these results shows, by the id of their run."""
    spent, found = Spent(), defaultdict(set)
    for workload in comparison.workloads:
        grid(workload, sources, spent)
    folders = {file.parent: result.id for file, result in sources}
    for folder, image in spent.copied:
        found[folders[folder]].add(image)
    return dict(found)


def _note(rows: int, pairs: int, extent: Extent) -> str:
    kept = "so that the page stays below 5 MB"
    words = [f"{extent.words}, {kept}."] if extent.words else []
    if rows == pairs:
        return " ".join([f"All {pairs} pairs that have pictures.", *words])
    why = "the others are left out" if rows == MAX_PAIRS else f"the others are left out {kept}"
    return " ".join([f"{rows} of {pairs} pairs: {why}.", *words])


def _without(workload: Workload, shown: Sequence[tuple[Row, Shown]], runs: Mapping[str, Shown]) -> list[str]:
    """A sentence for each configuration that has no column."""
    there = {row.key for row, _ in shown}
    return [f"No pictures of {row.name}: {_why_none(row, runs)}." for row in workload.rows if row.key not in there]


def _why_none(row: Row, runs: Mapping[str, Shown]) -> str:
    done = [runs[id_].result for id_ in row.runs if id_ in runs]
    if not done:
        return "no complete run"
    if not any(run.spec.model.can_draw for run in done):
        return "random weights draw nothing"
    kept = any(score.image for run in done if run.quality for score in run.quality.reconstruction)
    return "images not beside the results" if kept else "none were kept"


def _first_with_pictures(row: Row, runs: Mapping[str, Shown]) -> Shown | None:
    """The first run of a configuration that has at least one picture of its constant-time mark on disk."""
    for run in (runs[id_] for id_ in row.runs if id_ in runs):
        mark = time_mark(run.result)
        scores = run.result.quality.reconstruction if run.result.quality else ()
        named = [score.image for score in scores if mark and score.mark == mark.id and score.image]
        if any(read_png(run.folder, image) is not None for image in named[:1]):
            return run
    return None


def _ordered_pairs(results: Sequence[RunResult]) -> list[tuple[InputPair, str]]:
    """Pairs with pictures: the median and the worst by PSNR first, chosen by the data, then the others by id."""
    scores: dict[str, list[float]] = {}
    for result in results:
        mark = time_mark(result)
        for score in result.quality.reconstruction if result.quality and mark else ():
            if mark and score.mark == mark.id and score.image:
                scores.setdefault(score.pair, []).append(score.psnr_db if score.psnr_db is not None else 100.0)
    pairs = {pair.id: pair for result in results if result.inputs for pair in result.inputs.pairs}
    ranked = sorted((id_ for id_ in scores if id_ in pairs), key=lambda id_: (mean(scores[id_]), id_))
    if not ranked:
        return []
    chosen = {ranked[len(ranked) // 2]: "median pair by PSNR"}
    chosen.setdefault(ranked[0], "worst pair by PSNR")
    others = {id_: "" for id_ in sorted(ranked) if id_ not in chosen}
    return [(pairs[id_], why) for id_, why in (chosen | others).items()]


def _moments(results: Sequence[RunResult], *, every: bool) -> list[Moment]:
    """Marks after tuning began, in the order of their budgets; the same mark of several configurations once."""
    marks = {mark.id: mark for result in results for mark in (result.tuning.marks if result.tuning else ())}
    ends = {mark.id for result in results for mark in (time_mark(result), iteration_mark(result)) if mark}
    ordered = sorted(
        marks.values(), key=lambda mark: (mark.target_seconds is None, mark.target_seconds or 0.0, mark.id)
    )
    wanted = [mark for mark in ordered if mark.iteration > 0 and (every or mark.id in ends)]
    return [Moment(id=mark.id, label=_label(mark)) for mark in wanted[-MAX_MARKS:]]


def _label(mark: Mark) -> str:
    return f"{plain(mark.target_seconds)} s" if mark.target_seconds is not None else f"{mark.iteration:,} iterations"


def _chosen(moments: Sequence[Moment], result: RunResult) -> int:
    mark = time_mark(result)
    return next((place for place, each in enumerate(moments) if mark and each.id == mark.id), 0)


def _rows(
    pairs: Sequence[tuple[InputPair, str]],
    shown: Sequence[tuple[Row, Shown]],
    moments: Sequence[Moment],
    spent: Spent,
) -> list[PictureRow]:
    """Rows until the bytes are spent."""
    rows: list[PictureRow] = []
    for named in pairs:
        before, copied = spent.left, len(spent.copied)
        row = _row(named, shown, moments, spent)
        if spent.left < 0:
            spent.left = before
            del spent.copied[copied:]
            break
        rows.append(row)
    return rows


def _row(
    named: tuple[InputPair, str],
    shown: Sequence[tuple[Row, Shown]],
    moments: Sequence[Moment],
    spent: Spent,
) -> PictureRow:
    pair, why = named
    first, caption = shown[0][1], printable(pair.caption)
    seed = min((score.seed for score in _samples(first.result, UNTUNED, pair.id)), default=0)
    untuned = _sample(first.result, UNTUNED, pair.id, seed)
    fixed = (
        tile(first.folder, pair.image, f"Real photo: {caption}", "", spent),
        _scored(first.folder, _anchor_of(first.result, pair.id), f"Autoencoder's copy: {caption}", spent),
        _scored(first.folder, untuned, f"Untuned model: {caption}", spent),
    )
    tuned = tuple(
        tuple(
            _scored(
                run.folder,
                _sample(run.result, each.id, pair.id, seed),
                f"{row.name}, {each.label}: {caption}",
                spent,
            )
            for each in moments
        )
        for row, run in shown
    )
    return PictureRow(caption=caption, why=why, fixed=fixed, tuned=tuned)


def _scored(folder: Path, score: ReconstructionScore | AnchorScore | None, alt: str, spent: Spent) -> Tile:
    if score is None:
        return Tile(source=None, alt=alt, missing="not kept")
    psnr = "identical" if score.psnr_db is None else f"{plain(score.psnr_db)} dB"
    return tile(folder, score.image, alt, f"{psnr} · SSIM {plain(score.ssim, 2)}", spent)


def _samples(result: RunResult, mark: str, pair: str) -> list[ReconstructionScore]:
    scores = result.quality.reconstruction if result.quality else ()
    return [score for score in scores if score.mark == mark and score.pair == pair and score.image]


def _sample(result: RunResult, mark: str, pair: str, seed: int) -> ReconstructionScore | None:
    """The sample of that noise seed where it was kept: the same noise in every column."""
    kept = sorted(_samples(result, mark, pair), key=lambda score: (score.seed != seed, score.seed))
    return kept[0] if kept else None


def _anchor_of(result: RunResult, pair: str) -> AnchorScore | None:
    scores = result.quality.anchors if result.quality else ()
    found = (score for score in scores if score.anchor == "autoencoder_reconstruction" and score.pair == pair)
    return next(found, None)
