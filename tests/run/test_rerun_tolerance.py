"""Where a number of a run that is done again may lie."""

from __future__ import annotations

import functools
import math
import random
from collections import Counter
from pathlib import Path

import builders
import pytest
from scipy.stats import t

from fluxkit.record.run_folder import find_results
from fluxkit.run import rerun
from fluxkit.run.rerun_tolerance import prediction_interval
from fluxkit.run.rerun_verdict import judge, verdict_lines


def test_a_lone_result_has_fixed_bands(done, here, changed):
    """Without repeats beside it a CPU's speed may move by 5 %, PSNR by 0.5 dB and SSIM by 0.01."""
    alone = here / "alone.json"
    alone.write_text((done[0] / "result.json").read_text())
    asked = rerun.prepare(alone)
    assert asked.repeats == (asked.original,)
    original = asked.original
    for name, inside, outside in (
        ("training_iterations_per_second", 1.96, 1.89),
        ("inference_image_steps_per_second", 64 * 1.049, 64 * 1.06),
        ("psnr_db", 19.6, 19.4),
        ("ssim", 0.209, 0.212),
    ):
        assert judge(original, [changed(original, **{name: inside})]).verdict == "reproduced", name
        verdict = judge(original, [changed(original, **{name: outside})])
        assert verdict.verdict == "drifted"
        assert [number.name for number in verdict.numbers if not number.inside] == [name]


def test_a_gpu_has_the_narrower_band(changed):
    """On a GPU three per cent are a drift."""
    original = builders.result(of=builders.spec(execution={"device": "cuda"}), gpu=True)
    slower = changed(original, training_iterations_per_second=original.summary.training_iterations_per_second * 0.97)
    verdict = judge(original, [slower])
    assert verdict.verdict == "drifted"
    assert verdict.numbers[0].band == "±2% of the original"
    assert verdict.losses.promised is False


def test_repeats_that_may_not_be_used_make_no_band(changed, spoilt):
    """A prediction interval rests on sound repeats: with two of three left, the fixed band is taken."""
    repeats = [builders.result(repeat=repeat) for repeat in range(3)]
    repeats[2] = spoilt(repeats[2], "training_speed")
    (number, *others) = judge(repeats[0], [changed(repeats[0])], repeats).numbers
    assert number.band == "±5% of the original"
    assert {each.band.partition(",")[0] for each in others} == {"95% prediction interval of 3 repeats"}


SPEEDS = ("training_iterations_per_second", "inference_image_steps_per_second")


SCORES = {"psnr_db": 0.2, "psnr_db_at_iterations": 0.2, "validation_psnr_db": 0.1,
          "ssim": 0.005, "ssim_at_iterations": 0.005, "validation_ssim": 0.003}  # fmt: skip
"""What other seeds do to each score: standard deviations as in the committed study."""


@functools.cache
def made_up():
    return builders.result()


def on_one_machine(draw, seed, speed=1.0):
    """A run there: speeds spread by 1.5 %, scores mostly by the seed, and by a quarter of that from run to run."""
    original, seeded = made_up(), random.Random(seed)
    numbers = {name: getattr(original.summary, name) * speed * math.exp(draw.gauss(0, 0.015)) for name in SPEEDS}
    for name, spread in SCORES.items():
        of_seed = getattr(original.summary, name) + spread * seeded.gauss(0, 1)
        numbers[name] = of_seed + spread / 4 * draw.gauss(0, 1)
    summary = original.summary.model_copy(update=numbers)
    return original.model_copy(update={"summary": summary, "seed": seed})


@pytest.mark.parametrize("runs", [3, 5])
def test_an_unchanged_machine_seldom_drifts(runs):
    """Of 1,000 reruns on an unchanged machine, held against 3 or 5 repeats, at most a tenth are called drifted."""
    draw, said = random.Random(runs), Counter()
    for study_ in range(1000):
        repeats = [on_one_machine(draw, 10 * study_ + place) for place in range(runs)]
        said[judge(repeats[0], [on_one_machine(draw, repeats[0].seed)], repeats).verdict] += 1
    assert said["drifted"] <= 105
    assert said["reproduced"] >= (500 if runs == 3 else 850)


def test_a_machine_that_lost_a_fifth_of_its_speed_is_never_reproduced():
    """At 0.8 times the speed of repeats that spread by 1.5 %, every rerun drifts or is not decided."""
    draw, said = random.Random(4), Counter()
    for study_ in range(300):
        repeats = [on_one_machine(draw, 10 * study_ + place) for place in range(3)]
        said[judge(repeats[0], [on_one_machine(draw, repeats[0].seed, 0.8)], repeats).verdict] += 1
    assert said["reproduced"] == 0
    assert said["drifted"] >= 250


def spread(run, factor):
    """The run, with speeds so many times its own."""
    speeds = {name: factor * getattr(run.summary, name) for name in SPEEDS}
    return run.model_copy(update={"summary": run.summary.model_copy(update=speeds)})


def test_repeats_that_spread_too_much_tell_nothing():
    """A trio that spreads by 14 % reproduces nothing: 0.6 times its speed is not decided, and named why."""
    committed = Path(__file__).parents[2] / "reports/laptop/results"
    runs = [run for _, run in find_results([committed]) if run.spec.name == "nano-laptop-cpu"]
    trio = [spread(run, factor) for run, factor in zip(runs, (0.87, 1.0, 1.14), strict=False)]
    speed = trio[0].summary.training_iterations_per_second
    again = trio[0].model_copy(
        update={"summary": trio[0].summary.model_copy(update={SPEEDS[0]: 0.6 * speed}), "checks": ()}
    )
    verdict = judge(trio[0].model_copy(update={"checks": ()}), [again], trio)
    assert verdict.verdict != "reproduced"
    assert all(number.low > 0 for number in verdict.numbers)
    assert f"{SPEEDS[0]}: the original's repeats spread too much" in verdict.undecided
    same = judge(trio[0], trio[:1], trio)
    assert same.verdict == "not decided"
    assert "spread too much" in verdict_lines(same).splitlines()[-1]


def test_other_seeds_do_not_widen_the_band_of_a_score(changed):
    """Repeats of other seeds that differ by decibels leave the margin around the original; equal seeds can't tell."""
    original = builders.result()
    scores = [original.summary.psnr_db + each for each in (0.0, 1.5, -1.5)]
    others = [changed(original, psnr_db=score).model_copy(update={"seed": seed}) for seed, score in enumerate(scores)]
    (number,) = [each for each in judge(original, [original], others).numbers if each.name == "psnr_db"]
    assert (number.high - number.low, number.conclusive) == (pytest.approx(1.0), True)
    same = [each.model_copy(update={"seed": 0}) for each in others]
    verdict = judge(original, [original], same)
    assert (verdict.verdict, verdict.undecided) == ("not decided", ("psnr_db: the original's repeats spread too much",))


def test_the_prediction_interval_is_the_textbooks():
    """Half width t(0.975, 3) s sqrt(1/2 + 1/4) for two further of four values, by SciPy's own t."""
    low, high = prediction_interval([1.0, 2.0, 3.0, 4.0], 2)
    half = t.ppf(0.975, 3) * (5 / 3) ** 0.5 * 0.75**0.5
    assert (low, high) == pytest.approx((2.5 - half, 2.5 + half))
