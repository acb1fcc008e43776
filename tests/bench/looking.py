"""What looking at the machine costs, as a share of a run of two minutes."""

import os
import time
from collections.abc import Callable

from bench.pairs import Options, Row

RUN_SECONDS = 120.0
LIMIT = 0.01
LOOKS, CANARIES, SAMPLES = 2, 4, 240
"""In a run of two minutes: before and after; around tuning and inference; twice a second."""


def rows(options: Options) -> list[Row]:
    """One row: all kinds of looks together."""
    seconds = shares(time.perf_counter if options.clock == "wall" else time.process_time)
    against = f"seconds of looking / the {RUN_SECONDS:.0f} s of a run"
    return [Row("looking", against, sum(seconds.values()), conditions={"shares": seconds, "at_most": LIMIT})]


def shares(clock: Callable[[], float] = time.perf_counter) -> dict[str, float]:
    """Seconds of each kind of look in a run of two minutes / 120 s.

    Args:
        clock: seconds on the wall, or of this processor (`time.process_time`) where others may be busy on it.
    """
    import torch

    from fluxkit.engine.measure import microbenchmark
    from fluxkit.machine.doctor import examine
    from fluxkit.machine.system import probe
    from fluxkit.run.telemetry import Sampler

    device = torch.device("cpu")
    sampler = Sampler(lambda: "tune").watch(os.getpid())
    works = {
        "doctor": (LOOKS, 3, lambda: examine(probe())),
        "canary": (CANARIES, 2, lambda: microbenchmark.measure_rates(device, "ieee_float32")),
        "sampler": (SAMPLES, 20, sampler._sample),
    }
    for _, _, work in works.values():
        work()  # the first call loads what the others find loaded
    return {name: count * seconds_of(work, times, clock) / RUN_SECONDS for name, (count, times, work) in works.items()}


def seconds_of(work: Callable[[], object], count: int, clock: Callable[[], float] = time.process_time) -> float:
    """Seconds of one repetition."""
    began = clock()
    for _ in range(count):
        work()
    return (clock() - began) / count
