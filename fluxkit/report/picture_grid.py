"""Pictures of the runs beside the real photos: which captions, which marks, and in what order."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fluxkit.compare.comparison import Comparison, Row, Workload
from fluxkit.compare.ranking import best_first
from fluxkit.errors import printable
from fluxkit.record.facts import AnchorScore, InputPair, Mark, ReconstructionScore
from fluxkit.record.protocol_marks import UNTUNED, iteration_mark, time_mark
from fluxkit.record.result import RunResult
from fluxkit.report.thumbnails import LARGE, SMALL, Copy, Tile, jpeg_copy, tile
from fluxkit.stats import mean
from fluxkit.text.excerpt import excerpt
from fluxkit.text.number_format import plain, round_text
from fluxkit.values import Frozen

MAX_TOTAL_BYTES = 3_300_000
"""Of all pictures of a page; a third more as base64, so that the page stays below 5 MB."""
MAX_PAIRS = 12
MAX_MARKS = 12
"""More of them than the page can switch between are left out."""
PSNR_OF_IDENTICAL_DB = 100.0
"""Puts identical pictures behind all others; their PSNR is infinite."""


class PictureRow(Frozen):
    """The pictures of one caption."""

    caption: str
    why: str
    """How this pair was chosen, if it was."""
    fixed: tuple[Tile, ...]
    """Real photo, autoencoder, untuned model."""
    tuned: tuple[tuple[Tile, ...], ...]
    """Of each configuration, one for each mark."""

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """All pictures of the row."""
        return sum(self.tuned, self.fixed)

    @property
    def jpeg_bytes(self) -> int:
        """What the row takes of the page's limit."""
        return sum(picture.jpeg_bytes for picture in self.tiles)


class Pictures(Frozen):
    """The grid: columns are the real photo, the autoencoder, the untuned model and the configurations."""

    columns: tuple[str, ...]
    numbers: tuple[int, ...] = ()
    """Of the configurations with a column."""
    marks: tuple[str, ...] = ()
    """Names of the graded marks that the grid can show."""
    chosen: int = 0
    """Place of the mark that is shown first."""
    rows: tuple[PictureRow, ...]
    note: str


LEFT_OUT = Pictures(columns=(), rows=(), note="Left out: the page was made without pictures.")


class Column(NamedTuple):
    """A configuration, and the run whose pictures stand for it."""

    row: Row
    folder: Path
    result: RunResult


class Extent(NamedTuple):
    """How much of the pictures a page holds."""

    every_mark: bool
    copy: Copy
    words: str


EXTENTS = (
    Extent(every_mark=True, copy=LARGE, words=""),
    Extent(every_mark=False, copy=LARGE, words="Only the states at the end of a budget are shown"),
    Extent(
        every_mark=False, copy=SMALL, words="Only the states at the end of a budget are shown, and in a smaller size"
    ),
)
"""From all of it to what always fits."""


def picture_grids(
    comparison: Comparison, sources: Sequence[tuple[Path, RunResult]], bytes_left: int = MAX_TOTAL_BYTES
) -> list[Pictures]:
    """The pictures of each workload; what does not fit the page is smaller or left out, and the note says so."""
    grids = []
    for workload in comparison.workloads:
        grids.append(_grid(workload, sources, bytes_left))
        bytes_left -= sum(row.jpeg_bytes for row in grids[-1].rows)
    return grids


def shown_images(comparison: Comparison, sources: Sequence[tuple[Path, RunResult]]) -> dict[str, set[str]]:
    """Paths of the pictures that a page of these results shows, by the id of their run."""
    ids = {file.parent: result.id for file, result in sources}
    images = defaultdict(set)
    for grid in picture_grids(excerpt(comparison), sources):
        for folder, image in (picture.file for row in grid.rows for picture in row.tiles if picture.file):
            images[ids[folder]].add(image)
    return dict(images)


def _grid(workload: Workload, sources: Sequence[tuple[Path, RunResult]], bytes_left: int) -> Pictures:
    runs = {result.id: (file.parent, result) for file, result in sources}
    drawn = [column for row in workload.rows if (column := _column(row, runs)) is not None]
    keys = [row.key for row in best_first(workload)]
    shown = sorted(drawn, key=lambda column: keys.index(column.row.key))
    columns = ("Real photo", "Autoencoder", "Untuned", *(column.row.name for column in shown))
    if not drawn:
        reasons = sorted({_why_none(row, runs) for row in workload.rows})
        return Pictures(columns=columns, rows=(), note="; ".join(reasons))
    pairs = _ordered_pairs([column.result for column in drawn])
    for extent in EXTENTS:
        marks = _marks([column.result for column in drawn], every=extent.every_mark)
        rows = _rows(pairs[:MAX_PAIRS], [drawn[0], *shown], marks, extent.copy, bytes_left)
        if len(rows) == min(len(pairs), MAX_PAIRS):
            break
    first_mark = time_mark(drawn[0].result)
    held = {column.row.key for column in drawn}
    missing = [f"No pictures of {row.name}: {_why_none(row, runs)}." for row in workload.rows if row.key not in held]
    return Pictures(
        columns=columns,
        numbers=tuple(column.row.number for column in shown),
        marks=tuple(map(_mark_name, marks)),
        chosen=next((place for place, mark in enumerate(marks) if first_mark and mark.id == first_mark.id), 0),
        rows=tuple(rows),
        note=" ".join([_note(len(rows), len(pairs), extent), *missing]),
    )


def _note(rows: int, pairs: int, extent: Extent) -> str:
    limit = "so that the page stays below 5 MB"
    words = [f"{extent.words}, {limit}."] if extent.words else []
    if rows == pairs:
        return " ".join([f"All {pairs} pairs that have pictures.", *words])
    why = "the others are left out" if rows == MAX_PAIRS else f"the others are left out {limit}"
    return " ".join([f"{rows} of {pairs} pairs: {why}.", *words])


def _why_none(row: Row, runs: Mapping[str, tuple[Path, RunResult]]) -> str:
    """Why a configuration has no column."""
    results = [runs[id_][1] for id_ in row.runs if id_ in runs]
    if not results:
        return "no complete run"
    if not any(result.spec.model.can_draw for result in results):
        return "random weights generate nothing"
    if all(score.diverged for result in results for score in _time_scores(result)):
        return "diverged"
    stored = any(score.image for result in results if result.quality for score in result.quality.reconstruction)
    return "images not beside the results" if stored else "none were kept"


def _column(row: Row, runs: Mapping[str, tuple[Path, RunResult]]) -> Column | None:
    """The first run of a configuration whose first picture of its constant-time mark is on disk."""
    for folder, result in (runs[id_] for id_ in row.runs if id_ in runs):
        images = [score.image for score in _time_scores(result) if score.image]
        if images and jpeg_copy(folder, images[0], LARGE) is not None:
            return Column(row, folder, result)
    return None


def _time_scores(result: RunResult) -> list[ReconstructionScore]:
    """Scores at the constant-time mark of the pictures that were kept, or could not be made."""
    mark = time_mark(result)
    scores = result.quality.reconstruction if result.quality and mark else ()
    return [score for score in scores if mark and score.mark == mark.id and (score.image or score.diverged)]


def _ordered_pairs(results: Sequence[RunResult]) -> list[tuple[InputPair, str]]:
    """Pairs with pictures: the median and the worst by PSNR first, chosen by the data, then the others by id."""
    psnrs: dict[str, list[float]] = {}
    for score in (score for result in results for score in _time_scores(result)):
        if not score.diverged:
            psnrs.setdefault(score.pair, []).append(PSNR_OF_IDENTICAL_DB if score.psnr_db is None else score.psnr_db)
    pairs = {pair.id: pair for result in results if result.inputs for pair in result.inputs.pairs}
    ranked = sorted((id_ for id_ in psnrs if id_ in pairs), key=lambda id_: (mean(psnrs[id_]), id_))
    if not ranked:
        return []
    chosen = {ranked[len(ranked) // 2]: "median pair by PSNR"}
    chosen.setdefault(ranked[0], "worst pair by PSNR")
    others = {id_: "" for id_ in sorted(ranked) if id_ not in chosen}
    return [(pairs[id_], why) for id_, why in (chosen | others).items()]


def _marks(results: Sequence[RunResult], *, every: bool) -> list[Mark]:
    """Marks after tuning began, in the order of their budgets; the same mark of several configurations once."""
    marks = {mark.id: mark for result in results for mark in (result.tuning.marks if result.tuning else ())}
    ends = {mark.id for result in results for mark in (time_mark(result), iteration_mark(result)) if mark}
    wanted = [mark for mark in marks.values() if mark.iteration > 0 and (every or mark.id in ends)]
    wanted.sort(key=lambda mark: (mark.target_seconds is None, mark.target_seconds or 0.0, mark.id))
    return wanted[-MAX_MARKS:]


def _mark_name(mark: Mark) -> str:
    return (
        f"{round_text(mark.target_seconds)} s" if mark.target_seconds is not None else f"{mark.iteration:,} iterations"
    )


def _rows(
    pairs: Sequence[tuple[InputPair, str]],
    drawn: Sequence[Column],
    marks: Sequence[Mark],
    how: Copy,
    bytes_left: int,
) -> list[PictureRow]:
    """Rows until the bytes are spent; of `drawn` the first stands for what all have alike, the others are columns."""
    rows: list[PictureRow] = []
    for pair, why in pairs:
        row = _row(pair, why, drawn, marks, how)
        bytes_left -= row.jpeg_bytes
        if bytes_left < 0:
            break
        rows.append(row)
    return rows


def _row(pair: InputPair, why: str, drawn: Sequence[Column], marks: Sequence[Mark], how: Copy) -> PictureRow:
    (first, *shown), caption = drawn, printable(pair.caption)
    quality = first.result.quality
    copies = [score for score in quality.anchors if score.anchor == "autoencoder_reconstruction"] if quality else []
    copy = next((score for score in copies if score.pair == pair.id), None)
    seed = min((score.seed for score in _samples(first, UNTUNED, pair)), default=0)

    def sample(column: Column, mark: str, title: str) -> Tile:
        # Where it was kept, the sample of the same noise seed as in every other column.
        samples = _samples(column, mark, pair)
        if any(score.diverged for score in samples):
            return Tile(source=None, alt=f"{title}: {caption}", missing="diverged")
        score = min(samples, key=lambda score: (score.seed != seed, score.seed), default=None)
        return _scored(column.folder, score, f"{title}: {caption}", how)

    return PictureRow(
        caption=caption,
        why=why,
        fixed=(
            tile(first.folder, pair.image, f"Real photo: {caption}", "", how),
            _scored(first.folder, copy, f"Autoencoder's copy: {caption}", how),
            sample(first, UNTUNED, "Untuned model"),
        ),
        tuned=tuple(
            tuple(sample(column, mark.id, f"{column.row.name}, {_mark_name(mark)}") for mark in marks)
            for column in shown
        ),
    )


def _samples(column: Column, mark: str, pair: InputPair) -> list[ReconstructionScore]:
    scores = column.result.quality.reconstruction if column.result.quality else ()
    own = [score for score in scores if score.mark == mark and score.pair == pair.id]
    return [score for score in own if score.image or score.diverged]


def _scored(folder: Path, score: ReconstructionScore | AnchorScore | None, alt: str, how: Copy) -> Tile:
    if score is None:
        return Tile(source=None, alt=alt, missing="not kept")
    psnr = "identical" if score.psnr_db is None else f"{plain(score.psnr_db)} dB"
    return tile(folder, score.image, alt, f"{psnr} · SSIM {plain(score.ssim, 2)}", how)
