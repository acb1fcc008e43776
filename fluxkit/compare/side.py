"""One side of a contrast: a row with its completed results."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxkit.compare.comparison import Row
    from fluxkit.record.result import RunResult


class Side(NamedTuple):
    """One configuration in a contrast."""

    row: Row
    results: Sequence[RunResult]

    @property
    def seeds(self) -> int:
        """How many different seeds its runs have."""
        return len({result.seed for result in self.results})
