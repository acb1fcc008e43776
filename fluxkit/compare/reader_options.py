"""What a reader adds to stored results when they are compared: prices of machines and energy, and a target."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from fluxkit.errors import UsageError, printable
from fluxkit.spec.prices import Prices

ALL = ""
"""Stands for every label in a price sheet."""
MAX_USD = 1e6
MAX_PSNR_DB = 100.0
"""Far above what pictures reach: rounding to eight bits alone leaves 10 log10(12 x 255^2) = 58.9 dB."""


class ReaderOptions(NamedTuple):
    """Prices by label, or for `ALL`, which replace those of the specs; and the PSNR to time against."""

    usd_per_hour: Mapping[str, float] = {}
    usd_per_kwh: Mapping[str, float] = {}
    target_psnr_db: float | None = None

    def prices(self, label: str, of_the_spec: Prices) -> Prices:
        """What a row of that label is priced at."""
        hour, kwh = (
            sheet.get(label, sheet.get(ALL, price))
            for sheet, price in zip((self.usd_per_hour, self.usd_per_kwh), of_the_spec, strict=True)
        )
        return Prices(hour, kwh)

    def check(self, labels: Collection[str]) -> None:
        """Raises: UsageError: a price is for a label that no result has, which would price nothing unnoticed."""
        for label in (*self.usd_per_hour, *self.usd_per_kwh):
            if label != ALL and label not in labels:
                known = ", ".join(repr(printable(known)) for known in sorted(labels)) or "none"
                raise UsageError(f"No result has the label {printable(label)!r} that a price is for; labels: {known}.")


def _number(text: str) -> float:
    """Not a number where the text is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def price_sheet(texts: Sequence[str], option: str) -> dict[str, float]:
    """`2.5`, or `A100=2.5` once for each label, as prices in US dollars by label.

    Raises:
        UsageError: one of them is no price.
    """
    prices = {}
    for text in texts:
        label, _, number = text.rpartition("=")
        price = _number(number)
        if not 0 <= price <= MAX_USD:
            raise UsageError(
                f"{option} {printable(text)}: write a price in US dollars, as 2.5 or LABEL=2.5, "
                f"from 0 to {MAX_USD:,.0f}."
            )
        prices[label.strip()] = price
    return prices


def target_of(psnr_db: float | None, option: str) -> float | None:
    """The PSNR to time against, in dB.

    Raises:
        UsageError: no pictures have such a PSNR.
    """
    if psnr_db is not None and not 0 <= psnr_db <= MAX_PSNR_DB:
        raise UsageError(f"{option} {psnr_db:g}: write a PSNR in dB, from 0 to {MAX_PSNR_DB:g}.")
    return psnr_db
