"""SIGTERM and SIGUSR1 mean: write a checkpoint and stop, to be run again later."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequestedError(Exception):
    """The engine was told to stop at a moment when everything needed to go on is on disk."""


class StopSignal:
    """Remembers that a stop was requested; raises at once where nothing would be lost."""

    def __init__(self) -> None:
        self.requested = False
        self._deferred = False
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._receive)

    def _receive(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
        if not self._deferred:
            raise StopRequestedError

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """While tuning, a stop waits for the end of the block, where a checkpoint is written."""
        self._deferred = True
        yield
        self._deferred = False
