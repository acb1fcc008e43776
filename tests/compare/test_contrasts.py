"""`fluxkit.compare.contrasts`: what two configurations differ by, over which images and seeds, and when decided."""

import builders
import pytest
from scipy import stats as reference

from fluxkit.compare.compare import compare
from fluxkit.compare.ranking import standing
from fluxkit.stats import joint_verdict, log_margin, log_ratio, mean
from fluxkit.text.number_format import contrast_text

EQUAL = (0.0, 0.0, 0.0, 0.0)


def scored(gains, repeat=0, shift=0.0, clusters=None, mark="seconds-60", **changes):
    """A run whose four photos scored 20 dB and these gains at a mark, all shifted; `changes` are the builder's."""
    made = builders.result(repeat=repeat, **changes)
    names = [pair.id for pair in made.inputs.pairs if pair.split == "tuning"]
    psnr = {name: 20.0 + gain + shift for name, gain in zip(names, gains, strict=True)}
    scores = tuple(
        score.model_copy(update={"psnr_db": psnr[score.pair]}) if score.mark == mark else score
        for score in made.quality.reconstruction
    )
    kept = dict(zip(names, clusters or names, strict=True))
    pairs = tuple(pair.model_copy(update={"cluster": kept.get(pair.id, pair.cluster)}) for pair in made.inputs.pairs)
    key = "psnr_db" if mark == "seconds-60" else "psnr_db_at_iterations"
    return made.model_copy(
        update={
            "quality": made.quality.model_copy(update={"reconstruction": scores}),
            "inputs": made.inputs.model_copy(update={"pairs": pairs}),
            "summary": made.summary.model_copy(update={key: mean(list(psnr.values()))}),
        }
    )


def both(gains, repeats=3, spread=0.01, seeds=None, **changes):
    """So many runs of an FP32 row with these gains and of a bfloat16 row without, with a little spread over seeds."""
    other = builders.spec(execution={"precision": "bfloat16"})
    runs = []
    for repeat in range(repeats):
        shift = spread * (repeat % 3 - 1)
        seed = {"seed": seeds[repeat]} if seeds else {}
        runs.append(scored(gains, repeat, shift, id=f"a-{repeat}", **seed, **changes))
        runs.append(scored(EQUAL, repeat, -shift, id=f"b-{repeat}", of=other, **seed, **changes))
    return runs


def found(results, quantity="psnr_db"):
    """The one contrast of a quantity."""
    (workload,) = compare(results).workloads
    (one,) = [each for each in workload.contrasts if each.quantity == quantity]
    return one


@pytest.mark.parametrize("repeats", [3, 12])
def test_more_runs_are_not_advised_where_the_images_leave_it_open(repeats):
    """Photos whose differences go both ways are not decided by runs, however many; the reason asks for images."""
    open_one = found(both((3.0, -1.5, 1.5, 0.0), repeats))
    assert (open_one.verdict, open_one.further_runs) == ("inconclusive", None)
    assert open_one.reason == "the images differ too much: more images, not more runs, would decide"


def test_more_runs_are_advised_where_the_images_agree():
    """Photos that all say the same while runs differ are decided by more runs."""
    open_one = found(both((3.0, 3.1, 2.9, 3.0), spread=1.5))
    assert open_one.verdict == "inconclusive"
    assert open_one.further_runs > 0
    assert open_one.reason == "the spread between runs is too large for a verdict"


def test_runs_of_one_seed_are_one_value_of_quality():
    """Three runs of seed 0 have one PSNR, no interval and no verdict, which a warning says; their speeds are three."""
    comparison = compare(both((-1.0, -1.0, -1.0, -1.0), spread=0.0, seeds=(0, 0, 0)))
    (workload,) = comparison.workloads
    for row in workload.rows:
        for key in ("psnr_db", "psnr_db_untuned", "validation_loss"):
            assert (len(row.metrics[key].values), row.metrics[key].interval) == (1, None)
        assert len(row.metrics["training_iterations_per_second"].values) == 3
        assert all((len(point.psnr_db.values), point.psnr_db.interval) == (1, None) for point in row.curve)
        assert not row.time_to_target or not row.time_to_target.bounded
    quality = {each.quantity: each for each in workload.contrasts}["psnr_db"]
    assert (quality.value, quality.interval) == (pytest.approx(-1.0), None)
    assert (quality.verdict, quality.further_runs) == ("inconclusive", None)
    assert "has 3 runs of 1 seed and " in quality.reason
    (said,) = [warning for warning in comparison.warnings if "seed" in warning]
    assert said == (
        "Runs of one seed count once for quality, and an interval of it needs 3: "
        "“Laptop CPU (FP32)” (3 runs of 1 seed), “Laptop CPU (bfloat16)” (3 runs of 1 seed)."
    )


def test_repeats_of_a_seed_add_no_certainty():
    """Six runs of three seeds give the verdict, interval and p of three runs; a seed's runs are averaged."""
    gains = (1.0, 1.1, 0.9, 1.0)
    once, twice = found(both(gains)), found(both(gains, 6, seeds=(0, 1, 2, 0, 1, 2)))
    assert twice.p_value == pytest.approx(once.p_value)
    assert twice.value == pytest.approx(once.value)
    assert twice.interval.low == pytest.approx(once.interval.low)
    (workload,) = compare(both(gains, 6, seeds=(0, 1, 2, 0, 1, 2))).workloads
    assert len(workload.rows[0].metrics["psnr_db"].values) == 3
    assert not [warning for warning in compare(both(gains)).warnings if "seed" in warning]


def test_the_value_of_a_quality_contrast_is_what_its_interval_is_about():
    """With photos cut into 2, 1 and 1 crops the value is the mean over photos, in the middle of SciPy's interval."""
    gains, clusters = (-12.0, -8.0, 0.0, 0.0), ("p", "p", "q", "r")
    contrast = found(both(gains, spread=0.0001, clusters=clusters))
    expected = reference.ttest_1samp([-10.0, 0.0, 0.0], 0.0).confidence_interval(0.95)
    assert contrast.value == pytest.approx(-10 / 3)
    assert (contrast.interval.low, contrast.interval.high) == pytest.approx((expected.low, expected.high))


def test_equivalence_shows_the_interval_that_says_so():
    """An equivalent contrast shows the 90 % interval that lies inside the band, and names it; others show 95 %."""
    same = found(both((0.1, -0.1, 0.05, -0.05)))
    assert (same.verdict, same.interval.level) == ("equivalent", pytest.approx(0.9))
    assert -0.5 < same.interval.low < same.interval.high < 0.5
    assert contrast_text(same).endswith("] (90 % interval)")
    assert same.equivalence_p_holm < 0.05 < same.p_holm
    apart = found(both((3.0, 3.1, 2.9, 3.0)))
    assert (apart.verdict, apart.interval.level) == ("better", 0.95)
    assert contrast_text(apart).endswith("]")


def test_equivalence_is_adjusted_for_the_family():
    """Speeds 1 % apart are equivalent where nothing else is asked, and not decided among the pairs of five rows."""
    runs = [
        builders.result(
            of=builders.spec(execution={"threads": threads}), repeat=repeat, id=f"{threads}-{repeat}",
            iteration_seconds=(0.1 * 1.01 ** (threads % 2) * (1 + 0.004 * (repeat - 1)),) * 220,
        )
        for threads in range(1, 6)
        for repeat in range(3)
    ]  # fmt: skip
    (workload,) = compare(runs).workloads
    contrast = next(each for each in workload.contrasts if each.quantity == "training_speed")
    first, second = (
        workload.row(key).metrics["training_iterations_per_second"].values for key in (contrast.first, contrast.second)
    )
    assert joint_verdict((log_ratio(first, second),), log_margin()) == "equivalent"
    assert (contrast.verdict, contrast.interval.level) == ("inconclusive", 0.95)
    assert contrast.equivalence_p_holm > 0.05


def test_quality_at_equal_iterations_has_a_verdict():
    """PSNR and SSIM at the iteration mark are compared by the scores of that mark, with interval and verdict."""
    results = both((2.0, 2.1, 1.9, 2.0), mark="iterations-200")
    contrast = found(results, "psnr_db_at_iterations")
    assert (contrast.verdict, contrast.value) == ("better", pytest.approx(2.0))
    assert found(results, "ssim_at_iterations").interval is not None
    (workload,) = compare(results).workloads
    assert standing(workload, workload.rows[0], "psnr_db_at_iterations") == "best"


def test_what_only_the_family_leaves_open_is_said_to_be():
    """A difference that is decided by itself, but not among all comparisons, blames the adjustment, not the spread."""
    runs = []
    for threads, base in ((1, 0.100), (2, 0.104)):
        of = builders.spec(execution={"threads": threads})
        for repeat in range(3):
            each = (base + 0.001 * repeat,) * 220
            runs.append(builders.result(of=of, repeat=repeat, iteration_seconds=each, id=f"{threads}-{repeat}"))
    contrast = found(runs, "training_speed")
    assert contrast.p_value < 0.05 < contrast.p_holm
    assert contrast.verdict == "inconclusive"
    assert contrast.reason.startswith("by itself it would be a difference, but not among all ")


def test_no_number_is_best_beyond_doubt_without_a_verdict():
    """Intervals that lie apart do not make a best: a metric that no contrast is about has a hollow star at most."""
    results = []
    for run in both((3.0, 3.1, 2.9, 3.0)):
        better = {"validation_psnr_db": 30.0 if run.id.startswith("a") else 20.0}
        results.append(run.model_copy(update={"summary": run.summary.model_copy(update=better)}))
    (workload,) = compare(results).workloads
    assert standing(workload, workload.rows[0], "validation_psnr_db") == "leading"
    assert standing(workload, workload.rows[0], "psnr_db") == "best"


def test_throughput_has_the_verdict_of_its_speed():
    """Images a second are iterations a second times one batch, so what is decided of one is of the other."""
    (workload,) = compare(builders.study()).workloads
    keys = ("training_iterations_per_second", "training_images_per_second")
    assert [standing(workload, workload.rows[0], key) for key in keys] == ["best", "best"]


def test_memory_has_a_verdict():
    """Who needs the least memory is decided by a verdict like everything else."""
    results = []
    for run in builders.study()[:-1]:
        needed = {"peak_memory_bytes": (2 if "bf16" in run.id else 1) * 10**9 + run.repeat}
        results.append(run.model_copy(update={"summary": run.summary.model_copy(update=needed)}))
    contrast = found(results, "peak_memory_bytes")
    assert (contrast.verdict, contrast.value) == ("smaller", pytest.approx(0.5))
