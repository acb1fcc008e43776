"""The engine's process(es): started in a group of their own, told to stop, and none left behind."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from fluxkit.engine.process.parent_watch import LAUNCHER, end_with_parent
from fluxkit.files.contained import appended
from fluxkit.machine.environment import child_environment
from fluxkit.plan.plan import Job, Plan
from fluxkit.plan.storage import grace_seconds
from fluxkit.spec.run_spec import RunSpec

if TYPE_CHECKING:
    import psutil

LOOK_SECONDS = 0.05
KILL_LOOKS = 200


def engine_command(folder: Path, plan: Plan) -> list[str]:
    """What is executed: the engine itself, or torchrun and one engine for each of this machine's processes.

    Where several machines meet, torchrun takes from the environment (`PET_RDZV_ENDPOINT`).
    """
    if plan.processes == 1:
        return [sys.executable, "-m", "fluxkit.engine", str(folder)]
    where = ["--standalone", "--nnodes=1"]
    if plan.nodes > 1:
        where = ["--rdzv-backend=c10d", f"--rdzv-id={folder.name}", f"--nnodes={plan.nodes}"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", *where]
    return [*torchrun, f"--nproc-per-node={plan.processes // plan.nodes}", "-m", "fluxkit.engine", str(folder)]


def engine_environment(spec: RunSpec, plan: Plan) -> dict[str, str]:
    """This environment without leftovers, with threads, spinning and the network settled."""
    kept = child_environment(nodes=plan.nodes)
    if "OMP_WAIT_POLICY" not in kept:
        # Waiting threads of libgomp spin for microseconds and then sleep. Medians of nano's iterations/s on two quiet
        # cores, and with one of them busy otherwise: spinning on, as is the default, 15.5 and 0.7; this 15.3 and 6.2;
        # sleeping at once 7.5 and 10.6. Who has chosen otherwise keeps that, and it stands in the result.
        kept.setdefault("GOMP_SPINCOUNT", "2000")
    settled = {
        "OMP_NUM_THREADS": str(plan.threads_per_process),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        # Their remarks about packages that are not needed would fill the engine's log.
        "TRANSFORMERS_VERBOSITY": "error",
        "DIFFUSERS_VERBOSITY": "error",
    }
    if plan.device_uuids:
        # The planned devices in the planned order, by name: an index means what the driver and the variable make of it.
        settled |= {"CUDA_VISIBLE_DEVICES": ",".join(plan.device_uuids)}
    if not spec.model.download:
        settled |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return kept | settled


class Engine:
    """A started engine with its descendants, none of which outlives the `with` block.

    A process group is not enough: torchrun gives each rank a session of its own, and a rank whose torchrun was killed
    is nobody's child. A variable that all of them inherit tells them.

    Args:
        folder: of the run, where the job lies.
        job: what is run.
        log_file: takes what the engine writes to its standard output and error.

    Raises:
        OSError: it can't be started.
    """

    def __init__(self, folder: Path, job: Job, log_file: Path) -> None:
        command, environment = engine_command(folder, job.plan), engine_environment(job.spec, job.plan)
        self._mark = f"{os.getpid()} {secrets.token_hex(8)}"
        self._several = job.plan.processes > 1
        self._grace = grace_seconds(job.spec, job.plan.trainable_parameters)
        with appended(log_file.parent, log_file) as log:
            self._process = subprocess.Popen(
                command, env={**environment, LAUNCHER: self._mark}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=end_with_parent,  # noqa: PLW1509 - one system call, no locks
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is not None:
            self._await_ranks()
        self.kill()

    @property
    def pid(self) -> int:
        """Process id of the engine or of torchrun."""
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def ask_to_stop(self, number: int) -> None:
        """Asks each engine process itself: torchrun would give its ranks 30 seconds, and dies of SIGUSR1."""
        ranks = self._ranks()
        for process in ranks:
            _quietly(process.send_signal, number)
        if not ranks:
            _quietly(self._process.send_signal, signal.SIGTERM if self._several else number)

    def kill(self) -> int:
        """Ends the whole family at once; harmless when it is gone. Gives the exit code."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for _ in range(KILL_LOOKS):  # one that is waiting for a broken disk can't be ended
            if not (family := self._family()):
                break
            for process in family:
                _quietly(process.kill)
            time.sleep(LOOK_SECONDS)
        return self._process.wait()

    def _await_ranks(self) -> None:
        """Ranks whose torchrun was killed have been told to stop with it, and get the time to write a checkpoint."""
        deadline = time.monotonic() + self._grace
        while self._ranks() and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)

    def _family(self) -> list[psutil.Process]:
        """The living processes that it has started, and those that they have."""
        import psutil

        family = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):  # it is another user's, or has just ended
                if process.environ().get(LAUNCHER) == self._mark and process.status() != psutil.STATUS_ZOMBIE:
                    family.append(process)
        return family

    def _ranks(self) -> list[psutil.Process]:
        return [process for process in self._family() if _is_rank(process)]


def _is_rank(process: psutil.Process) -> bool:
    import psutil

    with suppress(psutil.Error):
        return "fluxkit.engine" in process.cmdline() and "torch.distributed.run" not in process.cmdline()
    return False


def _quietly(act: Callable[..., object], *arguments: int) -> None:
    import psutil

    with suppress(psutil.Error, ProcessLookupError):
        act(*arguments)
