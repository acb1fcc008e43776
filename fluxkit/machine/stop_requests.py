"""Signals that ask a process to stop: heard at once where nothing would be lost, noted elsewhere, never forgotten."""

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import ClassVar

STOP_SIGNALS = (
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU,
)  # fmt: skip
"""What people, terminals, container engines and schedulers (Slurm, LSF, Grid Engine) send before they end a process."""


class StopRequestedError(BaseException):
    """Told to stop, at a moment when all that is needed to go on is on disk.

    No `Exception`: libraries swallow those while they import one another or try what a machine can do.
    """


class StopRequests:
    """The requests to stop that a process has got; the first one counts.

    Only SIGINT says more when it comes again: somebody at a keyboard wants it to end at once.
    """

    current: ClassVar["StopRequests | None"] = None
    """Those of this process, which has one handler for each signal."""

    def __init__(self) -> None:
        self.first: int | None = None
        """Number of the first signal."""
        self._raises = False
        self._handlers = {
            # What was ignored from the start stays so: nohup, and what a script runs in the background.
            number: signal.signal(number, self._receive)
            for number in STOP_SIGNALS
            if signal.getsignal(number) != signal.SIG_IGN
        }

    @classmethod
    def listen(cls) -> "StopRequests":
        """Those of this process from now on, to its end."""
        cls.current = cls.current or cls()
        return cls.current

    @property
    def requested(self) -> bool:
        """Whether a stop was asked for."""
        return self.first is not None

    @property
    def name(self) -> str | None:
        """Name of the first signal."""
        return None if self.first is None else signal.Signals(self.first).name

    def at_once(self) -> AbstractContextManager[None]:
        """The first signal raises as it comes."""
        return self._raising(raises=True)

    def deferred(self) -> AbstractContextManager[None]:
        """A signal is only noted; whoever defers looks afterwards, with `check`."""
        return self._raising(raises=False)

    @contextmanager
    def _raising(self, *, raises: bool) -> Iterator[None]:
        before, self._raises = self._raises, raises
        try:
            yield
        finally:
            self._raises = before

    def check(self) -> None:
        """A boundary: the work before it is done, that after it has not begun.

        Raises:
            StopRequestedError: a stop was asked for.
            KeyboardInterrupt: by hand.
        """
        if self.first == signal.SIGINT:
            raise KeyboardInterrupt
        if self.first is not None:
            raise StopRequestedError

    def ignore(self) -> None:
        """Nothing is heard any more: how the process ends is decided."""
        for number in self._handlers:
            signal.signal(number, signal.SIG_IGN)

    def restore(self) -> None:
        """Signals are handled as before."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self.first is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        again, self.first = self.first is not None, self.first or number
        if self._raises and not again:
            self.check()


@contextmanager
def stop_requests() -> Iterator[StopRequests]:
    """The requests of this process: one object for a whole command, whichever part of it asks first."""
    if StopRequests.current:
        yield StopRequests.current
        return
    StopRequests.current = StopRequests()
    try:
        yield StopRequests.current
    finally:
        StopRequests.current.restore()
        StopRequests.current = None


def check_stop() -> None:
    """A boundary in work that knows nothing of signals: a request that a library has swallowed is heard here.

    Raises:
        StopRequestedError: a stop was asked for.
        KeyboardInterrupt: by hand.
    """
    if StopRequests.current:
        StopRequests.current.check()
