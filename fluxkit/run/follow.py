"""Follows an engine: events for the progress as they are written, signals passed on, an end that is waited for."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from fluxkit.machine.stop_requests import StopRequests
from fluxkit.plan.plan import Job
from fluxkit.plan.storage import grace_seconds
from fluxkit.record.events import Event, Failed, Finished, event_path, parse_event
from fluxkit.run.engine_process import Engine
from fluxkit.run.progress import Position, Reporter
from fluxkit.units import span

POLL_SECONDS = 0.2
"""Rarely enough not to be noticed by what is measured."""
STUCK_SECONDS = 10.0
"""What processes get to end after a rank has failed, as those that wait for it on a GPU never would, or after all have
said their last word."""
WORTH_A_WORD_SECONDS = 5.0
"""A stop that takes longer is told how long."""


def follow(engine: Engine, tail: Tail, position: Position, stop: StopRequests, reporter: Reporter) -> int:
    """Follows the engine to its end, passing a request to stop on; gives its exit code.

    Raises:
        KeyboardInterrupt: it is to end at once.
    """
    asked, deadline = False, math.inf
    while (exit_code := engine.poll()) is None:
        _show(tail, position, reporter)
        over = len(tail.finished) == tail.job.plan.processes
        if tail.failed or over:
            deadline = min(deadline, time.monotonic() + STUCK_SECONDS)
        grace = grace_seconds(tail.job.spec, tail.job.plan.trainable_parameters, position.step_seconds)
        if tail.finished:
            deadline = min(deadline, time.monotonic() + grace)
        if stop.requested and not asked:
            asked, deadline = True, min(deadline, time.monotonic() + grace)
            # The engine knows them all, torchrun's own processes do not; what is meant is the same.
            if not over:
                engine.ask_to_stop(signal.SIGUSR1 if stop.first == signal.SIGUSR1 else signal.SIGTERM)
            reporter.say(_what_happens(stop, position))
        if time.monotonic() >= deadline:
            engine.kill()
        time.sleep(POLL_SECONDS)
    _show(tail, position, reporter)
    return exit_code


def _what_happens(stop: StopRequests, position: Position) -> str:
    """What the engine does now, how long that may take, and how it would be quicker."""
    words = "stops, and what it has done is kept"
    if position.phase == "tune":
        words = "writes a checkpoint and stops"
        if position.micro_batch_seconds >= WORTH_A_WORD_SECONDS:
            words += f" after the micro-batch that it is in, within about {span(position.micro_batch_seconds)}"
    advice = " Once more ends it at once." if stop.first == signal.SIGINT else ""
    return f"{stop.name}: the run {words}.{advice}"


def _show(tail: Tail, position: Position, reporter: Reporter) -> None:
    for event in tail.read():
        position.update(event)
        reporter.moved()


class Tail:
    """Reads events as they are appended: all of rank 0, and the last words of the others."""

    def __init__(self, folder: Path, job: Job) -> None:
        self.job = job
        self._paths = [event_path(folder, rank, job.attempt) for rank in range(job.plan.processes)]
        self._offsets = [0] * len(self._paths)
        self.failed = False
        self.finished = set[int]()
        """Ranks that have said their last word."""

    def read(self) -> Iterator[Event]:
        """Rank 0's new events."""
        for rank, path in enumerate(self._paths):
            for event in self._new(rank, path):
                self.failed = self.failed or isinstance(event, Failed)
                if isinstance(event, Finished):
                    self.finished.add(rank)
                if rank == 0:
                    yield event

    def _new(self, rank: int, path: Path) -> Iterator[Event]:
        if not path.is_file() or path.stat().st_size <= self._offsets[rank]:
            return
        with path.open("rb") as file:
            file.seek(self._offsets[rank])
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._offsets[rank] += len(whole)
        for line in whole.splitlines():
            try:
                yield parse_event(line)
            except ValueError:  # folding says what is wrong with it; progress goes on
                continue
