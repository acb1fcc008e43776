"""How the engine is started, and that none of it is left behind."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil

from fluxkit.run.engine_process import engine_command, engine_environment


def test_the_engine_gets_its_environment(go):
    """Threads and offline switches are set; the log keeps no path of this machine."""
    _, folder = go("told")
    log = (folder / "engine.log").read_text()
    assert "'OMP_NUM_THREADS': '1', 'HF_HUB_OFFLINE': '1', 'TRANSFORMERS_OFFLINE': '1'" in log
    assert str(folder) not in log
    assert f" {Path.home()} " not in log


def test_a_download_that_is_allowed_is_possible(small_spec, small_plan):
    """The offline switches are left alone only where the spec allows a download."""
    model = {"family": "schnell", "weights": "pretrained", "repo": "a/b", "revision": "c" * 40, "download": True}
    allowed = small_spec.model_copy(update={"model": type(small_spec.model)(**model)})
    assert "HF_HUB_OFFLINE" not in set(engine_environment(allowed, small_plan)) - set(os.environ)


def test_several_processes_are_torchruns(small_plan):
    """One process is the engine itself; several are torchrun's on this node alone."""
    assert engine_command(Path("x"), small_plan) == [sys.executable, "-m", "fluxkit.engine", "x"]
    two = engine_command(Path("x"), small_plan.model_copy(update={"processes": 2}))
    assert two[1:] == [
        "-m", "torch.distributed.run", "--standalone", "--nnodes=1", "--nproc-per-node=2", "-m", "fluxkit.engine", "x",
    ]  # fmt: skip


def test_no_process_is_left_behind(go):
    """Descendants in sessions of their own are ended too, as torchrun's ranks would be."""
    _, folder = go("leaves_child")
    left = int((folder / "child").read_text())
    assert not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE
