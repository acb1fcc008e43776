"""The statistics proved by simulation: intervals cover, and interleaving is what keeps drift from being a finding."""

from __future__ import annotations

import math
import random

from simulated_studies import COVERED, SPREAD, coverage, false_positives, ratio_coverage

from fluxkit.stats import (
    ALPHA,
    further_runs,
    holm,
    joint_verdict,
    log_margin,
    log_ratio,
    paired,
    t_interval,
    welch,
)

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


def test_intervals_of_paired_images_cover_the_true_gain() -> None:
    """Of 2,500 pairs of configurations scored on the same 8 photos, 93 to 97 % have the true gain in their interval."""
    draw, inside, gain = random.Random(3), 0, 0.8
    for _ in range(STUDIES):
        # Photos differ by far more than configurations do; only the difference on each photo counts.
        first, second = {}, {}
        for photo in range(8):
            level = draw.gauss(18, 4)
            second[str(photo)] = level + draw.gauss(0, 0.5)
            first[str(photo)] = level + gain + draw.gauss(0, 0.5)
        interval = paired(first, second).interval()
        inside += interval.low <= gain <= interval.high
    assert 0.93 <= inside / STUDIES <= 0.97


def test_crops_taken_for_independent_would_cover_far_less() -> None:
    """Four crops of a photo count once: taken for four images, the interval holds the truth in far under 93 %."""
    draw, once, fourfold = random.Random(4), 0, 0
    for _ in range(STUDIES):
        photos = [draw.gauss(0, 1) for _ in range(8)]
        crops = [[gain + draw.gauss(0, 0.2) for _ in range(4)] for gain in photos]
        clusters = {str(place): sum(each) / 4 for place, each in enumerate(crops)}
        interval = paired(clusters, dict.fromkeys(clusters, 0.0)).interval()
        wrong = t_interval([crop for each in crops for crop in each])
        once += interval.low <= 0 <= interval.high
        fourfold += wrong.low <= 0 <= wrong.high
    assert 0.93 <= once / STUDIES <= 0.97
    assert fourfold / STUDIES < 0.8


def test_holm_keeps_the_family_honest() -> None:
    """Of 8 comparisons of nothing at once, one is found in under 5.5 % of families adjusted, in over 25 % otherwise."""
    draw, adjusted, bare = random.Random(5), 0, 0
    for _ in range(STUDIES):
        p_values = []
        for _ in range(8):
            first, second = ([math.exp(draw.gauss(0, SPREAD)) for _ in range(5)] for _ in range(2))
            p_values.append(log_ratio(first, second).p_value())
        adjusted += min(holm(p_values)) < ALPHA
        bare += min(p_values) < ALPHA
    assert adjusted / STUDIES <= 0.055
    assert bare / STUDIES > 0.25


def test_what_is_called_equivalent_is() -> None:
    """Speeds that lie exactly 2 % apart, at the edge of the band, are called equivalent in at most 5.5 % of studies."""
    draw, said, found = random.Random(6), 0, 0
    for _ in range(STUDIES):
        first = [math.exp(draw.gauss(0, 0.005)) for _ in range(5)]
        edge = [1.02 * math.exp(draw.gauss(0, 0.005)) for _ in range(5)]
        same = [math.exp(draw.gauss(0, 0.005)) for _ in range(5)]
        said += joint_verdict((log_ratio(edge, first),), log_margin()) == "equivalent"
        found += joint_verdict((log_ratio(same, first),), log_margin()) == "equivalent"
    assert said / STUDIES <= 0.055
    assert found / STUDIES > 0.9


def test_holm_keeps_a_family_of_equivalences_honest() -> None:
    """Of 15 pairs that lie 2 % apart, one is called equivalent in at most 5 % of families, bare in over 30 %."""
    draw, adjusted, bare, families = random.Random(9), 0, 0, 1000
    for _ in range(families):
        p_values = []
        for _ in range(15):
            first, edge = ([level * math.exp(draw.gauss(0, 0.005)) for _ in range(5)] for level in (1.0, 1.02))
            p_values.append(log_ratio(edge, first).equivalence_p_value(*log_margin()))
        adjusted += min(holm(p_values)) < ALPHA
        bare += min(p_values) < ALPHA
    assert adjusted / families <= 0.05
    assert bare / families > 0.3


def test_the_runs_that_would_decide_do() -> None:
    """Of studies that were told to make so many more runs, most are decided when they are made."""
    draw, told, decided = random.Random(8), 0, 0
    for _ in range(500):
        first, second = ([level + draw.gauss(0, 0.02) for _ in range(3)] for level in (0.0, 0.05))
        more = further_runs(first, second, log_margin())
        if not more or joint_verdict((welch(first, second),), log_margin()) != "inconclusive":
            continue
        told += 1
        first, second = (
            [*values, *(level + draw.gauss(0, 0.02) for _ in range(more))]
            for values, level in ((first, 0.0), (second, 0.05))
        )
        decided += joint_verdict((welch(first, second),), log_margin()) != "inconclusive"
    assert told > 100
    assert decided / told > 0.5
