"""`python -m fluxkit.engine.data.look`: which images a run would use. [data] as JSON in, JSON out, no torch."""

from __future__ import annotations

import json
import sys

from fluxkit.engine.data.pairs import load_pairs
from fluxkit.errors import ExitCode, FluxkitError
from fluxkit.spec.workload import DataSpec


def main() -> int:
    """One look; gives the exit code, and the refusal as its last word on standard error."""
    try:
        pairs = load_pairs(DataSpec.model_validate_json(sys.stdin.read()))
    except FluxkitError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    used = [
        {"id": pair.id, "caption": pair.caption, "split": pair.split, "cluster": pair.cluster} for pair in pairs.used
    ]
    skipped = [problem._asdict() for problem in pairs.skipped]
    sys.stdout.write(json.dumps({"used": used, "skipped": skipped}) + "\n")
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
