"""`python -m gpu_stand_in.server`: the engine on made-up cards, again and again from one process that has it loaded.

A line of JSON on standard input is a `Request`: the server forks the ranks of a run, which work as the ranks of
`python -m fluxkit.engine RUN_FOLDER` do, and answers with their process ids. A list of such ids asks for their exit
codes. Each rank leaves its words in `rank-N.attempt-N.log` and a `Report` in `rank-N.attempt-N.json` beside the job.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
import traceback
import weakref
from collections import Counter
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torchao.quantization  # noqa: F401 - looks for CUDA when it is imported
from diffusers import FluxTransformer2DModel
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_post_hook

import fluxkit.engine.run  # noqa: F401 - the libraries look for CUDA when they are imported
from fluxkit.engine.__main__ import main
from fluxkit.engine.measure import microbenchmark
from fluxkit.model import pipeline_files
from gpu_stand_in import cuda
from gpu_stand_in.attention import ran
from gpu_stand_in.cards import installed
from gpu_stand_in.request import Alive, Report, Request
from gpu_stand_in.tensor import on_devices
from gpu_stand_in.waits import live, waits

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_SECONDS = 240
NO_RANK = 99


class Watch:
    """Looks, without holding anything, at what is alive when a phase begins and when a transformer is first used."""

    def __init__(self) -> None:
        self.seen: list[Alive] = []
        self._optimizers: weakref.WeakSet[Any] = weakref.WeakSet()
        self._transformers: weakref.WeakSet[Any] = weakref.WeakSet()

    def begin(self) -> None:
        register_optimizer_step_post_hook(self._stepped)
        register_module_forward_pre_hook(self._called)
        reset = torch.cuda.reset_peak_memory_stats

        def reset_and_look(device: Any = None) -> None:
            reset(device)
            self._look("phase")

        torch.cuda.reset_peak_memory_stats = reset_and_look

    def _stepped(self, optimizer: Any, *_: Any) -> None:
        self._optimizers.add(optimizer)

    def _called(self, module: torch.nn.Module, _inputs: Any) -> None:
        if isinstance(module, FluxTransformer2DModel) and module not in self._transformers:
            self._transformers.add(module)
            self._look("new transformer")

    def _look(self, moment: str) -> None:
        self.seen.append(Alive(moment, live.now, len(self._optimizers), len(self._transformers)))


def work(request: Request, rank: int, port: int) -> int:
    """A rank of the run, in a process of its own; gives the engine's exit code."""
    folder = Path(request.folder)
    name = f"rank-{rank}.attempt-{request.attempt}"
    log = os.open(folder / f"{name}.log", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(log, stream)
    if request.ranks > 1:
        ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": request.ranks, "LOCAL_WORLD_SIZE": request.ranks}
        os.environ |= {key: str(value) for key, value in ranks.items()}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if request.schnell:
        pipeline_files.SCHNELL_FOLDER = Path(request.schnell)
    if not request.collects:
        gc.disable()
    if not request.cards:
        normalise_as_cuda_does()
        return main(folder)
    cuda.install(installed(*request.cards))
    if request.call:
        module, _, function = request.call.partition(":")
        with on_devices:
            answer = getattr(import_module(module), function)()
        (folder / "answer.json").write_text(json.dumps(answer))
        return 0
    make_small()
    watch = Watch()
    watch.begin()
    with on_devices:
        code = main(folder)
    report = Report(
        [(*wait, count) for wait, count in Counter(waits.all).items()],
        [(*wait, count) for wait, count in waits.timed().items()],
        dict(ran),
        watch.seen,
        torch.distributed.is_initialized(),
    )
    (folder / f"{name}.json").write_text(json.dumps(asdict(report)))
    return code


def normalise_as_cuda_does() -> None:
    """In FP32 under autocast, where a CPU stays in bfloat16: the one difference of the two in what a transformer calls.

    Source: PyTorch `torch.amp`, the lists of operators. Without this the losses differ by 1e-4.
    """
    functional = torch.nn.functional
    functional.layer_norm, functional.rms_norm = map(in_float32, (functional.layer_norm, functional.rms_norm))


def in_float32(norm: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The norm, in FP32 where the CPU is under autocast."""

    def widened(input: torch.Tensor, *more: Any, **named: Any) -> torch.Tensor:  # noqa: A002 - torch's name
        if not torch.is_autocast_enabled("cpu"):
            return norm(input, *more, **named)
        with torch.autocast("cpu", enabled=False):
            return norm(input.float(), *more, **named)

    return widened


def make_small() -> None:
    """Products and copies that saturate a GPU would take a CPU minutes."""
    microbenchmark.MATMUL_SIZE["cuda"] = microbenchmark.PROBE_SIZE["cuda"] = 64
    microbenchmark.COPY_BYTES["cuda"] = 1 << 20
    microbenchmark.WARM_UP_SECONDS["cuda"] = 1e-3
    microbenchmark.BUDGET_SECONDS, microbenchmark.GROUP_SECONDS = 1e-3, 1e-4


def fork(request: Request, rank: int, port: int) -> int:
    """Starts a rank; gives its process id."""
    if pid := os.fork():
        return pid
    code = NO_RANK
    try:
        signal.alarm(LONGEST_SECONDS)
        code = work(request, rank, port)
    except BaseException:  # noqa: BLE001 - the server's loop must not go on in the child
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def serve() -> None:
    """Answers until standard input ends."""
    gc.freeze()
    for line in sys.stdin:
        asked = json.loads(line)
        if isinstance(asked, list):
            answer = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in asked]
        else:
            request, port = Request(**asked), free_port()
            answer = [fork(request, rank, port) for rank in range(request.ranks)]
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
