"""Looks at a folder of images before a run: which would be used, held out or left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fluxkit.dataset.picture_loader import load_pairs
from fluxkit.errors import printable

if TYPE_CHECKING:
    from fluxkit.spec.workload import DataSpec


class Preview(NamedTuple):
    """What a run would use of a folder."""

    tuning: tuple[str, ...]
    """One line for each image: its id and caption."""
    held_out: tuple[str, ...]
    skipped: tuple[str, ...]
    """One line for each file that is left out: its name and the reason."""


def preview(spec: DataSpec) -> Preview:
    """What a run would use of the spec's folder, whose images are opened for it.

    Raises:
        MachineError: a file can't be used and `on_error` is not `skip`, or there is nothing to tune on.
    """
    pairs = load_pairs(spec)
    lines: dict[str, list[str]] = {"tuning": [], "held_out": []}
    for pair in pairs.used:
        lines[pair.split].append(f"{pair.id}: {pair.caption}")
    skipped = tuple(f"{problem.name}: {problem.reason}" for problem in pairs.skipped)
    return Preview(tuple(lines["tuning"]), tuple(lines["held_out"]), skipped)


def preview_table(pictures: Preview) -> str:
    """The preview as lines for the terminal."""
    parts = (("tuned on", pictures.tuning), ("held out", pictures.held_out), ("left out", pictures.skipped))
    lines = [line for name, part in parts for line in (f"{len(part)} images {name}:", *(f"  {item}" for item in part))]
    return printable("\n".join(lines))
