"""Tuning until the budgets are spent: one trajectory, from which both protocols read.

An iteration is one optimiser step over the global batch on all processes. The budget's clock runs over the steps
only, and rank 0's clock decides for all. Marks, checkpoints and logging are off it.
"""

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from fluxkit.engine.data.tensor_file import DamagedTensorsError, TensorFile, save_tensors
from fluxkit.engine.flux.distributed import gather_whole
from fluxkit.engine.measure.timing import LONG_SECONDS, Laps
from fluxkit.engine.process.event_log import EventLog
from fluxkit.engine.tuning.mark_schedule import RECENT, ScheduledMark, block_length, is_over, scheduled_marks
from fluxkit.engine.tuning.optimizer_step import Optimiser
from fluxkit.errors import MachineError
from fluxkit.machine.stop_requests import StopRequestedError, StopRequests
from fluxkit.plan.plan import Job
from fluxkit.plan.storage import checkpoint_interval_seconds
from fluxkit.record.events import CheckpointWritten, Iterations, MarkReached, Resumed
from fluxkit.record.run_folder import CHECKPOINT_FILE, SNAPSHOTS
from fluxkit.values import finite


@dataclass
class TrajectoryState:
    """How far the trajectory has come."""

    iteration: int = 0
    seconds: float = 0.0
    """The budget's clock."""
    saved_seconds: float = 0.0
    """The budget's clock at the last checkpoint."""
    recent: list[float] = field(default_factory=list)
    """Durations of the last steps."""
    reached: list[dict[str, Any]] = field(default_factory=list)
    """Facts of the marks reached, in order."""


class Trajectory:
    """Steps, marks and checkpoints of one run, on one rank."""

    def __init__(
        self, job: Job, folder: Path, optimiser: Optimiser, accelerator: Accelerator, *,
        log: EventLog, stop: StopRequests,
    ) -> None:  # fmt: skip
        self._tune = job.spec.tune
        self._checkpoint_seconds = checkpoint_interval_seconds(job.spec, job.plan.trainable_parameters)
        self._folder, self._optimiser, self._accelerator = folder, optimiser, accelerator
        self._log, self._stop = log, stop
        self._device: torch.device = accelerator.device
        self.state = TrajectoryState()

    def run(self) -> bool:
        """Tunes until both budgets are met; False where it was told to stop, and its checkpoint is written."""
        while not is_over(self._tune, self.state.seconds, self.state.iteration):
            before = self._optimiser.graded()
            self._reach(before)
            steps = self._agree_on_steps()
            if not steps:
                self._save()
                return False
            start = TrajectoryState(self.state.iteration, self.state.seconds)
            whole = self._block(steps)
            self._reach(before, start=start)
            if not whole:
                self._save()
                return False
            if self.state.seconds - self.state.saved_seconds >= self._checkpoint_seconds:
                self._save()
        self._reach(self._optimiser.graded())
        self._save()
        return True

    def _agree_on_steps(self) -> int:
        """Rank 0's choice of steps until the clock is read again; 0 where any rank was told to stop."""
        steps = block_length(self._pending(), self._tune, self.state.seconds, self.state.recent)
        to_budget = self._tune.iterations - self.state.iteration
        steps = min(steps, to_budget) if to_budget > 0 else steps
        votes = torch.tensor([steps if self._accelerator.is_main_process else 0, int(self._stop.requested)])
        votes = self._accelerator.reduce(votes.to(self._device), "sum")
        return 0 if int(votes[1]) else int(votes[0])

    def _told_to_stop(self) -> bool:
        """Whether any rank was, asked between micro-batches; one process alone knows it at no cost.

        Several have to agree, which takes a moment of the step that is timed: only where steps are long.
        """
        told = self._stop.requested
        if self._accelerator.num_processes == 1:
            return told
        if self.state.seconds < LONG_SECONDS * self.state.iteration or not self.state.iteration:
            return False
        return float(self._accelerator.reduce(torch.tensor(float(told)).to(self._device), "sum")) > 0

    def _block(self, steps: int) -> bool:
        """So many steps, or as many as were done when it was told to stop; gives whether it did them all."""
        first, laps, losses = self.state.iteration, Laps(self._device), list[Tensor]()
        try:
            for iteration in range(first, first + steps):
                losses.append(self._optimiser.step(iteration, self._told_to_stop))
                laps.lap()
        except StopRequestedError:
            laps.lap()  # what the dropped step took is no part of the others
        seconds = laps.seconds()[: len(losses)]
        if losses:
            self._count(losses, seconds)
        return len(losses) == steps

    def _count(self, losses: list[Tensor], seconds: list[float]) -> None:
        """Adds a block of steps to the budget's clock, and writes it down."""
        state, first = self.state, self.state.iteration
        mean_losses = self._accelerator.reduce(torch.stack(losses), "mean").tolist()
        clock = torch.tensor(sum(seconds) if self._accelerator.is_main_process else 0.0, dtype=torch.float64)
        state.iteration = first + len(losses)
        state.seconds += float(self._accelerator.reduce(clock.to(self._device), "sum"))
        state.recent = [*state.recent, *seconds][-RECENT:]
        facts = {"first": first, "seconds": tuple(seconds), "losses": tuple(map(finite, mean_losses))}
        self._log.write(Iterations, total_seconds=state.seconds, **facts)

    def _pending(self) -> list[ScheduledMark]:
        done = {mark["id"] for mark in self.state.reached}
        return [mark for mark in scheduled_marks(self._tune) if mark.id not in done]

    def _reach(self, weights: dict[str, Tensor], *, start: TrajectoryState | None = None) -> None:
        """Records the marks that are due with these weights.

        Without `start` those of iterations, before a block. With the state that a block started from, those of time
        that it overran: the weights of its start are the last in time.
        """
        now = self.state
        for mark in self._pending():
            if mark.iteration is not None and not start and now.iteration >= mark.iteration:
                self._snapshot(mark, weights, now)
            if mark.seconds is not None and start and now.seconds > mark.seconds:
                self._snapshot(mark, weights, start)

    def _snapshot(self, mark: ScheduledMark, weights: dict[str, Tensor], at: TrajectoryState) -> None:
        facts = {
            "id": mark.id, "target_seconds": mark.seconds, "seconds": at.seconds,
            "iteration": at.iteration, "samples": at.iteration * self._tune.global_batch_size,
        }  # fmt: skip
        self.state.reached.append(facts)
        self._log.write(MarkReached, **facts)
        whole = gather_whole(weights, keep=self._accelerator.is_main_process)
        if self._accelerator.is_main_process:
            save_tensors(snapshot_path(self._folder, at.iteration), whole, {}, below=self._folder)

    def _save(self) -> None:
        """Writes a checkpoint on rank 0, off the clock. The others wait, or their clocks would run."""
        began = time.perf_counter()
        # A checkpoint whose steps no events tell of could be continued, but never folded.
        self._log.flush_to_disk()
        self._accelerator.wait_for_everyone()
        self.state.saved_seconds = self.state.seconds
        keep = self._accelerator.is_main_process
        whole = gather_whole(self._optimiser.state(), keep=keep) if self.state.iteration else {}
        if whole:
            save_tensors(self._folder / CHECKPOINT_FILE, whole, asdict(self.state), below=self._folder)
            seconds = time.perf_counter() - began
            self._log.write(CheckpointWritten, iteration=self.state.iteration, seconds=seconds)
        self._accelerator.wait_for_everyone()

    def resume(self) -> None:
        """Continues from the checkpoint, if there is one, with the marks reached before it."""
        path = self._folder / CHECKPOINT_FILE
        if not path.is_file():
            return
        try:
            checkpoint = TensorFile(path)
            self._optimiser.restore(checkpoint)
        except DamagedTensorsError as error:
            raise MachineError(f"{CHECKPOINT_FILE} is damaged ({error}); remove it to begin the run again.") from error
        self.state = TrajectoryState(**checkpoint.facts)
        self._log.write(Resumed, iteration=self.state.iteration, seconds=self.state.seconds)


def snapshot_path(folder: Path, iteration: int) -> Path:
    """Where the graded weights after `iteration` steps lie until they are graded."""
    return folder / SNAPSHOTS / f"iteration-{iteration:08d}.safetensors"
