"""Whole runs of the engine on made-up cards: they end well, and learn what the CPU learns."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fluxkit.model import pipeline_files
from fluxkit.record.events import event_path, read_events
from gpu_stand_in.cards import CARDS
from gpu_stand_in.specs import BFLOAT16, EXTRAS, FULL, SHRUNK, STEPS, short_spec, shrunk_schnell

if TYPE_CHECKING:
    from collections.abc import Callable

    from fluxkit.spec.run_spec import RunSpec
    from gpu_stand_in.engines import Engines, StandInRun


@dataclass(frozen=True)
class Case:
    """A run on cards, and how near the CPU's losses it has to come."""

    cards: tuple[str, ...]
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    near: float = 1e-6
    kernels: tuple[str, str] = ("efficient_attention", "efficient_attention")
    """Of attention while tuning and in inference."""
    collects: bool = True
    """Whether reference cycles are collected on the cards."""
    is_slow: bool = False
    """Left to the tests that take minutes: its way through the engine is that of others."""

    @property
    def marks(self) -> list[pytest.MarkDecorator]:
        return [pytest.mark.slow] if self.is_slow else []

    def on(self, device: str) -> dict[str, dict[str, Any]]:
        """The tables for the cards, or what a CPU can do of them: it does not know TF32, which tuning never uses."""
        execution = {**self.tables.get("execution", {}), "device": device}
        if device == "cpu" and execution.get("inference_precision") == "tf32":
            del execution["inference_precision"]
        return {**self.tables, "execution": execution}


CHECKPOINTED = {**BFLOAT16, "gradient_checkpointing": True}
CASES = {
    "float32": Case(("T4",)),
    "tf32": Case(("L40S",), {"execution": {"inference_precision": "tf32"}}),
    "bfloat16, checkpointing, averages, accumulation": Case(
        ("H100",),
        {"tune": EXTRAS, "execution": {**CHECKPOINTED, "micro_batch_size": 2}},
        kernels=("cudnn_attention", "cudnn_attention"),
    ),
    "int8": Case(
        ("RTX4090",),
        {"execution": {**CHECKPOINTED, "quantization": "int8"}},
        kernels=("flash_attention", "flash_attention"),
    ),
    "narrow weights": Case(
        ("A40",),
        {"execution": {"precision": "bfloat16", "inference_weights": "bfloat16"}},
        kernels=("flash_attention", "efficient_attention"),
        is_slow=True,
    ),
    "full tuning under autocast": Case(
        ("A100-40",),
        {"model": {"weights": "random"}, "tune": FULL | EXTRAS, "execution": {"precision": "bfloat16"}},
        kernels=("flash_attention", "efficient_attention"),
        collects=False,
    ),
    "schnell, random": Case(
        ("A100-80",),
        {"model": {"family": "schnell", "weights": "random"}, "data": {"resolution": 128}, "execution": CHECKPOINTED},
        kernels=("flash_attention", "flash_attention"),
    ),
    "schnell, pretrained": Case(
        ("H200",),
        {"model": {"family": "schnell", "weights": "pretrained"}, "execution": CHECKPOINTED},
        kernels=("cudnn_attention", "cudnn_attention"),
        is_slow=True,
    ),
    "two processes": Case(("H100", "H100"), {"execution": {"processes": 2}}),
    "two sharded processes": Case(
        ("A100-80", "A100-80"),
        {
            "model": {"weights": "random"},
            "tune": FULL | EXTRAS,
            "execution": {**CHECKPOINTED, "processes": 2, "parallelism": "fsdp"},
        },
        near=1e-4,
        kernels=("flash_attention", "flash_attention"),
        collects=False,
    ),
}


@pytest.fixture(scope="module")
def small_pipeline_of_schnell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small pipeline in schnell's layout, with weights, made by a process without fluxkit."""
    folder = tmp_path_factory.mktemp("schnell")
    maker = Path(__file__).parents[1] / "engine" / "small_schnell.py"
    subprocess.run([sys.executable, str(maker), str(folder)], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def shrunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shrunk_schnell(tmp_path_factory.mktemp("shrunk"), SHRUNK)


@pytest.fixture(scope="module")
def pair_of(
    engines: Engines, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Callable[[str], tuple[StandInRun, StandInRun]]:
    """Runs a case on its cards and on the CPU at once, and keeps both."""
    done: dict[str, tuple[StandInRun, StandInRun]] = {}

    def spec_of(tables: dict[str, dict[str, Any]]) -> RunSpec:
        model = tables.get("model", {})
        if model.get("weights") == "pretrained":
            folder = request.getfixturevalue("small_pipeline_of_schnell")
            return short_spec(**{**tables, "model": {**model, "path": str(folder)}})
        return short_spec(**tables)

    def run(name: str) -> tuple[StandInRun, StandInRun]:
        if name not in done:
            case, folder = CASES[name], tmp_path_factory.mktemp("run")
            more = {"schnell": str(request.getfixturevalue("shrunk"))} if name == "schnell, random" else {}
            with pytest.MonkeyPatch.context() as patch:
                if more:
                    patch.setattr(pipeline_files, "SCHNELL_FOLDER", Path(more["schnell"]))
                there = engines.start(
                    folder / "gpu", spec_of(case.on("cuda")), *case.cards, collects=case.collects, **more
                )
                here = engines.start(folder / "cpu", spec_of(case.on("cpu")), **more)
            done[name] = there.end(), here.end()
        return done[name]

    return run


@pytest.mark.parametrize("name", [pytest.param(name, marks=case.marks) for name, case in CASES.items()])
def test_a_gpu_learns_what_the_cpu_learns(pair_of: Any, name: str) -> None:
    """Every phase is gone through on the cards, and the losses are the CPU's."""
    there, here = pair_of(name)
    assert (there.code, here.code) == (0, 0), there.output + here.output
    assert len(here.losses()) >= STEPS
    assert there.losses()[:STEPS] == pytest.approx(here.losses()[:STEPS], abs=CASES[name].near)
    assert {event.phase for event in there.events("phase_ended")} >= {"prepare", "tune", "evaluate", "inference"}
    names = [there.events("started", rank)[0].device_name for rank in range(len(CASES[name].cards))]
    assert names == [CARDS[card].name for card in CASES[name].cards]


IN_A_STEP = ("float32", "bfloat16, checkpointing, averages, accumulation", "two processes")
"""One of each way through a step."""


@pytest.mark.parametrize("name", IN_A_STEP)
def test_no_step_waits_for_the_device(pair_of: Any, name: str) -> None:
    """Between the first and the last step of a block the host reads nothing from the device."""
    there, _ = pair_of(name)
    for rank in range(len(CASES[name].cards)):
        report = there.report(rank)
        assert report.timed_waits, "the steps were not timed by events"
        assert [wait for wait in report.timed_waits if wait[0] in {"host read", "synchronize"}] == []


@pytest.mark.parametrize("name", IN_A_STEP)
def test_no_step_waits_for_a_copy(pair_of: Any, name: str) -> None:
    """What a step needs from the host is sent without waiting, from pinned memory."""
    there, _ = pair_of(name)
    for rank in range(len(CASES[name].cards)):
        # DDP's reducer, in C++, copies what is trained one by one: its buckets lie on the host here, on CUDA not.
        waits = [wait for wait in there.report(rank).timed_waits if not wait[1].startswith("torch/_dynamo/")]
        copies = [wait for wait in waits if wait[0].endswith(" copy")]
        assert {kind for kind, _, _ in copies} == {"pinned copy"}, copies


@pytest.mark.parametrize("name", ["float32", "two processes"])
def test_a_gpu_run_states_what_its_host_needed(pair_of: Any, name: str) -> None:
    """For tuning and for each denoising step, on every rank; on a CPU, where host and device are one, nothing."""
    there, here = pair_of(name)
    for rank in range(len(CASES[name].cards)):
        host = there.events("tuning_setting", rank)[0].host
        assert 0 < host.issue_seconds <= host.device_seconds * 1.01
        for block in there.events("inference_steps", rank):
            assert all(0 < issue <= done for issue, done in zip(block.issue_seconds, block.seconds, strict=True))
    assert here.events("tuning_setting")[0].host is None
    assert {block.issue_seconds for block in here.events("inference_steps")} == {None}


@pytest.mark.parametrize("name", [pytest.param(name, marks=case.marks) for name, case in CASES.items()])
def test_the_kernel_of_attention_fits_precision_and_card(pair_of: Any, name: str) -> None:
    """FP32 takes the memory-efficient one; bfloat16 cuDNN's on Hopper and flash on what is older or smaller."""
    there, _ = pair_of(name)
    settings = there.events("tuning_setting")[0].attention, there.events("inference_setting")[0].attention
    assert settings == CASES[name].kernels


def alive_in(run: StandInRun, phase: str) -> Any:
    """What was alive when a phase began; loading the libraries is one without a device."""
    phases = [event.phase for event in run.events("phase_started") if event.phase != "import"]
    return [moment for moment in run.report().alive if moment.moment == "phase"][phases.index(phase)]


@pytest.mark.parametrize("name", ["full tuning under autocast", "two sharded processes"])
def test_the_optimiser_is_dead_when_evaluation_begins(pair_of: Any, name: str) -> None:
    """Its moments are no part of the memory that evaluation needs, although nobody collects cycles."""
    there, _ = pair_of(name)
    assert alive_in(there, "tune").stepped_optimizers == 1
    assert alive_in(there, "evaluate").stepped_optimizers == 0


def test_the_sharded_model_is_dead_when_the_whole_one_is_used(pair_of: Any) -> None:
    """When the model in one piece is first called, no other is alive, although nobody collects cycles."""
    there, _ = pair_of("two sharded processes")
    whole = [moment for moment in there.report().alive if moment.moment == "new transformer"][-1]
    assert whole.transformers == 1


@pytest.mark.parametrize("name", ["full tuning under autocast", "two sharded processes"])
def test_warming_up_takes_no_more_than_tuning(pair_of: Any, name: str) -> None:
    """Weights that are kept to be restored are the only copy besides the averages, as the plan counts."""
    there, _ = pair_of(name)
    peaks = {event.phase: event.peak_bytes["cuda_allocated"] for event in there.events("memory")}
    assert peaks["warm_up"] <= peaks["tune"]


@pytest.mark.parametrize("name", ["two processes", "two sharded processes"])
def test_processes_leave_each_other_in_order(pair_of: Any, name: str) -> None:
    """The group that NCCL's resources belong to is gone when a rank ends."""
    there, _ = pair_of(name)
    assert [there.report(rank).is_in_group for rank in range(2)] == [False, False]


def test_the_peak_of_live_tensors_is_predicted(pair_of: Any) -> None:
    """On schnell's layout, shrunk, the plan's prediction is within a tenth of what was alive."""
    there, _ = pair_of("schnell, random")
    assert there.plan.predicted_peak_bytes == pytest.approx(there.peak_bytes(), rel=0.1)


def test_a_stopped_run_takes_further_steps(engines: Engines, tmp_path: Path) -> None:
    """Stopped while tuning and resumed on the card, it goes on to the losses of a run on the CPU that was not."""
    endless = {"iterations": 100_000, "ema_decay": 0.9}
    start = engines.start(tmp_path / "stopped", short_spec(tune=endless, execution={"device": "cuda"}), "H100")
    while not any(event.event == "iterations" for event in read_events(event_path(start.folder, 0, 0))):
        time.sleep(0.02)
    os.kill(start.pids[0], signal.SIGUSR1)
    stopped = start.end()
    assert stopped.code == 75, stopped.output
    done = len(stopped.losses())
    tune = {**endless, "iterations": done + STEPS}
    again = engines.start(start.folder, short_spec(tune=tune, execution={"device": "cuda"}), "H100", attempt=1)
    whole = engines.run(tmp_path / "whole", short_spec(tune=tune))
    resumed = again.end()
    assert (resumed.code, whole.code) == (0, 0), resumed.output + whole.output
    assert resumed.events("resumed", attempt=1)[0].iteration == done
    assert stopped.losses() + resumed.losses(attempt=1)[:STEPS] == pytest.approx(
        whole.losses()[: done + STEPS], abs=1e-6
    )
