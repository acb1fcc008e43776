"""Pictures of the runs beside the real photos, read only from inside run folders and embedded as they are stored."""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel

from fluxkit.errors import FluxkitError, printable
from fluxkit.figures import plain
from fluxkit.folder import safe_path
from fluxkit.frozen import FROZEN
from fluxkit.marks import UNTUNED, time_mark
from fluxkit.stats import mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from fluxkit.comparison import Row, Workload
    from fluxkit.events import InputPair
    from fluxkit.record import AnchorScore, ReconstructionScore, RunResult

MAX_FILE_BYTES = 3_000_000
MAX_TOTAL_BYTES = 3_300_000
"""Of all pictures of a page; a third more as base64, so that the page stays below 5 MB."""
MAX_PAIRS = 12
MAX_PIXELS_A_SIDE = 8192
PNG_START = b"\x89PNG\r\n\x1a\n"
HEADER_BYTES = 24
SMALL_SIDE = 200
"""Pictures up to this side in pixels are shown enlarged, pixel by pixel."""


class Tile(BaseModel):
    """One picture of the grid, or why it is not there."""

    model_config = FROZEN
    source: str | None
    """Data URI of the stored PNG."""
    alt: str
    width: int = 0
    height: int = 0
    chip: str = ""
    """PSNR and SSIM against the real image."""
    missing: str = ""

    @property
    def small(self) -> bool:
        """Whether it is shown enlarged."""
        return max(self.width, self.height) <= SMALL_SIDE


class PictureRow(BaseModel):
    """The pictures of one caption."""

    model_config = FROZEN
    caption: str
    why: str
    """How this pair was chosen, if it was."""
    tiles: tuple[Tile, ...]


class Pictures(BaseModel):
    """The grid: columns are the real photo, the autoencoder, the untuned model and the configurations."""

    model_config = FROZEN
    columns: tuple[str, ...]
    rows: tuple[PictureRow, ...]
    note: str


class Shown(NamedTuple):
    """A run whose pictures can be read."""

    folder: Path
    result: RunResult


class Spent:
    """Bytes of pictures that the page may still hold."""

    def __init__(self, left: int = MAX_TOTAL_BYTES) -> None:
        self.left = left


def grid(workload: Workload, sources: Sequence[tuple[Path, RunResult]], spent: Spent) -> Pictures:
    """The pictures of a workload; pairs that no longer fit the page are left out, and the note says so."""
    runs = {result.id: Shown(file.parent, result) for file, result in sources}
    shown = {row.key: run for row in workload.rows if (run := _first_with_pictures(row, runs)) is not None}
    rows_shown = [row for row in workload.rows if row.key in shown]
    columns = ("Real photo", "Autoencoder", "Untuned", *(row.name for row in rows_shown))
    if not shown:
        return Pictures(columns=columns, rows=(), note="— (images not beside the results)")
    ordered = _ordered_pairs([shown[row.key].result for row in rows_shown])
    rows: list[PictureRow] = []
    for pair, why in ordered[:MAX_PAIRS]:
        before = spent.left
        tiles = _tiles(pair, [(row, shown[row.key]) for row in rows_shown], spent)
        if spent.left < 0:
            spent.left = before
            break
        rows.append(PictureRow(caption=printable(pair.caption), why=why, tiles=tiles))
    return Pictures(columns=columns, rows=tuple(rows), note=_note(len(rows), len(ordered)))


def _note(shown: int, pairs: int) -> str:
    if shown == pairs:
        return f"All {pairs} pairs that have pictures."
    return f"{shown} of {pairs} pairs: the page is kept below 5 MB, so the others are left out."


def _first_with_pictures(row: Row, runs: Mapping[str, Shown]) -> Shown | None:
    """The first run of a configuration that has at least one picture of its constant-time mark on disk."""
    for run in (runs[id_] for id_ in row.runs if id_ in runs):
        mark = time_mark(run.result)
        scores = run.result.quality.reconstruction if run.result.quality else ()
        named = [score.image for score in scores if mark and score.mark == mark.id and score.image]
        if any(_read(run.folder, image) is not None for image in named[:1]):
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


def _tiles(pair: InputPair, shown: Sequence[tuple[Row, Shown]], spent: Spent) -> tuple[Tile, ...]:
    first = shown[0][1]
    caption = printable(pair.caption)
    real = _tile(first.folder, pair.image, f"Real photo: {caption}", "", spent)
    autoencoder = _anchor_of(first.result, pair.id)
    seed = min((score.seed for score in _samples(first.result, UNTUNED, pair.id)), default=0)
    tiles = [
        real,
        _scored(first.folder, autoencoder, f"Autoencoder's reconstruction: {caption}", spent),
        _scored(first.folder, _sample(first.result, UNTUNED, pair.id, seed), f"Untuned model: {caption}", spent),
    ]
    for row, run in shown:
        mark = time_mark(run.result)
        sample = _sample(run.result, mark.id, pair.id, seed) if mark else None
        tiles.append(_scored(run.folder, sample, f"{row.name}: {caption}", spent))
    return tuple(tiles)


def _scored(folder: Path, score: ReconstructionScore | AnchorScore | None, alt: str, spent: Spent) -> Tile:
    if score is None:
        return Tile(source=None, alt=alt, missing="not kept")
    psnr = "identical" if score.psnr_db is None else f"{plain(score.psnr_db)} dB"
    return _tile(folder, score.image, alt, f"{psnr} · SSIM {plain(score.ssim, 2)}", spent)


def _tile(folder: Path, image: str | None, alt: str, chip: str, spent: Spent) -> Tile:
    content = _read(folder, image) if image else None
    if content is None:
        return Tile(source=None, alt=alt, chip=chip, missing="image not beside it" if image else "not kept")
    width, height = struct.unpack(">II", content[16:HEADER_BYTES])
    spent.left -= len(content)
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return Tile(source=source, alt=alt, width=width, height=height, chip=chip)


def _read(folder: Path, image: str) -> bytes | None:
    """A PNG inside the run folder; None for anything else."""
    try:
        path = safe_path(folder, image)
        if path.stat().st_size > MAX_FILE_BYTES:
            return None
        content = path.read_bytes()
    except (FluxkitError, OSError):
        return None
    if not content.startswith(PNG_START) or len(content) < HEADER_BYTES or content[12:16] != b"IHDR":
        return None
    sides: tuple[int, int] = struct.unpack(">II", content[16:HEADER_BYTES])
    return content if min(sides) > 0 and max(sides) <= MAX_PIXELS_A_SIDE else None


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
