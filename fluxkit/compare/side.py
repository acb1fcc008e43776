"""One side of a contrast: a row with its completed results."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from fluxkit.compare.comparison import Row
from fluxkit.record.result import RunResult
from fluxkit.stats import MIN_VALUES
from fluxkit.units import counted


def cpu_of(result: RunResult) -> str:
    """What the machine of a run is known by without its GPUs: processor, cores and memory."""
    return result.system.before.fingerprint("cpu", 1)


@dataclass(frozen=True)
class Side:
    """One configuration in a contrast. What is asked of it for each of its pairs is looked up once."""

    row: Row
    results: Sequence[RunResult]

    @cached_property
    def runs_of_few_seeds(self) -> str | None:
        """Runs and seeds in words, where there are fewer seeds than an interval needs but for the number of runs."""
        seeds = len({result.seed for result in self.results})
        few = seeds < min(MIN_VALUES, len(self.results))
        return f"{len(self.results)} runs of {counted(seeds, 'seed')}" if few else None

    @cached_property
    def machines(self) -> frozenset[tuple[str, tuple[str, ...]]]:
        """What its machines are known by: processor, cores and memory, and the GPUs that a run saw."""
        return frozenset(
            (cpu_of(result), tuple(sorted({device.name for device in result.system.before.devices_of("cuda")})))
            for result in self.results
        )

    @cached_property
    def sessions(self) -> frozenset[tuple[str, str]]:
        """The studies in whose random order it was measured, each on its machine."""
        return frozenset((result.study, cpu_of(result)) for result in self.results)
