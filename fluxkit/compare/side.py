"""One side of a contrast: a row with its completed results."""

from collections.abc import Sequence
from typing import NamedTuple

from fluxkit.compare.comparison import Row
from fluxkit.record.result import RunResult
from fluxkit.stats import MIN_VALUES
from fluxkit.units import counted


class Side(NamedTuple):
    """One configuration in a contrast."""

    row: Row
    results: Sequence[RunResult]

    @property
    def runs_of_few_seeds(self) -> str | None:
        """Runs and seeds in words, where there are fewer seeds than an interval needs but for the number of runs."""
        seeds = len({result.seed for result in self.results})
        few = seeds < min(MIN_VALUES, len(self.results))
        return f"{len(self.results)} runs of {counted(seeds, 'seed')}" if few else None
