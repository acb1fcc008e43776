"""What a rank does last: it says why it failed, and leaves the other processes in order."""

from __future__ import annotations

import gc
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from real_engine import small_spec, write_job
from torch import distributed

from fluxkit.engine import __main__ as engine
from fluxkit.engine import run
from fluxkit.errors import MachineError
from fluxkit.machine.stop_requests import StopRequestedError
from fluxkit.machine.system import probe
from fluxkit.record.events import event_path, read_events
from fluxkit.run.out_of_memory import evidence

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # a rank's events are closed by its end

NCCL = """NCCL error in: ProcessGroupNCCL.cpp:3690, unhandled cuda error (run with NCCL_DEBUG=INFO for details)
ncclUnhandledCudaError: Call to CUDA function failed.
Last error:
Cuda failure 2 'out of memory'"""
COMPILER = """backend='inductor' raised:
OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.

Set TORCHDYNAMO_VERBOSE=1 for the internal stack trace"""


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """The engine makes a group of processes, torch takes the hook for exceptions, and here they are the tests' own."""
    hook = sys.excepthook
    yield
    if distributed.is_initialized():
        distributed.destroy_process_group()
    sys.excepthook = hook
    gc.collect()


def end(folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> int:
    """The exit code of an engine whose run joins a group of processes and then ends with this error."""

    def execute(_run: run.Run) -> None:
        distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
        if error:
            raise error

    monkeypatch.setattr(run.Run, "execute", execute)
    # Whoever started the tests is no launcher, and they do not end with it.
    monkeypatch.setattr(engine, "ParentWatch", lambda: SimpleNamespace(start=lambda *_words: None))
    write_job(folder, small_spec(), probe())
    return engine.main(folder)


@pytest.mark.parametrize(
    ("error", "code"), [(None, 0), (StopRequestedError(), 75), (MachineError("This machine has no such device."), 3)]
)
def test_a_rank_leaves_the_others_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | None, code: int
) -> None:
    """Completed, stopped at a checkpoint or refused: the group of processes is destroyed."""
    assert end(tmp_path, monkeypatch, error) == code
    assert not distributed.is_initialized()


def test_a_crash_waits_for_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank that crashes ends at once: the others may wait for it in a collective."""
    assert end(tmp_path, monkeypatch, RuntimeError("CUDA error: an illegal memory access")) == 4
    assert distributed.is_initialized()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has none.\nIt is out of memory.", None),
        (NCCL, f"{NCCL.splitlines()[0]} (Cuda failure 2 'out of memory')"),
        (COMPILER, " ".join(COMPILER.splitlines()[:2])),
    ],
)
def test_a_rank_says_where_memory_ran_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str | None
) -> None:
    """The first line of an error, and the one that tells of memory where it is a later one, as NCCL's is."""
    end(tmp_path, monkeypatch, RuntimeError(text))
    (failed,) = (event for event in read_events(event_path(tmp_path, 0, 0)) if event.event == "failed")
    assert failed.message == (message or text.splitlines()[0])
    assert evidence(failed, kills=0)
