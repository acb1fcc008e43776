"""`fluxkit.compare.decision`: differences of pairs, what their intervals allow to say, and how many more runs would."""

import math
import random

import pytest
from scipy import stats as reference

from fluxkit.compare.decision import (
    LOOKS,
    PHOTOS_DIFFER,
    RUNS_DIFFER,
    TOO_FEW_PHOTOS,
    TOO_FEW_RUNS,
    Difference,
    Part,
    by_seed_and_photo,
    decide,
    level_at,
    log_ratio_by_block,
)
from fluxkit.stats import ALPHA, PSNR_MARGIN_DB, log_margin

DECIBELS = (-PSNR_MARGIN_DB, PSNR_MARGIN_DB)
A, B = (9.9, 10.4, 10.1, 9.0, 10.2), (8.1, 8.6, 8.2, 7.5, 8.4)


def blocks(values, first=0):
    """Values by block."""
    return dict(enumerate(values, first))


def logs(values):
    return [math.log(value) for value in values]


def one(difference, margin=None, level=0.01):
    """The pair of a question of one pair."""
    (pair,) = decide({("A", "B"): difference}, margin or log_margin(), level).pairs
    return pair


def photos(seeds):
    """Scores of seeds by photo."""
    return {seed: {f"photo-{photo}": value for photo, value in enumerate(values)} for seed, values in enumerate(seeds)}


def test_the_looks_share_five_percent():
    """The levels of the planned looks add up to 5 %, and between two looks that of the one before holds."""
    assert sum(LOOKS.values()) == pytest.approx(ALPHA)
    assert [level_at(repeats) for repeats in (3, 4, 5, 6, 7, 9, 10, 12)] == [
        0.005, 0.005, 0.01, 0.01, 0.0175, 0.0175, 0.0175, 0.0175,
    ]  # fmt: skip


def test_a_number_of_repeats_that_was_fixed_beforehand_has_one_look():
    """Its look may spend all 5 %; one before its end is a planned look like any other."""
    assert (level_at(3, fixed=3), level_at(5, fixed=5)) == (ALPHA, ALPHA)
    assert level_at(3, fixed=10) == LOOKS[3]


def test_speeds_of_shared_blocks_are_compared_block_by_block():
    """The interval of the ratio is that of SciPy's paired test of logarithms, at the level of the look."""
    pair = one(log_ratio_by_block(blocks(A), blocks(B)), level=0.01)
    expected = reference.ttest_rel(logs(A), logs(B)).confidence_interval(0.99)
    assert pair.paired
    assert (pair.interval.low, pair.interval.high) == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert (pair.verdict, pair.interval.level, pair.reason) == ("better", 0.99, None)


def test_speeds_that_were_measured_apart_have_the_spreads_of_both():
    """Without shared blocks the half-width is the root of both sides' squared Student half-widths of SciPy."""
    pair = one(log_ratio_by_block(blocks(A), blocks(B[:4], first=10)), level=0.01)
    halves = [
        reference.t.interval(0.99, len(side) - 1, 0, reference.sem(logs(side)))[1] for side in (A, B[:4])
    ]  # fmt: skip
    assert not pair.paired
    assert pair.interval.high - pair.estimate == pytest.approx(math.hypot(*halves), rel=1e-9)


def test_a_run_that_is_missing_leaves_its_block_out_of_that_pair_alone():
    """A pair is compared over the blocks that both have; the other pairs keep all of theirs."""
    sides = {"A": blocks(A), "B": blocks(B), "C": {block: value for block, value in blocks(B).items() if block != 3}}
    whole, short = (log_ratio_by_block(sides["A"], sides[name]) for name in "BC")
    assert ([part.values for part in whole.parts], [part.values for part in short.parts]) == ([5], [4])
    assert short.paired
    kept = [math.log(a / b) for a, b, block in zip(A, B, range(5), strict=True) if block != 3]
    assert short.estimate == pytest.approx(sum(kept) / 4)


def test_too_few_shared_blocks_fall_back_on_each_sides_own_spread():
    """Two shared blocks have no spread of differences, but three runs of each side have their own."""
    apart = log_ratio_by_block(blocks(A[:3]), blocks(B[:3], first=1))
    assert (apart.paired, len(apart.parts), apart.reason) == (False, 2, None)


@pytest.mark.parametrize("runs", [0, 1, 2])
def test_fewer_than_three_runs_know_no_spread(runs):
    """Two runs, one or none give no interval, no verdict and no guess of how many more; the reason says why."""
    pair = one(log_ratio_by_block(blocks(A), blocks(B[:runs])))
    assert (pair.interval, pair.verdict, pair.further_repeats) == (None, "not settled", None)
    assert pair.reason == TOO_FEW_RUNS == "no spread known; at least 3 runs each"
    assert (pair.estimate is None) == (runs == 0)


def test_quality_has_the_spread_of_seeds_and_of_photos():
    """The half-width is the root of SciPy's squared half-widths over seeds and over photos of the same differences."""
    first = ((20.0, 21.5, 25.0, 19.0), (20.4, 21.9, 25.1, 19.1), (20.2, 22.0, 25.6, 19.9))
    second = ((19.1, 20.0, 24.5, 18.0), (19.0, 21.0, 24.0, 18.4), (19.5, 21.1, 24.9, 18.2))
    pair = one(by_seed_and_photo(photos(first), photos(second)), DECIBELS, level=0.05)
    gaps = [[a - b for a, b in zip(*seed, strict=True)] for seed in zip(first, second, strict=True)]
    of_seeds = [sum(seed) / 4 for seed in gaps]
    of_photos = [sum(photo) / 3 for photo in zip(*gaps, strict=True)]
    halves = [reference.t.interval(0.95, len(means) - 1, 0, reference.sem(means))[1] for means in (of_seeds, of_photos)]
    assert pair.paired
    assert pair.estimate == pytest.approx(sum(of_seeds) / 3)
    assert pair.interval.high - pair.estimate == pytest.approx(math.hypot(*halves), rel=1e-9)


def test_quality_of_other_seeds_is_compared_apart_and_photo_by_photo():
    """Configurations that share no seed have a spread over the seeds of each and one over the photos of both."""
    first = photos(((20.0, 21.0, 22.0), (20.1, 21.2, 22.1), (20.2, 21.1, 22.3)))
    second = {seed + 10: scores for seed, scores in first.items()}
    difference = by_seed_and_photo(first, second)
    assert [(part.values, part.photos) for part in difference.parts] == [(3, False), (3, False), (3, True)]
    assert difference.estimate == 0.0
    assert not difference.paired


def test_a_photo_that_one_run_lacks_is_left_out_for_all():
    """Only photos that every seed of both sides was scored on are compared; with two of them there is no spread."""
    first, second = photos(((20.0, 21.0, 22.0),) * 3), photos(((20.0, 21.0, 22.0),) * 3)
    del second[1]["photo-2"]
    difference = by_seed_and_photo(first, second)
    assert (difference.parts, difference.reason) == ((), TOO_FEW_PHOTOS)
    assert by_seed_and_photo(first, photos(((1.0,),) * 3)).reason == TOO_FEW_PHOTOS


def test_one_configuration_under_two_names_is_equivalent():
    """The same scores seed by seed and photo by photo differ by nothing, without dividing by zero."""
    scores = photos(((20.0, 21.0, 22.0), (20.5, 21.5, 22.5), (19.5, 20.5, 21.5)))
    assert one(by_seed_and_photo(scores, scores), DECIBELS).verdict == "equivalent"
    assert one(log_ratio_by_block(blocks(A), blocks(A))).verdict == "equivalent"


def test_the_verdict_is_what_the_interval_says():
    """Inside the band is equivalent, beyond zero is better or worse, and the rest is not settled."""
    speeds = {
        "better": [value * 1.2 for value in A],
        "worse": [value / 1.2 for value in A],
        "equivalent": [value * (1 + 0.001 * place) for place, value in enumerate(A)],
        "not settled": [A[0] * 1.5, A[1], A[2] / 1.3, A[3], A[4] * 1.1],
    }
    for verdict, values in speeds.items():
        assert one(log_ratio_by_block(blocks(values), blocks(A))).verdict == verdict
    low, high = log_margin()
    pair = one(Difference(0.01, (Part(1e-8, 5),)))
    assert (pair.verdict, pair.interval.low > 0, low < pair.interval.high < high) == ("equivalent", True, True)


def three(against_second, against_third, second_third, variance=1e-4, level=0.03):
    """A question of three configurations with these differences, over five blocks."""
    gaps = {("A", "B"): against_second, ("A", "C"): against_third, ("B", "C"): second_third}
    return decide({pair: Difference(gap, (Part(variance, 5),)) for pair, gap in gaps.items()}, log_margin(), level)


def test_the_pairs_of_a_question_share_its_level():
    """A question of three pairs has intervals at a third of the look's level, that of one pair has the whole."""
    found = three(0.01, -0.01, -0.02)
    assert {pair.interval.level for pair in found.pairs} == {0.99}
    alone = one(Difference(0.01, (Part(1e-4, 5),)), level=0.01)
    assert found.pairs[0].interval == alone.interval


def test_a_leader_that_is_ahead_of_all_shares_nothing():
    """Ahead of both others at the whole level it is better than both, by intervals of that level; the rest share."""
    bare, shared = (reference.t.ppf(1 - level / 2, 4) * 0.01 for level in (0.03, 0.01))
    gap = (bare + shared) / 2
    found = three(gap, gap, 0.0)
    assert [(pair.verdict, pair.interval.level) for pair in found.pairs] == [
        ("better", 0.97), ("better", 0.97), ("not settled", 0.99),
    ]  # fmt: skip
    assert (found.leader, found.decided, found.further_repeats) == ("A", True, None)
    assert found.pairs[0].interval.low == pytest.approx(gap - bare)
    turned = decide({("B", "A"): Difference(-gap, (Part(1e-4, 5),))}, log_margin(), 0.03)
    assert (turned.leader, turned.pairs[0].verdict) == ("A", "worse")


def test_a_leader_that_is_not_ahead_of_all_shares_with_the_others():
    """Where one rival is open, the leader's lead over the other one has to hold at the shared level."""
    bare, shared = (reference.t.ppf(1 - level / 2, 4) * 0.01 for level in (0.03, 0.01))
    found = three(bare * 0.9, (bare + shared) / 2, 0.0)
    assert [pair.verdict for pair in found.pairs] == ["not settled"] * 3
    assert {pair.interval.level for pair in found.pairs} == {0.99}
    assert not found.decided
    assert found.further_repeats == max(pair.further_repeats for pair in found.pairs[:2]) > 0


@pytest.mark.parametrize(
    ("against_second", "against_third", "second_third", "decided"),
    [
        (0.2, 0.2, 0.001, True),  # it leads both; what those two are to each other is no matter
        (0.2, 0.02, -0.18, False),  # the third may be as good
        (0.0, 0.2, 0.2, True),  # two are equal, and one of them leads the third
    ],
)
def test_a_question_is_decided_when_its_leader_is_settled_against_all(
    against_second, against_third, second_third, decided
):
    """A leader that is better than or equivalent to every other one decides; an open pair of others does not matter."""
    tight = {0.0, 0.2}
    gaps = {("A", "B"): against_second, ("A", "C"): against_third, ("B", "C"): second_third}
    found = decide(
        {pair: Difference(gap, (Part(1e-7 if gap in tight else 1e-4, 5),)) for pair, gap in gaps.items()},
        log_margin(),
        0.01,
    )
    assert (found.leader, found.decided) == ("A", decided)


def test_nothing_is_decided_without_a_rival():
    """A question of one configuration, or of none, has no leader and no decision."""
    found = decide({}, log_margin(), 0.01)
    assert (found.pairs, found.leader, found.decided) == ((), None, False)


def test_a_pair_that_may_not_be_compared_keeps_its_question_open():
    """A difference without a number carries its reason into the pair, and its question is not decided."""
    found = decide({("A", "B"): Difference(None, reason="graded X: “B”")}, log_margin(), 0.01)
    assert (found.decided, found.pairs[0].reason, found.pairs[0].estimate) == (False, "graded X: “B”", None)


def test_a_ratio_of_prices_moves_the_interval_and_keeps_its_width():
    """A cost is the ratio of seconds times a known ratio of prices: twice the price takes its logarithm off."""
    difference = log_ratio_by_block(blocks(A), blocks(B))
    plain, priced = one(difference), one(difference.shifted(-math.log(2)))
    assert priced.estimate == pytest.approx(plain.estimate - math.log(2))
    assert priced.interval.high - priced.interval.low == pytest.approx(plain.interval.high - plain.interval.low)
    assert (plain.verdict, priced.verdict) == ("better", "worse")


def test_further_repeats_are_the_fewest_that_would_settle_it():
    """With this estimate and spread, so many more runs settle it at their look's level, and one fewer do not."""
    difference = Difference(0.1, (Part(0.05**2 / 3, 3),))
    pair = one(difference, level=LOOKS[3])
    assert (pair.further_repeats, pair.reason) == (3, RUNS_DIFFER)
    for runs, settled in ((5, False), (6, True)):
        half = reference.t.ppf(1 - level_at(runs) / 2, runs - 1) * 0.05 / math.sqrt(runs)
        assert (half < 0.1) == settled


def test_the_repeats_that_would_settle_it_mostly_do():
    """Of studies that are told to make so many more runs, most are settled when those are made."""
    draw, told, settled = random.Random(8), 0, 0
    for _ in range(400):
        first, second = ([level * math.exp(draw.gauss(0, 0.02)) for _ in range(3)] for level in (1.0, 1.06))
        more = one(log_ratio_by_block(blocks(first), blocks(second)), level=LOOKS[3]).further_repeats
        if more is None:
            continue
        told += 1
        for side, level in ((first, 1.0), (second, 1.06)):
            side.extend(level * math.exp(draw.gauss(0, 0.02)) for _ in range(more))
        pair = one(log_ratio_by_block(blocks(first), blocks(second)), level=level_at(3 + more))
        settled += pair.verdict != "not settled"
    assert told > 100
    assert settled / told > 0.5


@pytest.mark.parametrize("repeats", [3, 10])
def test_no_number_of_runs_makes_up_for_photos_that_differ(repeats):
    """Photos whose differences go both ways are not settled by runs, however many; the reason asks for photos."""
    apart = photos([[20 + gain + 0.01 * seed for gain in (3.0, -1.5, 1.5, 0.0)] for seed in range(repeats)])
    pair = one(by_seed_and_photo(apart, photos([[20.0] * 4] * repeats)), DECIBELS)
    assert (pair.verdict, pair.further_repeats, pair.reason) == ("not settled", None, PHOTOS_DIFFER)


def test_more_runs_are_advised_where_the_photos_agree():
    """Photos that all say the same while seeds differ are settled by more runs."""
    apart = photos([[20 + gain + shift for gain in (3.0, 3.1, 2.9, 3.0)] for shift in (-1.5, 0.0, 1.5)])
    pair = one(by_seed_and_photo(apart, photos([[20.0] * 4] * 3)), DECIBELS)
    assert (pair.verdict, pair.reason) == ("not settled", RUNS_DIFFER)
    assert pair.further_repeats > 0
