"""No rank outlives the process that started it on its machine: what nobody watches must not write."""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from fluxkit.errors import ExitCode, MachineError

LAUNCHER = "FLUXKIT_LAUNCHER"
"""Variable that every process of a run inherits: the process number of its launcher, and what tells it from others."""
LOOK_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """On Linux this process gets SIGTERM, and an engine writes a checkpoint, when its parent is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class ParentWatch:
    """Whether the processes that started this one still live: the launcher and, between them, torchrun.

    Raises:
        MachineError: one of them is gone already.
    """

    def __init__(self) -> None:
        end_with_parent()
        self._by_torchrun = "TORCHELASTIC_RUN_ID" in os.environ
        self._parents = self._living_parents()
        launcher = os.environ.get(LAUNCHER, "").partition(" ")[0]
        # A parent that is gone before that call gives no signal any more, and leaves another one in its place.
        if launcher and self._parents[-1] != int(launcher):
            raise MachineError("The process that started this one has ended, so it ends too.")

    def start(self, is_told_to_stop: Callable[[], bool], grace_seconds: float) -> None:
        """From now on the end of a parent is a request to stop, and after `grace_seconds` the end."""
        words = (is_told_to_stop, grace_seconds)
        threading.Thread(target=self._watch, args=words, name="fluxkit-parents", daemon=True).start()

    def _watch(self, is_told_to_stop: Callable[[], bool], grace_seconds: float) -> None:
        while self._living_parents() == self._parents:
            time.sleep(LOOK_SECONDS)
        # The kernel or torchrun may have asked already. Elsewhere than on Linux nobody has.
        if not is_told_to_stop():
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace_seconds)
        os._exit(ExitCode.RUN_FAILED)

    def _living_parents(self) -> tuple[int, ...]:
        """Process numbers from the parent to the launcher; what is gone is missing."""
        parent = os.getppid()
        if not self._by_torchrun:
            return (parent,)
        import psutil

        with suppress(psutil.Error):
            return parent, psutil.Process(parent).ppid()
        return (parent,)
