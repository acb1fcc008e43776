"""Rates, spread, intervals and verdicts from tuples of floats."""

from __future__ import annotations


def rate(count: float, total_seconds: float) -> float:
    """Events per second: count / total seconds, the one definition of a rate in fluxkit.

    Raises:
        ValueError: the time is not positive.
    """
    if not total_seconds > 0:
        raise ValueError(f"a rate needs a positive time, not {total_seconds} s")
    return count / total_seconds
