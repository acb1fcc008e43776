"""`fluxkit.compare.contrasts`: what two configurations differ by, over which images and seeds, and when decided."""

import math

import builders
import pytest
from scipy import stats as reference

from fluxkit.compare.compare import compare
from fluxkit.compare.decision import LOOKS, PHOTOS_DIFFER, RUNS_DIFFER
from fluxkit.compare.ranking import standing
from fluxkit.compare.reader_options import ReaderOptions
from fluxkit.stats import ALPHA, mean

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
    changes = {"looks": (3,), **changes}
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
    assert (open_one.verdict, open_one.further_runs) == ("not settled", None)
    assert open_one.reason == PHOTOS_DIFFER


def test_more_runs_are_advised_where_the_images_agree():
    """Photos that all say the same while runs differ are decided by more runs."""
    open_one = found(both((3.0, 3.1, 2.9, 3.0), spread=1.5))
    assert open_one.verdict == "not settled"
    assert open_one.further_runs > 0
    assert open_one.reason == RUNS_DIFFER


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
    assert (quality.verdict, quality.further_runs) == ("not settled", None)
    assert "has 3 runs of 1 seed and " in quality.reason
    (said,) = [warning for warning in comparison.warnings if "seed" in warning]
    assert said == (
        "Runs of one seed count once for quality, and an interval of it needs 3: "
        "“Laptop CPU (FP32)” (3 runs of 1 seed), “Laptop CPU (bfloat16)” (3 runs of 1 seed)."
    )


def test_throughput_has_the_verdict_of_its_speed():
    """Images a second are iterations a second times one batch, so what is decided of one is of the other."""
    (workload,) = compare(builders.study()).workloads
    keys = ("training_iterations_per_second", "training_images_per_second")
    assert [standing(workload, workload.rows[0], key) for key in keys] == ["best", "best"]


def test_repeats_of_a_seed_add_no_certainty():
    """Six runs of three seeds give the verdict and the interval of three runs; a seed's runs are averaged."""
    gains = (1.0, 1.1, 0.9, 1.0)
    once, twice = found(both(gains)), found(both(gains, 6, seeds=(0, 1, 2, 0, 1, 2)))
    assert twice.verdict == once.verdict == "better"
    assert twice.value == pytest.approx(once.value)
    assert (twice.interval.low, twice.interval.high) == pytest.approx((once.interval.low, once.interval.high))
    (workload,) = compare(both(gains, 6, seeds=(0, 1, 2, 0, 1, 2))).workloads
    assert len(workload.rows[0].metrics["psnr_db"].values) == 3
    assert not [warning for warning in compare(both(gains)).warnings if "seed" in warning]


def test_the_value_of_a_quality_contrast_is_what_its_interval_is_about():
    """With photos cut into 2, 1 and 1 crops the value is the mean over photos, in the middle of SciPy's interval."""
    gains, clusters = (-12.0, -8.0, 0.0, 0.0), ("p", "p", "q", "r")
    contrast = found(both(gains, spread=0.0, clusters=clusters))
    expected = reference.ttest_1samp([-10.0, 0.0, 0.0], 0.0).confidence_interval(0.95)
    assert contrast.value == pytest.approx(-10 / 3)
    assert (contrast.interval.low, contrast.interval.high) == pytest.approx((expected.low, expected.high))


def speeds(rates, looks=(3,), study="example", spread=0.004):
    """Configurations of these speeds, with runs in blocks that share the drift of the machine."""
    runs = []
    for place, speed in enumerate(rates):
        of = builders.spec(execution={"threads": place + 1}, hardware={"label": f"M{place + 1}"})
        for repeat in range(3):
            wobble = 1 + spread * ((repeat + place) % 3 - 1) + 0.1 * repeat
            runs.append(
                builders.result(
                    of=of, repeat=repeat, id=f"{study}-{place}-{repeat}", looks=looks, study=study,
                    iteration_seconds=(wobble / speed,) * 220,
                )
            )  # fmt: skip
    return runs


def judgement(runs, quantity="training_speed", given=None):
    (workload,) = compare(runs, given or ReaderOptions()).workloads
    return workload.judgement(quantity)


def test_speeds_are_compared_inside_their_blocks():
    """A machine that slows by a tenth from block to block hides nothing: SciPy's paired interval of logarithms."""
    runs = speeds((10.0, 11.0))
    contrast = found(runs, "training_speed")
    logs = [
        [math.log(run.summary.training_iterations_per_second) for run in side] for side in (runs[:3], runs[3:])
    ]  # fmt: skip
    expected = reference.ttest_rel(*logs).confidence_interval(0.95)
    assert (contrast.verdict, contrast.paired, contrast.interval.level) == ("slower", True, 0.95)
    assert (contrast.interval.low, contrast.interval.high) == pytest.approx(
        (math.exp(expected.low), math.exp(expected.high))
    )
    apart = speeds((10.0, 11.0))
    apart[3:] = [run.model_copy(update={"study": "elsewhere"}) for run in apart[3:]]
    assert not found(apart, "training_speed").paired


def test_an_unrelated_configuration_changes_no_verdict():
    """A third configuration without a usable speed leaves the verdict, the interval and the level as they are."""
    two, third = speeds((10.0, 10.25)), speeds((1.0, 1.0, 7.0))[6:]
    unusable = {"id": "clock", "subject": "training_speed", "grade": "X", "evidence": "The clock went back."}
    third = [builders.result(of=run.spec, repeat=run.repeat, id=run.id, checks=[unusable]) for run in third]
    (alone,), (beside,) = compare(two).workloads, compare([*two, *third]).workloads
    assert beside.judgement("training_speed") == alone.judgement("training_speed")
    assert beside.contrasts[0] == alone.contrasts[0]
    assert beside.contrasts[0].verdict == "slower"
    without = [run.model_copy(update={"quality": None}) for run in two]
    assert judgement(without) == alone.judgement("training_speed")
    assert len([line for line in beside.contrasts if line.quantity == "training_speed" and line.verdict]) == 1


def test_only_pairs_of_one_question_share_its_level():
    """Three pairs of speeds have a third of the level each, whatever quality and memory are compared besides."""
    runs = speeds((10.0, 10.01, 10.02))
    (workload,) = compare(runs).workloads
    question = workload.judgement("training_speed")
    assert (question.pairs, question.level, question.looks, question.repeats) == (3, ALPHA, (3,), 3)
    levels = {line.interval.level for line in workload.contrasts if line.quantity == "training_speed"}
    assert levels == {1 - ALPHA / 3}


def test_without_a_plan_the_strict_levels_apply():
    """Results that do not say how often they were to be looked at, or of several studies, are a look of many."""
    assert judgement(speeds((10.0, 11.0), looks=())).level == LOOKS[3]
    assert judgement(speeds((10.0, 11.0), looks=(3, 5, 7, 10))).level == LOOKS[3]
    assert judgement(speeds((10.0, 11.0))).level == ALPHA
    added = [*speeds((10.0, 11.0)), *speeds((10.0, 11.0), study="again")]
    assert (judgement(added).repeats, judgement(added).level) == (6, LOOKS[5])


def test_what_is_descriptive_has_an_interval_and_no_verdict():
    """SSIM, quality at equal iterations, held-out loss and memory have the 95 % interval of their pair alone."""
    (workload,) = compare(both((2.0, 2.1, 1.9, 2.0), mark="iterations-200")).workloads
    descriptive = {line.quantity: line for line in workload.contrasts if line.verdict is None}
    assert set(descriptive) == {"ssim", "ssim_at_iterations", "psnr_db_at_iterations", "validation_loss",
                                "peak_memory_bytes"}  # fmt: skip
    for line in descriptive.values():
        assert line.interval.level == 0.95
        assert line.interval.low <= line.value <= line.interval.high
        assert line.further_runs is None
    assert descriptive["psnr_db_at_iterations"].value == pytest.approx(2.0)
    assert standing(workload, workload.rows[0], "psnr_db_at_iterations") == "leading"


def test_a_ratio_of_costs_is_that_of_seconds_times_that_of_prices():
    """Twice the speed at twice the price costs the same; at thrice the price it is dearer, with the same spread."""
    runs = speeds((10.0, 20.0), spread=0.002)

    def cost(price):
        given = ReaderOptions({"M1": 1.0, "M2": price})
        (workload,) = compare(runs, given).workloads
        (line,) = [line for line in workload.contrasts if line.quantity == "usd_per_1000_iterations"]
        return line, workload.judgement("usd_per_1000_iterations")

    same, dear = cost(2.0), cost(3.0)
    assert (same[0].verdict, same[0].value) == ("equivalent", pytest.approx(1.0, rel=0.01))
    assert (dear[0].verdict, dear[0].value) == ("cheaper", pytest.approx(2 / 3, rel=0.01))
    assert dear[0].interval.high / dear[0].interval.low == pytest.approx(same[0].interval.high / same[0].interval.low)
    assert same[1].decided
    assert dear[1].decided
    assert dear[1].level == ALPHA


def test_a_star_follows_the_answer():
    """Filled for the leader of a decided question, hollow for that of an open one, and none where all are equal."""
    for rates, star in (((10.0, 12.0), "best"), ((10.0, 10.2), "leading"), ((10.0, 10.0001), "")):
        (workload,) = compare(speeds(rates, spread=0.02 if star == "leading" else 0.0001)).workloads
        stars = [standing(workload, row, "training_iterations_per_second") for row in workload.rows]
        assert stars == ["", star]


def test_no_number_is_best_beyond_doubt_without_a_verdict():
    """Intervals that lie apart do not make a best: a metric that no contrast is about has a hollow star at most."""
    results = []
    for run in both((3.0, 3.1, 2.9, 3.0)):
        better = {"validation_psnr_db": 30.0 if run.id.startswith("a") else 20.0}
        results.append(run.model_copy(update={"summary": run.summary.model_copy(update=better)}))
    (workload,) = compare(results).workloads
    assert standing(workload, workload.rows[0], "validation_psnr_db") == "leading"
    assert standing(workload, workload.rows[0], "psnr_db") == "best"
