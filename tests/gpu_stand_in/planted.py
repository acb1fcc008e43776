"""Mistakes that CUDA would punish, made on purpose in a process of the server: does the stand-in see them?"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from fluxkit.engine.measure.timing import host_time
from gpu_stand_in.cuda import queue
from gpu_stand_in.waits import waits


def _outcome(work: Callable[[], object]) -> str:
    """The kinds of waits that the work brought about, or the first words of what it raised."""
    before = len(waits.all)
    try:
        work()
    except (RuntimeError, TypeError) as error:
        return str(error)[:60]
    return ", ".join(wait.kind for wait in waits.all[before:])


def host_times() -> dict[str, list[float]]:
    """Seconds to issue and to do work that keeps the device busy, and work that keeps only its host busy."""

    def host_works() -> None:
        until = time.perf_counter() + 5e-3
        while time.perf_counter() < until:
            pass

    works = {"device": lambda: queue.add(5e-3), "host": host_works}
    times = {name: host_time(work, torch.device("cuda:0")) for name, work in works.items()}
    return {name: [one.issue_seconds, one.device_seconds] for name, one in times.items() if one}


def outcomes() -> dict[str, str]:
    """By what was done."""
    one, other = (torch.ones(3, 3, device=f"cuda:{index}", requires_grad=True) for index in (0, 1))
    host, pinned = torch.ones(3, 3), torch.ones(3, 3).pin_memory()
    done: dict[str, Callable[[], object]] = {
        "host + device": lambda: host + one,
        "device + another device": lambda: one + other,
        "host @ device": lambda: host @ one,
        "device + a number on the host": lambda: one + torch.tensor(2.0),
        "device + device": lambda: one + one,
        "item": lambda: one.sum().item(),
        "a comparison": lambda: bool((one > 0).all()),
        "tolist": one.tolist,
        "cpu": one.cpu,
        "cpu, non_blocking": lambda: one.detach().to("cpu", non_blocking=True),
        "numpy": lambda: one.detach().numpy(),
        "nonzero": one.nonzero,
        "a list as index": lambda: one[[0, 2]],
        "a mask as index": lambda: one[one > 0],
        "an index on the device": lambda: one[torch.arange(2, device="cuda:0")],
        "to the device": lambda: host.to("cuda:0"),
        "to the device, non_blocking": lambda: host.to("cuda:0", non_blocking=True),
        "to the device, pinned and non_blocking": lambda: pinned.to("cuda:0", non_blocking=True),
        "made on the device": lambda: torch.zeros(3, device="cuda:0"),
        "made on the device from a list": lambda: torch.tensor([1.0, 2.0], device="cuda:0"),
        "synchronize": torch.cuda.synchronize,
        "backward": lambda: (one * 2).sum().backward(),
        "fused AdamW": torch.optim.AdamW([one], fused=True).step,
    }
    return {name: _outcome(work) for name, work in done.items()}
