"""`fluxkit.stats` against SciPy's own calls, published values and cases worked out by hand."""

import math

import pytest
from scipy import stats as reference

from fluxkit import stats

A, B = (9.98, 10.02, 10.05, 9.95), (8.1, 8.3, 8.2)


def test_rate_is_count_over_total_seconds():
    """A rate is count / total seconds: the known table of four runs comes out to four digits."""
    runs = ((500, 1013), (2000, 5236), (500, 1744), (2000, 9017))
    assert [round(stats.rate(*run), 4) for run in runs] == [0.4936, 0.3820, 0.2867, 0.2218]


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan])
def test_rate_refuses_a_time_that_is_not_positive(seconds):
    """A rate over no time, negative time or no number is an error, never infinity."""
    with pytest.raises(ValueError, match="positive time"):
        stats.rate(1, seconds)


def test_t_interval_is_scipys():
    """The interval of a mean equals SciPy's Student interval."""
    expected = reference.ttest_1samp(A, 0).confidence_interval(0.95)
    found = stats.t_interval(A)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_lower_bound_is_scipys_one_sided_one():
    """The one-sided bound of a mean equals that of SciPy's one-sided Student test."""
    expected = reference.ttest_1samp(A, 0, alternative="greater").confidence_interval(0.95).low
    assert stats.one_sample(A).lower_bound() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("bound", [0.05, 1.7, 3.0])
def test_equivalence_is_two_of_scipys_one_sided_tests(bound):
    """The p of equivalence is the larger of two of SciPy's one-sided Welch tests of shifted values."""
    effect = stats.welch(A, B)
    above = reference.ttest_ind([x + bound for x in A], B, equal_var=False, alternative="greater").pvalue
    below = reference.ttest_ind([x - bound for x in A], B, equal_var=False, alternative="less").pvalue
    assert effect.equivalence_p_value(-bound, bound) == pytest.approx(max(above, below), rel=1e-9)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_values_have_no_interval(count):
    """Below three values there is no interval at all."""
    assert stats.t_interval(A[:count]) is None
    assert stats.welch(A[:count], B) is None


def test_log_ratio_is_welch_on_logarithms():
    """The ratio's interval and p equal SciPy's Welch test on logarithms."""
    expected = reference.ttest_ind([math.log(x) for x in A], [math.log(x) for x in B], equal_var=False)
    effect = stats.log_ratio(A, B)
    assert effect.p_value() == pytest.approx(expected.pvalue, rel=1e-9)
    ends = expected.confidence_interval(0.95)
    found = stats.ratio_interval(effect)
    assert (found.low, found.high) == pytest.approx((math.exp(ends.low), math.exp(ends.high)), rel=1e-9)


def test_log_ratio_of_a_rate_that_is_not_positive_is_not_made():
    """A rate of zero has no logarithm, so no ratio is formed."""
    assert stats.log_ratio((0.0, 1.0, 1.0), B) is None


def test_paired_uses_shared_clusters_once():
    """The paired interval equals SciPy's paired test over the clusters that both sides have."""
    first = {"p": 20.0, "q": 21.5, "r": 19.0, "only-here": 99.0}
    second = {"p": 19.0, "q": 20.9, "r": 18.2}
    shared = ("p", "q", "r")
    expected = reference.ttest_rel([first[key] for key in shared], [second[key] for key in shared])
    assert stats.paired(first, second).p_value() == pytest.approx(expected.pvalue, rel=1e-9)


def test_equivalence_of_paired_values_has_the_published_p():
    """Two one-sided tests on a published paired example give its p value."""
    a, b = (4, 7, 8, 6, 3, 2), (6, 8, 7, 10, 11, 9)
    effect = stats.one_sample([x - y for x, y in zip(a, b, strict=True)])
    assert effect.equivalence_p_value(-1, 1) == pytest.approx(0.9293826, abs=1e-7)


@pytest.mark.parametrize(("bound", "p_value"), [(1, 0.9650974), (10, 0.00017933)])
def test_equivalence_of_independent_values_has_the_published_p(bound, p_value):
    """Two one-sided tests on a published independent example give its p values (equal counts and pooled degrees)."""
    welch = stats.welch((4, 7, 8, 6, 3, 2), (6, 8, 7, 10, 11, 9))
    pooled = welch.model_copy(update={"degrees": 10.0})
    assert pooled.equivalence_p_value(-bound, bound) == pytest.approx(p_value, abs=1e-7)


def test_holm_adjusts_as_by_hand():
    """Holm's adjustment multiplies by the tests left, never falls and never passes 1."""
    assert stats.holm((0.01, 0.04, 0.03)) == pytest.approx((0.03, 0.06, 0.06))
    assert stats.holm((0.9, 0.8)) == (1.0, 1.0)
    assert stats.holm(()) == ()


def test_verdicts_take_the_four_sides():
    """Clearly apart is a side, inside the margin is equivalent, anything else is inconclusive."""
    margin = stats.log_margin()
    apart, close = stats.log_ratio(A, B), stats.log_ratio(A, (10.0, 10.01, 9.99))
    wide = stats.log_ratio((8.0, 10.0, 12.0), (9.0, 11.0, 12.5))
    assert stats.joint_verdict((apart,), margin) == "above"
    assert stats.joint_verdict((stats.log_ratio(B, A),), margin) == "below"
    assert stats.joint_verdict((close,), margin) == "equivalent"
    assert stats.joint_verdict((wide,), margin) == "inconclusive"
    assert stats.verdict(None, 0.0, 0.0) == "inconclusive"


def test_effects_that_say_different_things_decide_nothing():
    """What runs call better and images worse is not decided, and what only one of them shows is not either."""
    margin, better = (-0.5, 0.5), stats.one_sample((2.0, 2.1, 1.9))
    worse, vague = stats.one_sample((-2.0, -2.1, -1.9)), stats.one_sample((5.0, 2.0, -1.0))
    assert stats.joint_verdict((better, better), margin) == "above"
    assert stats.joint_verdict((better, worse), margin) == "inconclusive"
    assert stats.joint_verdict((better, vague), margin) == "inconclusive"


@pytest.mark.parametrize("values", [(-0.1, 0.02, 0.1, 0.15), (0.1, 0.2, 0.3, 0.45), (0.2, 0.3, 0.4, 0.5, 0.6)])
def test_the_interval_of_two_one_sided_tests_is_inside_the_band_where_they_are_passed(values):
    """Two of SciPy's one-sided tests at 5 % are passed exactly where the 90 % interval lies inside the band."""
    bound, effect = 0.5, stats.one_sample(values)
    above = reference.ttest_1samp(values, -bound, alternative="greater").pvalue
    below = reference.ttest_1samp(values, bound, alternative="less").pvalue
    interval = effect.interval(stats.EQUIVALENCE_LEVEL)
    assert (max(above, below) < stats.ALPHA) == (-bound < interval.low and interval.high < bound)
    assert (stats.joint_verdict((effect,), (-bound, bound)) == "equivalent") == (max(above, below) < stats.ALPHA)


def test_identical_runs_are_equivalent_without_dividing_by_zero():
    """Runs without any spread have a p of 1 and are equivalent."""
    same = stats.log_ratio((2.0, 2.0, 2.0), (2.0, 2.0, 2.0))
    assert same.p_value() == 1.0
    assert stats.joint_verdict((same,), stats.log_margin()) == "equivalent"


def test_further_runs_decide_and_are_the_fewest():
    """The number of further runs is the smallest at which the same means and spread decide."""
    first, second = (1.0, 1.4, 1.8), (2.0, 2.4, 2.9)
    assert stats.further_runs(first[:1], second, (-0.01, 0.01)) == 2
    more = stats.further_runs(first, second, (-0.01, 0.01), family=6)
    assert more is not None
    assert more >= 1
    assert stats.further_runs((1.0, 5.0, 9.0), (1.0, 5.0, 9.0), (-1e-6, 1e-6)) is None


def test_no_number_of_runs_makes_up_for_images_that_differ():
    """Where the images leave it open, more runs decide nothing; where they decide, runs are counted as without them."""
    first, second, margin = (1.0, 1.4, 1.8), (2.0, 2.4, 2.9), (-0.01, 0.01)
    vague, clear = stats.one_sample((3.0, -1.5, 1.5, 0.0)), stats.one_sample((-1.0, -1.01, -1.04, -1.0))
    alone = stats.further_runs(first, second, margin)
    assert alone is not None
    assert stats.further_runs(first, second, margin, images=vague) is None
    assert stats.further_runs(first, second, margin, images=clear) == alone


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """In a seeded simulation the 95 % interval of three runs holds the true mean in 93 to 97 % of cases."""
    import random

    draw = random.Random(1)
    intervals = [stats.t_interval([draw.gauss(10, 0.3) for _ in range(3)]) for _ in range(3000)]
    covered = sum(interval.low <= 10 <= interval.high for interval in intervals) / len(intervals)
    assert 0.93 <= covered <= 0.97
