"""What the reader pays, and what so many seconds and joules cost at that."""

from typing import NamedTuple

SECONDS_PER_HOUR = 3600.0
JOULES_PER_KWH = 3.6e6


class Prices(NamedTuple):
    """What the reader pays; 0: not given."""

    usd_per_hour: float = 0.0
    """Of the whole instance."""
    usd_per_kwh: float = 0.0
    """Of the energy that its devices use."""

    def usd(self, seconds: float, joules: float | None = None) -> float:
        """US dollars of so many seconds of the instance and so many joules of its devices."""
        energy = self.usd_per_kwh * joules / JOULES_PER_KWH if joules is not None else 0.0
        return self.usd_per_hour * seconds / SECONDS_PER_HOUR + energy
