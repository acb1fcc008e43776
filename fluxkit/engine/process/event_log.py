"""Appends events to this rank's own file; every line is whole before the next begins."""

import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from fluxkit.files.contained import new_file
from fluxkit.record.events import Event, Phase, PhaseEnded, PhaseStarted, Progress, event_path

PROGRESS_SECONDS = 1.0
Item = TypeVar("Item")


class EventLog:
    """One rank's events of one attempt at a run."""

    def __init__(self, folder: Path, rank: int, attempt: int) -> None:
        self.rank = rank
        self.phase: Phase | None = None
        self._began = time.monotonic()
        self._file = new_file(folder, event_path(folder, rank, attempt))

    def write(self, event_type: type[Event], **facts: Any) -> None:
        """Appends an event; the time is added here."""
        event = event_type(at_seconds=round(time.monotonic() - self._began, 6), **facts)
        self._file.write(event.model_dump_json() + "\n")

    def watched(self, items: Sequence[Item], what: str) -> Iterator[Item]:
        """The items, one by one, with how far it is in the log, at most once a second."""
        told = -math.inf
        for done, item in enumerate(items):
            if (now := time.monotonic()) - told >= PROGRESS_SECONDS:
                self.write(Progress, done=done, total=len(items), what=what)
                told = now
            yield item

    def flush_to_disk(self) -> None:
        """What was written outlives a power loss once this returns."""
        os.fsync(self._file.fileno())

    @contextmanager
    def during(self, phase: Phase) -> Iterator[None]:
        """Brackets a phase; one that raises has begun and never ends, which is what happened."""
        self.write(PhaseStarted, phase=phase)
        self.phase = phase
        began = time.perf_counter()
        yield
        self.write(PhaseEnded, phase=phase, seconds=time.perf_counter() - began)
        self.phase = None
