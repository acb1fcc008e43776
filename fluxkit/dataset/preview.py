"""Which pictures of a folder a run would use, as lines for the terminal."""

from fluxkit.dataset.folder_walk import Aside, Problem
from fluxkit.dataset.picture_folder import one_line
from fluxkit.dataset.picture_loader import load_pairs
from fluxkit.errors import printable
from fluxkit.spec.workload import DataSpec


def preview(spec: DataSpec) -> str:
    """What would be tuned on, held out and left out of the spec's folder; its images are opened for it.

    Raises:
        MachineError: a file can't be used and `on_error` is not `skip`, or there is nothing to tune on.
    """
    pairs = load_pairs(spec)
    unusable = [problem for problem in pairs.skipped if not isinstance(problem, Aside)]
    asides = [problem for problem in pairs.skipped if isinstance(problem, Aside)]
    parts = {
        "images tuned on": [_line(pair.name, pair.caption) for pair in pairs.used if pair.split == "tuning"],
        "images held out": [_line(pair.name, pair.caption) for pair in pairs.used if pair.split == "held_out"],
        "images left out": [_line(*problem) for problem in unusable],
    }
    if asides:
        parts["other things in the folder"] = [_line(*problem) for problem in asides]
    blocks = ["\n  ".join([f"{len(lines)} {title}:", *lines]) for title, lines in parts.items()]
    return printable("\n".join(blocks))


def _line(name: str, words: str) -> str:
    """One line, whatever a stranger's name is made of."""
    return ": ".join(one_line(Problem(name, words)))
