"""Tuning until the budgets are spent: one trajectory, from which both protocols read.

An iteration is one optimiser step over the global batch on all processes. The budget's clock runs over the steps
only; rank 0's clock decides for all. Marks, checkpoints and logging are off it.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from fluxkit.engine.data import tensor_file
from fluxkit.engine.flux.distributed import gathered
from fluxkit.engine.measure.timing import Laps
from fluxkit.engine.tuning.mark_schedule import RECENT, Target, block_length, is_over, targets_of
from fluxkit.record.events import CheckpointWritten, Iterations, MarkReached, Resumed

if TYPE_CHECKING:
    from pathlib import Path

    from accelerate import Accelerator
    from torch import Tensor

    from fluxkit.engine.process.event_log import EventLog
    from fluxkit.engine.process.stop_signal import StopSignal
    from fluxkit.engine.tuning.optimizer_step import Optimiser
    from fluxkit.plan.plan import Job

CHECKPOINT_FILE = "checkpoint/tuning.safetensors"
SNAPSHOTS = "snapshots"


@dataclass
class Position:
    """Where the trajectory is."""

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
        self, job: Job, folder: Path, optimiser: Optimiser, accelerator: Accelerator, *, log: EventLog, stop: StopSignal
    ) -> None:
        self._tune, self._execution = job.spec.tune, job.spec.execution
        self._folder, self._optimiser, self._accelerator = folder, optimiser, accelerator
        self._log, self._stop = log, stop
        self._device: torch.device = accelerator.device
        self.position = Position()

    def run(self) -> bool:
        """Tunes until both budgets are met; False where it was told to stop, and its checkpoint is written."""
        while not is_over(self._tune, self.position.seconds, self.position.iteration):
            before = self._optimiser.graded()
            self._reach(before, overran=False)
            steps = self._agree_on_steps()
            if not steps:
                self._save()
                return False
            start = Position(self.position.iteration, self.position.seconds)
            self._block(steps)
            self._reach(before, overran=True, start=start)
            if self.position.seconds - self.position.saved_seconds >= self._execution.checkpoint_seconds:
                self._save()
        self._reach(self._optimiser.graded(), overran=False)
        self._save()
        return True

    def _agree_on_steps(self) -> int:
        """Rank 0's choice of steps until the clock is read again; 0 where any rank was told to stop."""
        position = self.position
        steps = block_length(self._pending(), self._tune, position.seconds, position.recent)
        to_budget = self._tune.iterations - position.iteration
        steps = min(steps, to_budget) if to_budget > 0 else steps
        told = torch.tensor([steps if self._accelerator.is_main_process else 0, int(self._stop.requested)])
        told = self._accelerator.reduce(told.to(self._device), "sum")
        return 0 if int(told[1]) else int(told[0])

    def _block(self, steps: int) -> None:
        laps, losses = Laps(self._device), []
        for step in range(self.position.iteration, self.position.iteration + steps):
            losses.append(self._optimiser.step(step))
            laps.lap()
        seconds = laps.seconds()
        shared = self._accelerator.reduce(torch.stack(losses), "mean").tolist()
        clock = torch.tensor(sum(seconds) if self._accelerator.is_main_process else 0.0, dtype=torch.float64)
        spent = float(self._accelerator.reduce(clock.to(self._device), "sum"))
        first, position = self.position.iteration, self.position
        position.iteration, position.seconds = first + steps, position.seconds + spent
        position.recent = [*position.recent, *seconds][-RECENT:]
        facts = {"first": first, "seconds": tuple(seconds), "losses": tuple(shared)}
        self._log.write(Iterations, total_seconds=position.seconds, **facts)

    def _pending(self) -> list[Target]:
        done = {mark["id"] for mark in self.position.reached}
        return [target for target in targets_of(self._tune) if target.id not in done]

    def _reach(self, weights: dict[str, Tensor], *, overran: bool, start: Position | None = None) -> None:
        """Records the marks that are due; after an overrun the state before the block is the last in time."""
        now = self.position
        for target in self._pending():
            if target.iteration is not None and not overran and now.iteration >= target.iteration:
                self._mark(target, weights, now)
            if target.seconds is not None and now.seconds > target.seconds and start:
                self._mark(target, weights, start)

    def _mark(self, target: Target, weights: dict[str, Tensor], at: Position) -> None:
        samples = at.iteration * self._tune.global_batch_size
        facts = {"id": target.id, "target_seconds": target.seconds, "seconds": at.seconds}
        facts |= {"iteration": at.iteration, "samples": samples}
        self.position.reached.append(facts)
        self._log.write(MarkReached, **facts)
        main = self._accelerator.is_main_process
        whole = gathered(weights, keep=main)
        if main:
            tensor_file.save(snapshot_path(self._folder, at.iteration), whole, {})

    def _save(self) -> None:
        """Writes a checkpoint on rank 0, off the clock; the others wait, or their clocks would run."""
        began = time.perf_counter()
        self.position.saved_seconds = self.position.seconds
        main = self._accelerator.is_main_process
        whole = gathered(self._optimiser.state(), keep=main) if self.position.iteration else {}
        if whole:
            tensor_file.save(self._folder / CHECKPOINT_FILE, whole, asdict(self.position))
            seconds = time.perf_counter() - began
            self._log.write(CheckpointWritten, iteration=self.position.iteration, seconds=seconds)
        self._accelerator.wait_for_everyone()

    def resume(self) -> None:
        """Continues from the checkpoint, if there is one; marks reached before it are said again."""
        path = self._folder / CHECKPOINT_FILE
        if not path.is_file():
            return
        tensors, facts = tensor_file.load(path)
        self._optimiser.restore(tensors)
        self.position = Position(**facts)
        self._log.write(Resumed, iteration=self.position.iteration, seconds=self.position.seconds)


def snapshot_path(folder: Path, iteration: int) -> Path:
    """Where the graded weights after `iteration` steps lie until they are graded."""
    return folder / SNAPSHOTS / f"iteration-{iteration:08d}.safetensors"
