"""Which pictures of a folder a run would use, as lines for the terminal."""

from fluxkit.dataset.picture_loader import load_pairs
from fluxkit.errors import printable
from fluxkit.spec.workload import DataSpec


def preview(spec: DataSpec) -> str:
    """What would be tuned on, held out and left out of the spec's folder; its images are opened for it.

    Raises:
        MachineError: a file can't be used and `on_error` is not `skip`, or there is nothing to tune on.
    """
    pairs = load_pairs(spec)
    parts = {
        "tuned on": [f"{pair.id}: {pair.caption}" for pair in pairs.used if pair.split == "tuning"],
        "held out": [f"{pair.id}: {pair.caption}" for pair in pairs.used if pair.split == "held_out"],
        "left out": [f"{problem.name}: {problem.reason}" for problem in pairs.skipped],
    }
    blocks = ["\n  ".join([f"{len(lines)} images {name}:", *lines]) for name, lines in parts.items()]
    return printable("\n".join(blocks))
