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


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_values_have_no_interval(count):
    """Below three values there is no interval at all."""
    assert stats.t_interval(A[:count]) is None
    assert stats.welch(A[:count], B) is None


def test_log_ratio_is_welch_on_logarithms():
    """The ratio's interval equals that of SciPy's Welch test on logarithms."""
    expected = reference.ttest_ind([math.log(x) for x in A], [math.log(x) for x in B], equal_var=False)
    effect = stats.log_ratio(A, B)
    ends = expected.confidence_interval(0.95)
    found = stats.ratio_interval(effect)
    assert (found.low, found.high) == pytest.approx((math.exp(ends.low), math.exp(ends.high)), rel=1e-9)


def test_log_ratio_of_a_rate_that_is_not_positive_is_not_made():
    """A rate of zero has no logarithm, so no ratio is formed."""
    assert stats.log_ratio((0.0, 1.0, 1.0), B) is None


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """In a seeded simulation the 95 % interval of three runs holds the true mean in 93 to 97 % of cases."""
    import random

    draw = random.Random(1)
    intervals = [stats.t_interval([draw.gauss(10, 0.3) for _ in range(3)]) for _ in range(3000)]
    covered = sum(interval.low <= 10 <= interval.high for interval in intervals) / len(intervals)
    assert 0.93 <= covered <= 0.97
