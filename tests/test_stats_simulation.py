"""The statistics proved by simulation: intervals cover, and interleaving is what keeps drift from being a finding."""

from __future__ import annotations

import math
import random

from fluxkit.stats import ALPHA, log_ratio, t_interval

STUDIES = 2500
SPREAD = 0.015
"""Relative standard deviation between runs, as seen between repeats on one machine."""
TRUE_SPEED = 10.0


def test_intervals_of_means_cover_the_true_speed() -> None:
    """Of 2,500 simulated studies of 3, 5 and 10 runs, 93 to 97 % have the true mean inside their 95 % interval."""
    for runs in (3, 5, 10):
        draw = random.Random(runs)
        inside = 0
        for _ in range(STUDIES):
            interval = t_interval([draw.gauss(TRUE_SPEED, SPREAD * TRUE_SPEED) for _ in range(runs)])
            inside += interval.low <= TRUE_SPEED <= interval.high
        assert 0.93 <= inside / STUDIES <= 0.97, runs


def test_intervals_of_ratios_cover_the_true_ratio() -> None:
    """Of 2,500 comparisons of unequal spread and count, 93 to 97 % have the true ratio inside their 95 % interval."""
    draw, inside, true = random.Random(1), 0, math.log(1.72)
    for _ in range(STUDIES):
        fast = [1.72 * TRUE_SPEED * math.exp(draw.gauss(0, SPREAD)) for _ in range(5)]
        slow = [TRUE_SPEED * math.exp(draw.gauss(0, 2 * SPREAD)) for _ in range(8)]
        interval = log_ratio(fast, slow).interval()
        inside += interval.low <= true <= interval.high
    assert 0.93 <= inside / STUDIES <= 0.97


def false_positives(order: str) -> float:
    """Share of A/A comparisons of 10 + 10 runs, under 2 % linear drift over the study, that find a difference."""
    draw, runs, found = random.Random(7), 10, 0
    for _ in range(STUDIES):
        if order == "interleaved":  # as a study does it: both configurations in each round, in a random order
            labels = [label for _ in range(runs) for label in draw.sample("AB", 2)]
        else:
            labels = ["A"] * runs + ["B"] * runs
        speeds: dict[str, list[float]] = {"A": [], "B": []}
        for place, label in enumerate(labels):
            drift = 1 - 0.02 * place / (2 * runs - 1)
            speeds[label].append(TRUE_SPEED * drift * math.exp(draw.gauss(0, 0.01)))
        found += log_ratio(speeds["A"], speeds["B"]).p_value() < ALPHA
    return found / STUDIES


def test_interleaved_runs_do_not_mistake_drift_for_a_difference() -> None:
    """Two equal configurations under 2 % drift are told apart in at most 5 % of interleaved studies."""
    assert false_positives("interleaved") <= 0.05


def test_runs_one_after_the_other_do() -> None:
    """The same drift makes a difference of nothing in most studies that are not interleaved."""
    assert false_positives("one after the other") > 0.3
