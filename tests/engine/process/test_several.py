"""Several real processes on one model: they compute what one computes, whatever each of them holds."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
import torch
from diffusers import FluxTransformer2DModel
from real_engine import EngineRun, run_engine, small_spec, start_engine

from fluxkit.record.events import event_path, read_events

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

FULL: dict[str, dict[str, Any]] = {
    "model": {"weights": "random"},
    "tune": {
        "method": "full", "learning_rate": 1e-3, "max_grad_norm": 0.05, "ema_decay": 0.9, "seconds": 0.1,
        "iterations": 6,
    },
}  # fmt: skip
"""The norm of the gradient is above its bound at every step, so that clipping counts."""


def full_spec(tune: dict[str, Any] | None = None, **execution: Any) -> Any:
    """Full tuning of the small architecture."""
    return small_spec(**FULL | {"tune": FULL["tune"] | (tune or {})}, execution=execution)


@pytest.fixture(scope="module")
def full_run(tmp_path_factory: pytest.TempPathFactory) -> EngineRun:
    """Full tuning in one process."""
    return run_engine(tmp_path_factory.mktemp("full"), full_spec())


def test_four_processes_give_the_losses_of_one(short_run: EngineRun, tmp_path: Path) -> None:
    """Four DDP processes under gloo see the samples of one: twelve losses of LoRA agree to 1e-5."""
    four = run_engine(tmp_path / "four", small_spec(execution={"processes": 4}))
    assert four.code == 0, four.output
    assert four.losses()[:12] == pytest.approx(short_run.losses()[:12], abs=1e-5)


@pytest.mark.parametrize("processes", [2, 4])
def test_sharded_processes_give_the_losses_of_one(full_run: EngineRun, tmp_path: Path, processes: int) -> None:
    """FSDP2 with clipping, accumulation and averaging gives losses and tuned weights of one process to 1e-5."""
    execution = {"processes": processes, "parallelism": "fsdp", "micro_batch_size": 1}
    sharded = run_engine(tmp_path / "sharded", full_spec(**execution))
    assert (full_run.code, sharded.code) == (0, 0), full_run.output + sharded.output
    assert sharded.losses()[:6] == pytest.approx(full_run.losses()[:6], abs=1e-5)
    one, several = (FluxTransformer2DModel.from_pretrained(run.folder / "transformer") for run in (full_run, sharded))
    if len(full_run.losses()) == len(sharded.losses()):
        for (name, mine), theirs in zip(one.named_parameters(), several.parameters(), strict=True):
            torch.testing.assert_close(theirs, mine, atol=1e-4, rtol=1e-4, msg=name)
    graded = [event.pair for rank in range(processes) for event in sharded.events("validation", rank)]
    assert sorted(graded) == sorted(event.pair for event in full_run.events("validation"))


def test_sharded_processes_round_as_one_does(tmp_path: Path) -> None:
    """In bfloat16 with recomputed activations two sharded processes give the losses of one, but for its rounding."""
    execution = {"precision": "bfloat16", "inference_precision": "bfloat16", "gradient_checkpointing": True}
    one = run_engine(tmp_path / "one", full_spec(**execution))
    two = run_engine(tmp_path / "two", full_spec(**execution, processes=2, parallelism="fsdp"))
    assert (one.code, two.code) == (0, 0), one.output + two.output
    assert two.losses()[:6] == pytest.approx(one.losses()[:6], rel=2e-3)


def test_a_sharded_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """Stopped while tuning, two sharded processes continue to the losses of one that was not stopped."""
    execution = {"processes": 2, "parallelism": "fsdp"}
    folder = tmp_path / "stopped"
    process = start_engine(folder, full_spec({"seconds": 600.0}, **execution))
    while not any(e.event == "iterations" and e.first >= 1 for e in read_events(event_path(folder, 0, 0))):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    for rank in ranks_of(process.pid):
        rank.send_signal(signal.SIGUSR1)
    output, _ = process.communicate(timeout=120)
    stopped = EngineRun(folder, process.returncode, output)
    done = stopped.events("checkpoint")[-1].iteration
    resumed = run_engine(folder, full_spec({"iterations": done + 6}, **execution), attempt=1)
    assert resumed.code == 0, output + resumed.output
    assert resumed.events("resumed", attempt=1)[0].iteration == done
    whole = run_engine(tmp_path / "whole", full_spec({"iterations": done + 6}))
    assert resumed.losses(attempt=1)[:6] == pytest.approx(whole.losses()[done : done + 6], abs=1e-5)


def ranks_of(pid: int) -> list[Any]:
    """The engine processes under torchrun."""
    import psutil

    return [each for each in psutil.Process(pid).children(recursive=True) if "fluxkit.engine" in each.cmdline()]
