"""`fluxkit.compare.time_to_quality`: one PSNR for all, reached at the first mark that holds, or censored."""

import builders
import pytest

from fluxkit.compare.compare import compare
from fluxkit.compare.reader_options import ReaderOptions
from fluxkit.stats import one_sample
from fluxkit.text.number_format import target_text


def run(scores, repeat=0, **execution):
    """A run whose samples have these PSNRs, by mark, for every image and seed."""
    made = builders.result(of=builders.spec(execution=execution), repeat=repeat, id=f"{execution}-{repeat}")
    graded = [
        score.model_copy(update={"psnr_db": scores[score.mark]})
        for score in made.quality.reconstruction
        if score.mark in scores
    ]
    summary = made.summary.model_copy(update={"psnr_db": scores["seconds-60"], "psnr_db_untuned": scores["untuned"]})
    quality = made.quality.model_copy(update={"reconstruction": tuple(graded)})
    return made.model_copy(update={"quality": quality, "summary": summary})


def scores(*decibels):
    """PSNR by mark, in the order of tuning time: untuned, 15 s, 20 s (the iterations), 30 s, 60 s."""
    return dict(zip(("untuned", "seconds-15", "iterations-200", "seconds-30", "seconds-60"), decibels, strict=True))


def repeated(noise, *decibels, **execution):
    """Three runs around these scores."""
    return [
        run({mark: value + shift for mark, value in scores(*decibels).items()}, repeat, **execution)
        for repeat, shift in enumerate((-noise, 0.0, noise))
    ]


def workload(results, target_psnr_db=None):
    (found,) = compare(results, ReaderOptions(target_psnr_db=target_psnr_db)).workloads
    return found


def test_the_target_is_nine_tenths_of_the_least_gain():
    """The target lies 90 % of the way from untuned to the lowest final PSNR, and names whose that is."""
    results = [*repeated(0.0, 10, 12, 14, 16, 20), *repeated(0.0, 10, 11, 12, 13, 14, precision="bfloat16")]
    found = workload(results).target
    assert found.psnr_db == pytest.approx(13.6)
    assert "90% of the way from the untuned model's 10.00 dB to 14.00 dB" in found.origin
    assert "bfloat16" in found.origin


def test_every_row_is_timed_against_the_same_target():
    """The faster learner passes the target at an earlier mark; the slower one at its last."""
    results = [*repeated(0.01, 10, 12, 14, 16, 20), *repeated(0.01, 10, 11, 12, 13, 14, precision="bfloat16")]
    fast, slow = (row.time_to_target for row in workload(results).rows)
    assert (fast.mark, fast.bounded) == ("iterations-200", True)
    assert (slow.mark, slow.seconds) == ("seconds-60", 60.0)


def test_the_lower_bound_has_to_pass():
    """A mean above the target is not enough: with the spread of three runs the one-sided bound decides."""
    (row,) = workload(repeated(0.5, 10, 12, 14, 15.2, 20), target_psnr_db=15.0).rows
    bound = one_sample((14.7, 15.2, 15.7)).lower_bound()
    assert bound < 15.0
    assert row.time_to_target.mark == "seconds-60"
    assert row.time_to_target.values[2] == 30.0


def test_a_lucky_mark_does_not_count():
    """A mark above the target whose next one falls below it again has reached nothing."""
    (row,) = workload(repeated(0.0, 10, 16, 13, 14, 20), target_psnr_db=15.0).rows
    assert row.time_to_target.mark == "seconds-60"


def test_a_mark_where_one_picture_diverged_is_passed_by_no_run():
    """The mean over the other pictures would make the run that broke the first to arrive."""
    made = run(scores(10, 16, 16, 16, 16))
    (first, *others) = [score for score in made.quality.reconstruction if score.mark == "seconds-15"]
    lost = first.model_copy(update={"mse": None, "psnr_db": None, "ssim": None})
    kept = [score for score in made.quality.reconstruction if score.mark != "seconds-15"]
    quality = made.quality.model_copy(update={"reconstruction": (lost, *others, *kept)})
    (row,) = workload([made.model_copy(update={"quality": quality})], target_psnr_db=15.0).rows
    assert row.time_to_target.values == (pytest.approx(20.0, abs=0.1),)


def test_a_miss_is_censored_and_shown_as_one():
    """Who never reaches the target has no time, but is known to need longer than was looked, and is shown so."""
    (row,) = workload(repeated(0.0, 10, 12, 13, 14, 14.5), target_psnr_db=15.0).rows
    found = row.time_to_target
    assert (found.seconds, found.looked_seconds, found.values) == (None, 60.0, (None, None, None))
    assert target_text(found) == "> 60 s (n = 3, 3 missed it, grade B)"


def test_a_run_that_lacks_a_mark_has_not_passed_it():
    """A mark that only two of three runs reached is passed by no row of three."""
    results = repeated(0.0, 10, 12, 14, 16, 20)
    results[2] = run({key: value for key, value in scores(10, 12, 14, 16, 20).items() if key != "seconds-30"}, 2)
    (row,) = workload(results, target_psnr_db=15.0).rows
    assert row.time_to_target.mark == "seconds-60"


def test_below_three_runs_the_mean_decides_and_says_so():
    """One run has no bound: its mean decides, and the words say that."""
    (row,) = workload([run(scores(10, 12, 14, 16, 20))], target_psnr_db=15.0).rows
    assert (row.time_to_target.mark, row.time_to_target.bounded) == ("seconds-30", False)
    assert "by the mean" in target_text(row.time_to_target)


def test_the_time_is_a_bracket_between_two_marks():
    """Nobody looked between two marks: the time lies after the one that failed and up to the one that passed."""
    (row,) = workload(repeated(0.0, 10, 12, 14, 16, 20), target_psnr_db=15.0).rows
    found = row.time_to_target
    assert (found.since_seconds, found.seconds) == (pytest.approx(20.0, rel=0.02), 30.0)
    assert target_text(found).startswith("20.0 to 30 s (n = 3")
    (first,) = workload(repeated(0.0, 10, 16, 17, 18, 20), target_psnr_db=15.0).rows
    assert target_text(first.time_to_target).startswith("up to 15 s")


def test_without_a_gain_there_is_no_target():
    """Where a configuration gained nothing, no share of its way exists, and the reason names it."""
    found = workload(repeated(0.0, 10, 10, 10, 10, 9.9)).target
    assert found.psnr_db is None
    assert "gained no PSNR" in found.origin


def test_a_given_target_is_named_as_given():
    """A target of the reader's stands as it is."""
    found = workload(repeated(0.0, 10, 12, 14, 16, 20), target_psnr_db=17.5).target
    assert (found.psnr_db, found.origin) == (17.5, "given by the reader")


def test_the_curve_holds_time_iterations_and_samples_of_one_trajectory():
    """Each point of a curve says at which second, iteration and sample of the same trajectory it was graded."""
    (row,) = workload(repeated(0.0, 10, 12, 14, 16, 20)).rows
    for point in row.curve:
        assert point.samples == pytest.approx(8 * point.iteration)
        assert (point.psnr_db.grade, len(point.psnr_db.values)) == ("B", 1 if point.mark == "untuned" else 3)
    assert [point.seconds for point in row.curve] == sorted(point.seconds for point in row.curve)


def test_runs_of_one_seed_make_no_bound():
    """Three runs of one seed are one value of quality: their mean has to pass, for there is no bound."""
    results = [each.model_copy(update={"seed": 0}) for each in repeated(0.5, 10, 12, 14, 15.2, 20)]
    (row,) = workload(results, target_psnr_db=15.0).rows
    assert (row.time_to_target.mark, row.time_to_target.bounded) == ("seconds-30", False)
