"""What of people's data a page carries, in a sentence for whoever passes it on."""

from collections.abc import Sequence

from fluxkit.errors import printable
from fluxkit.record.result import RunResult
from fluxkit.report.picture_grid import Pictures
from fluxkit.text.number_format import listed, quoted
from fluxkit.units import counted


def personal_data(results: Sequence[RunResult], grids: Sequence[Pictures]) -> str:
    """Pictures by their number, captions, and the labels that somebody gave to machines and folders."""
    tiles = [tile for grid in grids for row in grid.rows for tile in row.tiles if tile.source]
    photos = [row.fixed[0] for grid in grids for row in grid.rows if row.fixed and row.fixed[0].source]
    captions = {pair.caption for result in results if result.inputs for pair in result.inputs.pairs}
    labels = dict.fromkeys(quoted(printable(result.spec.hardware.label)) for result in results)
    names = dict.fromkeys(quoted(printable(path)) for result in results for path in result.spec.paths().values())
    parts = [
        f"{counted(len(tiles), 'picture')}, {len(photos)} of them photos that were tuned on" if tiles else "no picture",
        counted(len(captions), "caption"),
        f"labels {listed(list(labels))}" if labels else "",
        f"names of files and folders {listed(list(names))}" if names else "",
    ]
    return f"This page holds {'; '.join(part for part in parts if part)}."
