"""The engine with schnell's random architecture shrunk: `python shrunk_engine.py PIPELINE RUN_FOLDER [DATA_BYTES]`.

With DATA_BYTES the process may hold no more private memory than that beyond what it has once torch is loaded: the
allocator then fails as it does on a machine that is full.
"""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

from fluxkit.engine.__main__ import main
from fluxkit.model import pipeline_files


def limit(more: int) -> None:
    import fluxkit.engine.run  # noqa: F401 - what it loads is no part of the limit

    held = int(re.search(r"VmData:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (held + more, held + more))


if __name__ == "__main__":
    pipeline_files.SCHNELL_FOLDER = Path(sys.argv[1])
    if len(sys.argv) > 3:
        limit(int(sys.argv[3]))
    sys.exit(main(Path(sys.argv[2])))
