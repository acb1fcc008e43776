"""So many broken files of each kind through all that reads them: sentences, never a traceback, as in tests/fuzz."""

import os
import subprocess
import sys
from pathlib import Path

from faults._words import say

FUZZ = Path(__file__).parents[1] / "fuzz"


def main(count: int = 20_000) -> int:
    """So many of each kind; gives how many kinds ended in a traceback."""
    command = [sys.executable, "-m", "pytest", "-q", "--timeout", "0", str(FUZZ)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONOPTIMIZE"}
    lost = subprocess.run(command, env=environment | {"FLUXKIT_FUZZ": str(count)}, check=False).returncode
    say(f"fuzz: {count} of each kind, {'a traceback' if lost else '0 tracebacks'}")
    return lost
