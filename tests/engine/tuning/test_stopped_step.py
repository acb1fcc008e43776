"""Stopped inside a step: it is dropped, and the checkpoint is that of the steps before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from accelerate import Accelerator
from real_engine import small_spec

from fluxkit.engine.data.prepare import prepare_data
from fluxkit.engine.data.tensor_file import TensorFile
from fluxkit.engine.flux.autoencoder import load_autoencoder
from fluxkit.engine.flux.transformer import load_flux
from fluxkit.engine.process.event_log import EventLog
from fluxkit.engine.tuning.optimizer_step import Optimiser
from fluxkit.engine.tuning.sample_stream import Samples
from fluxkit.engine.tuning.trajectory import Trajectory
from fluxkit.fold.replay import replay
from fluxkit.machine.stop_requests import StopRequestedError, StopRequests
from fluxkit.machine.system import probe
from fluxkit.plan.plan import Job, make_plan
from fluxkit.record.run_folder import CHECKPOINT_FILE

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # a rank's events are closed by its end
CPU = torch.device("cpu")
MICRO_BATCHES = 4


class Told:
    """Stands in for the requests of a process that is told to stop while it computes a certain micro-batch."""

    def __init__(self, after: int) -> None:
        self.after, self.asked = after, 0

    @property
    def requested(self) -> bool:
        self.asked += 1
        return self.asked > self.after


@pytest.fixture(scope="module")
def made() -> Any:
    """An optimiser whose steps are four micro-batches, on the embedded model."""
    spec = small_spec(execution={"micro_batch_size": 2}, tune={"seconds": 0.1, "iterations": 3})
    prepared = prepare_data(spec, load_autoencoder(spec.model, CPU), CPU)
    job = Job(spec=spec, plan=make_plan(spec, probe()), seed=0)

    def optimiser() -> Optimiser:
        flux = load_flux(spec, 0, CPU)
        return Optimiser(job, flux, Samples(job, prepared, flux), Accelerator(cpu=True))

    return job, optimiser


def test_a_step_that_is_dropped_changes_nothing(made: Any) -> None:
    """Told between two micro-batches, weights, moments and the next step are as if it had not begun."""
    _, optimiser = made
    stopped, whole = optimiser(), optimiser()
    for each in (stopped, whole):
        each.step(0)
    before = {name: value.clone() for name, value in stopped.state().items()}
    answers = iter([False, False, True])
    with pytest.raises(StopRequestedError):
        stopped.step(1, lambda: next(answers))
    assert all(torch.equal(value, before[name]) for name, value in stopped.state().items())
    assert torch.equal(stopped.step(1), whole.step(1))


@pytest.mark.parametrize("micro_batch", [0, 1, 3])
def test_a_stop_inside_a_step_saves_the_steps_before_it(made: Any, tmp_path: Path, micro_batch: int) -> None:
    """The second step is dropped, the first is in events and checkpoint, and its seconds are its own."""
    job, optimiser = made
    log = EventLog(tmp_path, 0, 0)
    # Once before each block of one step, then before each micro-batch.
    told = Told(after=1 + MICRO_BATCHES + 1 + micro_batch)
    trajectory = Trajectory(job, tmp_path, optimiser(), Accelerator(cpu=True), log=log, stop=told)  # type: ignore[arg-type]
    assert trajectory.run() is False
    assert TensorFile(tmp_path / CHECKPOINT_FILE).facts["iteration"] == 1
    run = replay(tmp_path)
    assert (len(run.losses), len(run.seconds), run.checkpoint) == (1, 1, 1)
    assert trajectory.state.seconds == pytest.approx(run.seconds[0])


def test_a_stop_in_the_last_block_is_not_forgotten() -> None:
    """Tuning is complete then, its checkpoint is written, and the boundary after it hears the request."""
    stop = StopRequests()
    try:
        with stop.at_once(), stop.deferred():
            stop._receive(15, None)
        with pytest.raises(StopRequestedError):
            stop.check()
    finally:
        stop.restore()
