"""Two machines, as two torchrun agents on loopback with a folder that both see: one run, one result."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from real_engine import EngineRun, small_spec

from fluxkit.errors import MachineError
from fluxkit.fold.outcome import folded_result
from fluxkit.run.join import join
from fluxkit.run.study import run_study

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.slow


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def meeting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torchrun reads on both machines."""
    monkeypatch.setenv("PET_RDZV_ENDPOINT", f"127.0.0.1:{free_port()}")
    monkeypatch.setenv("PET_LOCAL_ADDR", "127.0.0.1")


@pytest.mark.usefixtures("meeting")
def test_two_machines_give_the_losses_of_one(short_run: EngineRun, tmp_path: Path) -> None:
    """A study of two runs on two machines: each has one result, completed, with the losses of one process."""
    folder = tmp_path / "study"
    other = subprocess.Popen(
        [sys.executable, "-m", "fluxkit", "join", str(folder), "--quiet"], stderr=subprocess.PIPE, text=True
    )
    try:
        outcome = run_study([small_spec(execution={"processes": 2, "nodes": 2})], repeats=2, out=folder, same_seed=True)
        _, said = other.communicate(timeout=60)
    finally:
        other.kill()
    assert [result.status for result in outcome.results] == ["completed", "completed"], outcome.results[0].error
    assert (other.returncode, said) == (0, "Took part in 2 runs.\n")
    for result in outcome.results:
        assert result.tuning.losses[:12] == pytest.approx(short_run.losses()[:12], abs=1e-5)
        assert [rank.rank for rank in result.tuning.ranks] == [0, 1]
        assert result.energy.reason == "only one machine of several was watched"
    assert len(list(folder.glob("*/result.json"))) == 2
    assert folded_result(next(folder.glob("*/result.json")).parent).plan.nodes == 2


def test_without_a_run_there_is_nothing_to_join(tmp_path: Path) -> None:
    """A folder in which nothing begins is refused, with what the first machine has to be told."""
    with pytest.raises(MachineError, match=r"No run of several machines began in .* fluxkit run SPEC --out"):
        join(tmp_path / "nothing", patience_seconds=0.1)
