"""Two ways to do the same work, timed by turns; ratios of their seconds with an interval; the file of all rows."""

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal

PAIRS = 20
LEVEL = 0.95
TARGETS = ("at_most", "at_least")
MATRIX_PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm")
ATTENTION = ("aten::_scaled_dot_product",)


@dataclass(frozen=True)
class Options:
    """How a comparison is measured."""

    pairs: int = PAIRS
    clock: Literal["wall", "cpu"] = "wall"
    """`cpu`: seconds of this process on its processors, for a machine that others use."""
    threads: int = 0
    """Of torch; 0 leaves its own choice."""
    script: Path | None = None
    """diffusers' `train_dreambooth_lora_flux.py`, for the comparisons with it."""

    def now(self) -> float:
        """Seconds by this clock."""
        return time.perf_counter() if self.clock == "wall" else time.process_time()

    def seconds(self, work: Callable[[], object]) -> float:
        """Seconds of one call."""
        began = self.now()
        work()
        return self.now() - began


@dataclass(frozen=True)
class Row:
    """One line of `reports/bench/MACHINE.json`."""

    id: str
    against: str
    """What is divided by what."""
    ratio: float | None = None
    """Geometric mean of the pairs' ratios; null where a row states figures in `conditions` alone."""
    low: float | None = None
    high: float | None = None
    """The 95 % interval of `ratio`."""
    pairs: int = 0
    conditions: dict[str, Any] = field(default_factory=dict)
    """What else was measured or held. `at_most` and `at_least` are what has to be reached; those of the machine are
    added when the row is written."""

    @property
    def target(self) -> str:
        """What has to be reached, in words; empty where nothing has to."""
        bounds = (f"{name.replace('_', ' ')} {self.conditions[name]}" for name in TARGETS if name in self.conditions)
        return ", ".join(bounds)

    @property
    def met(self) -> bool:
        """Whether the ratio is where it has to be."""
        if self.ratio is None:
            return True
        most, least = (self.conditions.get(name, self.ratio) for name in TARGETS)
        return least <= self.ratio <= most


def paired_row(
    id_: str, against: str, over: Callable[[], float], under: Callable[[], float], pairs: int = PAIRS, **conditions: Any
) -> Row:
    """A row of seconds of `over` by seconds of `under`, taken by turns: over under, under over, ...

    Each gives the seconds of one stretch of its work. Both are called once before, untimed.
    """
    over(), under()
    taken = [_turn(over, under, turned=bool(turn % 2)) for turn in range(pairs)]
    ratio, low, high = interval([above / below for above, below in taken])
    medians = {"over": median(above for above, _ in taken), "under": median(below for _, below in taken)}
    return Row(id_, against, ratio, low, high, pairs, {"median_seconds": medians, **conditions})


def _turn(over: Callable[[], float], under: Callable[[], float], *, turned: bool) -> tuple[float, float]:
    if not turned:
        return over(), under()
    below = under()
    return over(), below


def interval(ratios: list[float]) -> tuple[float, float, float]:
    """Geometric mean and its 95 % interval: Student's t over the logarithms of the pairs' ratios."""
    from scipy import stats

    logs = [math.log(ratio) for ratio in ratios]
    mean, error = sum(logs) / len(logs), stats.sem(logs)
    low, high = stats.t.interval(LEVEL, len(logs) - 1, loc=mean, scale=error) if error else (mean, mean)
    return math.exp(mean), math.exp(low), math.exp(high)


def seconds_within(work: Callable[[], object], parts: dict[str, tuple[str, ...]], *, calls: int) -> dict[str, float]:
    """Seconds that torch's profiler sees in one call: those of each part by how its names begin, without what it calls.

    `other` is the rest of what the profiler sees; Python between two operators is in none of them. Its own cost makes a
    call about a tenth slower, and the first one much slower, so that is not counted.
    """
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]):
        work()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(calls):
            work()
    events = profiled.key_averages()
    named = {
        name: sum(event.self_cpu_time_total for event in events if event.key.startswith(keys))
        for name, keys in parts.items()
    }
    named["other"] = sum(event.self_cpu_time_total for event in events) - sum(named.values())
    return {name: microseconds / 1e6 / calls for name, microseconds in named.items()}


def machine_conditions(options: Options) -> dict[str, Any]:
    """What of the machine and the code a reader needs to believe a row."""
    from importlib.metadata import version

    from fluxkit.machine.provenance import this_kit
    from fluxkit.machine.system import hardware

    readings = {name: reading.value for name, reading in hardware().items()}
    cores, kit = readings["cpu_usable_physical_cores"], this_kit()
    return {
        "machine": readings["cpu_model"], "cores": cores, "threads": options.threads or cores,
        "torch": version("torch"), "clock": options.clock, "commit": kit.commit, "dirty": kit.dirty,
    }  # fmt: skip


def write_rows(path: Path, rows: list[Row]) -> None:
    """Adds rows to the file; one with the same id is replaced."""
    from fluxkit.files.atomic_file import write_atomically

    stored = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    merged = {row["id"]: row for row in stored} | {row.id: asdict(row) for row in rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps({"rows": [merged[id_] for id_ in sorted(merged)]}, indent=1) + "\n")


def load_average() -> float:
    """Processes that wanted a processor, over the last minute."""
    return round(os.getloadavg()[0], 2)
