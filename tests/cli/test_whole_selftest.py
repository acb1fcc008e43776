"""The whole selftest with the real engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(os.name != "posix", reason="needs permissions")
def test_the_selftest_passes_from_a_read_only_folder(tmp_path: Path) -> None:
    """The command works where nothing can be written but the temporary folder, and leaves that as it was."""
    here, temporary = tmp_path / "here", tmp_path / "temporary"
    here.mkdir()
    temporary.mkdir()
    here.chmod(0o555)
    source = str(Path(__file__).parents[2])
    environment = {**os.environ, "TMPDIR": str(temporary), "HOME": str(here), "PYTHONPATH": source}
    command = [sys.executable, "-m", "fluxkit", "selftest", "--json"]
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = {step["name"]: step for step in json.loads(done.stdout)}
    assert list(steps) == ["metric", "tune", "agreement", "fold", "verify", "report"]
    assert steps["agreement"]["numbers"].keys() == {"relative_l2_ieee_float32", "relative_l2_bfloat16"}
    assert list(temporary.iterdir()) == []
    assert list(here.iterdir()) == []
