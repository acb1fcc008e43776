"""Made-up studies by the thousand, seeded: whether intervals cover, and whether drift is mistaken for a difference."""

from __future__ import annotations

import math
import random
from typing import Literal

from fluxkit.stats import log_ratio, t_interval

SPREAD = 0.015
"""Relative standard deviation between runs, as seen between repeats on one machine."""
TRUE_SPEED = 10.0
DRIFT = 0.02
"""Share of its speed that the machine loses, little by little, over an A/A study."""
COVERED = (0.93, 0.97)
"""Where the share of 95 % intervals that hold the truth has to lie."""

Order = Literal["interleaved", "one after the other"]


def coverage(runs: int, studies: int) -> float:
    """Share of studies of so many runs whose 95 % interval of the mean speed holds the true one."""
    draw, inside = _seeded(runs), 0
    for _ in range(studies):
        interval = t_interval([draw.gauss(TRUE_SPEED, SPREAD * TRUE_SPEED) for _ in range(runs)])
        inside += interval is not None and interval.low <= TRUE_SPEED <= interval.high
    return inside / studies


def ratio_coverage(studies: int) -> float:
    """Share of comparisons of 5 with 8 runs of twice the spread whose interval holds the true ratio of 1.72."""
    draw, inside, true = _seeded(1), 0, math.log(1.72)
    for _ in range(studies):
        fast = [1.72 * TRUE_SPEED * math.exp(draw.gauss(0, SPREAD)) for _ in range(5)]
        slow = [TRUE_SPEED * math.exp(draw.gauss(0, 2 * SPREAD)) for _ in range(8)]
        effect = log_ratio(fast, slow)
        interval = effect.interval() if effect else None
        inside += interval is not None and interval.low <= true <= interval.high
    return inside / studies


def false_positives(order: Order, studies: int, runs: int = 10) -> float:
    """Share of A/A studies of as many runs of each, on a machine that drifts, that find a difference of nothing."""
    draw, found = _seeded(7), 0
    for _ in range(studies):
        if order == "interleaved":  # as a study does it: both configurations in each round, in a random order
            labels = [label for _ in range(runs) for label in draw.sample("AB", 2)]
        else:
            labels = ["A"] * runs + ["B"] * runs
        speeds: dict[str, list[float]] = {"A": [], "B": []}
        for place, label in enumerate(labels):
            drift = 1 - DRIFT * place / (2 * runs - 1)
            speeds[label].append(TRUE_SPEED * drift * math.exp(draw.gauss(0, 0.01)))
        effect = log_ratio(speeds["A"], speeds["B"])
        interval = effect.interval() if effect else None
        found += interval is not None and not interval.low <= 0 <= interval.high
    return found / studies


def _seeded(seed: int) -> random.Random:
    """The same draws wherever Python is."""
    return random.Random(seed)
