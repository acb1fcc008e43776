"""What the reader pays, and what so many seconds and joules cost at that."""

from typing import NamedTuple

SECONDS_PER_HOUR = 3600.0
JOULES_PER_KWH = 3.6e6


class Prices(NamedTuple):
    """What the reader pays; None: not given. 0 is a price too: a machine of one's own may be free."""

    usd_per_hour: float | None = None
    """Of the whole instance."""
    usd_per_kwh: float | None = None
    """Of the energy that its devices use."""

    @property
    def given(self) -> bool:
        """Whether there is any price."""
        return self != Prices()

    def __str__(self) -> str:
        """As “1.9 USD/h + 0.3 USD/kWh”, “free”, or “no price”."""
        parts = zip(self, ("USD/h", "USD/kWh"), strict=True)
        texts = [f"{price:g} {unit}" for price, unit in parts if price]
        return " + ".join(texts) or ("free" if self.given else "no price")

    def usd(self, seconds: float, joules: float | None = None) -> float:
        """US dollars of so many seconds of the instance and so many joules of its devices."""
        return (self.usd_per_hour or 0.0) * seconds / SECONDS_PER_HOUR + self.energy_usd(joules or 0.0)

    def energy_usd(self, joules: float) -> float:
        """US dollars of so many joules of its devices."""
        return (self.usd_per_kwh or 0.0) * joules / JOULES_PER_KWH
