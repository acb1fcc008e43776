"""The statistics proved by simulation: intervals cover, and interleaving is what keeps drift from being a finding."""

from __future__ import annotations

import random

from simulated_studies import COVERED, coverage, false_positives, ratio_coverage

from fluxkit.stats import t_interval

STUDIES = 2500


def test_intervals_of_means_cover_the_true_speed() -> None:
    """Of 2,500 simulated studies of 3, 5 and 10 runs, 93 to 97 % have the true mean inside their 95 % interval."""
    for runs in (3, 5, 10):
        assert COVERED[0] <= coverage(runs, STUDIES) <= COVERED[1], runs


def test_intervals_of_ratios_cover_the_true_ratio() -> None:
    """Of 2,500 comparisons of unequal spread and count, 93 to 97 % have the true ratio inside their 95 % interval."""
    assert COVERED[0] <= ratio_coverage(STUDIES) <= COVERED[1]


def test_interleaved_runs_do_not_mistake_drift_for_a_difference() -> None:
    """Two equal configurations under 2 % drift are told apart in at most 5 % of interleaved studies."""
    assert false_positives("interleaved", STUDIES) <= 0.05


def test_runs_one_after_the_other_do() -> None:
    """The same drift makes a difference of nothing in most studies that are not interleaved."""
    assert false_positives("one after the other", STUDIES) > 0.3


def test_crops_taken_for_independent_would_cover_far_less() -> None:
    """Four crops of a photo count once: taken for four images, the interval holds the truth in far under 93 %."""
    draw, once, fourfold = random.Random(4), 0, 0
    for _ in range(STUDIES):
        photos = [draw.gauss(0, 1) for _ in range(8)]
        crops = [[gain + draw.gauss(0, 0.2) for _ in range(4)] for gain in photos]
        interval = t_interval([sum(each) / 4 for each in crops])
        wrong = t_interval([crop for each in crops for crop in each])
        once += interval.low <= 0 <= interval.high
        fourfold += wrong.low <= 0 <= wrong.high
    assert 0.93 <= once / STUDIES <= 0.97
    assert fourfold / STUDIES < 0.8
