"""Follows an engine: events for the progress as they are written, signals passed on, an end that is waited for."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Self

from fluxkit.plan.plan import Job
from fluxkit.plan.storage import grace_seconds
from fluxkit.record.events import Event, Failed, event_path, parse_event
from fluxkit.run.engine_process import Engine
from fluxkit.run.progress import Position, Reporter

POLL_SECONDS = 0.2
"""Rarely enough not to be noticed by what is measured."""
STUCK_SECONDS = 10.0
"""What the other ranks get to end after one has failed; those that wait for it on a GPU never would."""


def follow(engine: Engine, tail: Tail, position: Position, stop: StopRequests, reporter: Reporter) -> int:
    """Follows the engine to its end, passing signals on; gives its exit code."""
    passed_on, deadline = 0, math.inf
    grace = grace_seconds(tail.job.spec, tail.job.plan.trainable_parameters)
    while (exit_code := engine.poll()) is None:
        _show(tail, position, reporter)
        if tail.failed:
            deadline = min(deadline, time.monotonic() + STUCK_SECONDS)
        if stop.count > passed_on:
            deadline = min(deadline, time.monotonic() + (0.0 if passed_on else grace))
            # The engine knows SIGTERM and SIGUSR1; an interrupt by hand means the same to it.
            engine.ask_to_stop(signal.SIGUSR1 if stop.first == signal.SIGUSR1 else signal.SIGTERM)
            advice = " Once more ends it at once." if stop.first == signal.SIGINT else ""
            reporter.say(f"{stop.name}: the run writes a checkpoint and stops.{advice}")
            passed_on = stop.count
        if time.monotonic() >= deadline:
            engine.kill()
        time.sleep(POLL_SECONDS)
    _show(tail, position, reporter)
    return exit_code


def _show(tail: Tail, position: Position, reporter: Reporter) -> None:
    for event in tail.read():
        position.update(event)
        reporter.moved()


class StopRequests:
    """Notes SIGTERM, SIGUSR1 and SIGINT instead of dying of them, while in the `with` block."""

    def __init__(self) -> None:
        self.first: int | None = None
        """Number of the first signal."""
        self.count = 0

    @property
    def name(self) -> str | None:
        """Name of the first signal."""
        return None if self.first is None else signal.Signals(self.first).name

    def __enter__(self) -> Self:
        numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
        self._before = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.first = self.first or number
        self.count += 1


class Tail:
    """Reads events as they are appended: all of rank 0, and failures of the others."""

    def __init__(self, folder: Path, job: Job) -> None:
        self.job = job
        self._paths = [event_path(folder, rank, job.attempt) for rank in range(job.plan.processes)]
        self._offsets = [0] * len(self._paths)
        self.failed = False

    def read(self) -> Iterator[Event]:
        """Rank 0's new events."""
        for rank, path in enumerate(self._paths):
            for event in self._new(rank, path):
                self.failed = self.failed or isinstance(event, Failed)
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
