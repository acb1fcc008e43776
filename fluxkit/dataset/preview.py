"""Looks at a folder of images before a run: which would be used, held out or left out. Opens them in a child process.

The light room has no image library; the child needs Pillow and no torch, so a look costs a fraction of a second.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

from fluxkit.errors import ExitCode, MachineError, RunError, printable

if TYPE_CHECKING:
    from fluxkit.spec.workload import DataSpec


class Seen(NamedTuple):
    """What a run would use of a folder."""

    tuning: tuple[str, ...]
    """One line for each image: its id and caption."""
    held_out: tuple[str, ...]
    skipped: tuple[str, ...]
    """One line for each file that is left out: its name and the reason."""


def look(spec: DataSpec) -> Seen:
    """What a run would use of the spec's folder.

    Raises:
        MachineError: a file can't be used and `on_error` is not `skip`, or there is nothing to tune on.
    """
    command = [sys.executable, "-m", "fluxkit.engine.data.look"]
    done = subprocess.run(command, input=spec.model_dump_json(), text=True, capture_output=True, check=False)
    words = printable(done.stderr).strip()
    if done.returncode == ExitCode.MACHINE:
        raise MachineError(words)
    if done.returncode:
        raise RunError(f"Looking at the images failed: {words.splitlines()[-1] if words else done.returncode}.")
    said = json.loads(done.stdout)
    by_split: dict[str, list[str]] = {"tuning": [], "held_out": []}
    for pair in said["used"]:
        by_split[pair["split"]].append(f"{pair['id']}: {pair['caption']}")
    skipped = tuple(f"{problem['name']}: {problem['reason']}" for problem in said["skipped"])
    return Seen(tuple(by_split["tuning"]), tuple(by_split["held_out"]), skipped)


def look_table(seen: Seen) -> str:
    """The look as lines for the terminal."""
    parts = (("tuned on", seen.tuning), ("held out", seen.held_out), ("left out", seen.skipped))
    lines = [line for name, each in parts for line in (f"{len(each)} images {name}:", *(f"  {item}" for item in each))]
    return printable("\n".join(lines))
