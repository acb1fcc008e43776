"""Doing a run again: what it would read, what it is held against, and how the verdict falls."""

from __future__ import annotations

import functools
import io
import json
import math
import random
from collections import Counter
from pathlib import Path

import builders
import pytest
from scipy.stats import t

from fluxkit.cli import app
from fluxkit.errors import RunError, UsageError
from fluxkit.record.result import AgreementProbe, Check
from fluxkit.record.run_folder import find_results, write_result
from fluxkit.run import rerun, study
from fluxkit.run.rerun_tolerance import prediction_interval
from fluxkit.run.rerun_verdict import judge, verdict_lines
from fluxkit.run.study import run_study


@pytest.fixture
def here(monkeypatch, small_plan, tmp_path):
    """An empty folder on a machine whose plan is made up."""
    monkeypatch.chdir(tmp_path)
    for module in (study, rerun):
        monkeypatch.setattr(module, "plan_all", lambda specs, **_: [small_plan for _ in specs])
    return tmp_path


@pytest.fixture
def done(here, small_spec, engine_is):
    """The run folders of a study of three repeats."""
    engine_is("completed")
    run_study([small_spec], repeats=3, out=here / "first")
    return sorted((here / "first").glob("0*"))


def changed(result, **summary):
    """The result with other numbers in its summary."""
    return result.model_copy(update={"id": "f" * 32, "summary": result.summary.model_copy(update=summary)})


def test_the_same_run_is_reproduced(done, engine_is):
    """Equal numbers from the same machine are reproduced, with losses equal to the bit as promised; it is written."""
    asked = rerun.prepare(done[1])
    assert asked.spec.seed == asked.original.seed == 4
    assert len(asked.repeats) == 3
    assert asked.differences == ()
    engine_is("completed")
    verdict, folder = rerun.run_again(asked, out=Path("again"))
    assert verdict.verdict == "reproduced"
    assert (verdict.losses.equal, verdict.losses.promised, verdict.losses.compared) == (True, True, 40)
    assert json.loads((folder / "rerun.json").read_text())["schema"] == "fluxkit.rerun/1"
    assert [number.band for number in verdict.numbers][:3] == [
        "95% prediction interval of 3 repeats",
        "95% prediction interval of 3 repeats",
        "95% prediction interval of 3 repeats, and ±0.5 dB of the original",
    ]


def test_a_lone_result_has_fixed_bands(done, here):
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


def test_a_gpu_has_the_narrower_band():
    """On a GPU three per cent are a drift."""
    original = builders.result(of=builders.spec(execution={"device": "cuda"}), gpu=True)
    slower = changed(original, training_iterations_per_second=original.summary.training_iterations_per_second * 0.97)
    verdict = judge(original, [slower])
    assert verdict.verdict == "drifted"
    assert verdict.numbers[0].band == "±2% of the original"
    assert verdict.losses.promised is False


def test_losses_that_part_although_promised_are_a_drift(done):
    """One loss that is off by a bit is named with its iteration; on other threads nothing was promised."""
    original = rerun.prepare(done[0]).original
    losses = list(original.tuning.losses)
    losses[7] = losses[7] * (1 + 2**-50)
    other = original.model_copy(update={"tuning": original.tuning.model_copy(update={"losses": tuple(losses)})})
    verdict = judge(original, [other])
    assert (verdict.verdict, verdict.losses.first_difference) == ("drifted", 7)
    ranks = (original.tuning.ranks[0].model_copy(update={"threads": 2}),)
    threads = other.model_copy(update={"tuning": other.tuning.model_copy(update={"ranks": ranks})})
    assert judge(original, [threads]).losses.promised is False


@pytest.mark.parametrize(
    ("update", "row"),
    [
        (lambda r: {"kit": r.kit.model_copy(update={"image": "sha256:1"})}, "kit.image"),
        (lambda r: {"plan": r.plan.model_copy(update={"device_names": ("Other CPU",)})}, "device.names"),
        (lambda r: {"inputs": r.inputs.model_copy(update={"dataset_sha256": "9" * 64})}, "inputs.dataset_sha256"),
        (lambda r: {"inputs": r.inputs.model_copy(update={"weights_sha256": "9" * 64})}, "inputs.weights_sha256"),
        (lambda r: {"spec": r.spec.model_copy(update={"tune": r.spec.tune.model_copy(update={"lora_rank": 4})})},
         "spec.tune.lora_rank"),
        (lambda r: {"system": r.system.model_copy(update={"before": r.system.before.model_copy(
            update={"packages": {**r.system.before.packages, "torch": "9.9"}})})}, "package.torch"),
        (lambda _: {"agreement": (AgreementProbe(rank=0, precision="ieee_float32", weights_equal=False, relative_l2=0.0,
            largest_error=0.0, loss_errors=(), latents_psnr_db=200.0, seconds=0.1),)}, "agreement"),
    ],
)  # fmt: skip
def test_what_is_not_the_same_is_named(done, update, row):
    """Another image, device, input, spec or package, or a failed certificate, is not comparable, by its row."""
    original = rerun.prepare(done[0]).original
    verdict = judge(original, [original.model_copy(update=update(original))])
    assert verdict.verdict == "not comparable"
    assert [each.row for each in verdict.differences] == [row]


def test_two_failed_certificates_do_not_make_runs_comparable(done):
    """Both devices computing something else is no agreement."""
    original = rerun.prepare(done[0]).original
    bad = original.agreement[0].model_copy(update={"relative_l2": 1.0})
    first = original.model_copy(update={"agreement": (bad,)})
    assert judge(first, [first.model_copy(update={"id": "e" * 32})]).verdict == "not comparable"


def spoilt(result, subject, **summary):
    """The result with other numbers and a finding that its numbers about a subject are not to be used."""
    check = Check(id="clock", subject=subject, grade="X", evidence="A clock lies.")
    return changed(result, **summary).model_copy(update={"checks": (check,)})


def test_a_number_that_may_not_be_used_is_in_no_verdict():
    """A speed graded X neither drifts nor reproduces, and is named as what is not told; with none left, nothing is."""
    original = builders.result()
    speed = {"training_iterations_per_second": 99.0}
    verdict = judge(original, [spoilt(original, "training_speed", **speed)])
    (number,) = [each for each in verdict.numbers if each.name == "training_iterations_per_second"]
    assert (number.grade, number.inside, verdict.verdict) == ("X", False, "not decided")
    assert "grade X, in no verdict" in verdict_lines(verdict)
    assert verdict_lines(verdict).endswith(
        "not decided: training_iterations_per_second: in this run it may not be used (grade X)"
    )
    nothing = judge(original, [spoilt(original, "run", **speed)])
    assert nothing.verdict == "not comparable"
    assert verdict_lines(nothing).endswith("not comparable: no number is there that may be used")


def test_repeats_that_may_not_be_used_make_no_band():
    """A prediction interval rests on sound repeats: with two of three left, the fixed band is taken."""
    repeats = [builders.result(repeat=repeat) for repeat in range(3)]
    repeats[2] = spoilt(repeats[2], "training_speed")
    (number, *others) = judge(repeats[0], [changed(repeats[0])], repeats).numbers
    assert number.band == "±5% of the original"
    assert {each.band.partition(",")[0] for each in others} == {"95% prediction interval of 3 repeats"}


def test_a_number_that_was_not_measured_again_is_not_reproduced():
    """A rerun without its inference speed says so, whatever else it gave again."""
    original = builders.result()
    verdict = judge(original, [changed(original, inference_image_steps_per_second=None)])
    assert (verdict.verdict, verdict.undecided) == (
        "not decided",
        ("inference_image_steps_per_second: it was not measured again",),
    )


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


def test_repeats_that_spread_too_much_tell_nothing():
    """A committed trio that spreads by 14 % reproduces nothing: 0.6 times its speed is not decided, and named why."""
    committed = Path(__file__).parents[2] / "reports/laptop/results"
    trio = [run for _, run in find_results([committed]) if run.spec.name == "nano-laptop-cpu"]
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


def test_other_seeds_do_not_widen_the_band_of_a_score():
    """Repeats of other seeds that differ by decibels leave the margin around the original; equal seeds can't tell."""
    original = builders.result()
    scores = [original.summary.psnr_db + each for each in (0.0, 1.5, -1.5)]
    others = [changed(original, psnr_db=score).model_copy(update={"seed": seed}) for seed, score in enumerate(scores)]
    (number,) = [each for each in judge(original, [original], others).numbers if each.name == "psnr_db"]
    assert (number.high - number.low, number.conclusive) == (pytest.approx(1.0), True)
    same = [each.model_copy(update={"seed": 0}) for each in others]
    verdict = judge(original, [original], same)
    assert (verdict.verdict, verdict.undecided) == ("not decided", ("psnr_db: the original's repeats spread too much",))


def test_nothing_is_promised_of_other_work():
    """Losses of another learning rate differ, and nobody promised that they would not."""
    original = builders.result()
    other = builders.result(of=builders.spec(tune={"learning_rate": 1e-3, "seconds": 60.0, "iterations": 200}))
    tuning = other.tuning.model_copy(update={"losses": (9.0, *other.tuning.losses[1:])})
    losses = judge(original, [other.model_copy(update={"tuning": tuning})]).losses
    assert (losses.promised, losses.equal) == (False, False)


def test_the_prediction_interval_is_the_textbooks():
    """Half width t(0.975, 3) s sqrt(1/2 + 1/4) for two further of four values, by SciPy's own t."""
    low, high = prediction_interval([1.0, 2.0, 3.0, 4.0], 2)
    half = t.ppf(0.975, 3) * (5 / 3) ** 0.5 * 0.75**0.5
    assert (low, high) == pytest.approx((2.5 - half, 2.5 + half))


def test_a_path_must_be_given_anew(done, here):
    """A result keeps the last part of a path; the sentence says which option gives it, and the paths are shown."""
    result = rerun.prepare(done[0]).original
    spec = builders.spec(
        model={"family": "schnell", "weights": "pretrained", "path": "FLUX"}, data={"source": "folder", "path": "cats"}
    )
    write_result(here / "stranger", result.model_copy(update={"spec": spec}))
    with pytest.raises(UsageError, match=r"'FLUX'.*'cats'.*--set model.path=PATH --set data.path=PATH"):
        rerun.prepare(here / "stranger")
    asked = rerun.prepare(here / "stranger", ["model.path=weights", "data.path=cats"])
    shown = rerun.announcement(asked, 1)
    assert f"Reads model.path = {here / 'weights'}" in shown
    assert f"Reads data.path = {here / 'cats'}" in shown


def test_a_download_is_announced(done, here):
    """What would be fetched is named with its commit before anything is."""
    result = rerun.prepare(done[0]).original
    model = {"family": "schnell", "weights": "pretrained", "repo": "a/b", "revision": "0" * 40, "download": True}
    write_result(here / "stranger", result.model_copy(update={"spec": builders.spec(model=model)}))
    assert "Downloads, unless it is here already, a/b at 000" in rerun.announcement(rerun.prepare(here / "stranger"), 2)


def test_only_one_completed_result_is_run_again(done, here, small_spec, engine_is):
    """A study of several results and a failed run are refused; a rerun that fails has no verdict."""
    with pytest.raises(UsageError, match="holds 3 results"):
        rerun.prepare(here / "first")
    engine_is("fails")
    run_study([small_spec], out=here / "bad")
    with pytest.raises(UsageError, match="only a completed run"):
        rerun.prepare(here / "bad")
    with pytest.raises(RunError, match="no verdict"):
        rerun.run_again(rerun.prepare(done[0]), out=Path("again"))


@pytest.fixture
def fluxkit(engine_is, capsys):
    """Runs a command line whose engine is the stand-in; gives exit code, standard output and standard error."""
    engine_is("completed")

    def run(*words):
        with pytest.raises(SystemExit) as leaving:
            app.main([str(word) for word in words])
        told = capsys.readouterr()
        return int(leaving.value.code or 0), told.out, told.err

    return run


def test_the_command_asks_first_and_ends_in_a_verdict(fluxkit, done, here, monkeypatch):
    """Refused nothing is run; with --yes the last line is the verdict; any but reproduced ends with exit code 5."""
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    code, out, err = fluxkit("rerun", done[0])
    assert (code, out) == (2, "")
    assert "Once again: small with seed 3" in err
    assert not (here / "runs").exists()
    code, out, _ = fluxkit("rerun", done[0], "--yes", "--out", "a", "--quiet")
    assert code == 0
    assert "the first 40 are equal to the last bit, as promised" in out
    assert out.splitlines()[-1] == "reproduced"
    code, out, err = fluxkit("rerun", done[0], "--yes", "--out", "b", "--set", "tune.lora_rank=4", "--json")
    assert code == 5
    said = json.loads(out)
    assert (said["verdict"], [each["row"] for each in said["differences"]]) == (
        "not comparable",
        ["spec.tune.lora_rank"],
    )
