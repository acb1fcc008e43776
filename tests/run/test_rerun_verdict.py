"""How the verdict about a run that is done again falls."""

from __future__ import annotations

import builders
import pytest

from fluxkit.record.result import AgreementProbe
from fluxkit.run import rerun
from fluxkit.run.rerun_verdict import judge, verdict_lines


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


def test_a_variable_that_may_change_speed_is_a_row(done):
    """Another allocator is named by its variable; a result that recorded none is not held against one that did."""
    original = rerun.prepare(done[0]).original

    def with_environment(environment):
        ranks = (original.tuning.ranks[0].model_copy(update={"environment": environment}),)
        return original.model_copy(update={"tuning": original.tuning.model_copy(update={"ranks": ranks})})

    plain, other = with_environment({"GOMP_SPINCOUNT": "2000"}), with_environment({"LD_PRELOAD": "libjemalloc.so.2"})
    rows = [difference.row for difference in judge(plain, [other]).differences]
    assert rows == ["environment.GOMP_SPINCOUNT", "environment.LD_PRELOAD"]
    assert judge(with_environment(None), [other]).differences == ()


def test_two_failed_certificates_do_not_make_runs_comparable(done):
    """Both devices computing something else is no agreement."""
    original = rerun.prepare(done[0]).original
    bad = original.agreement[0].model_copy(update={"relative_l2": 1.0})
    first = original.model_copy(update={"agreement": (bad,)})
    assert judge(first, [first.model_copy(update={"id": "e" * 32})]).verdict == "not comparable"


def test_a_number_that_may_not_be_used_is_in_no_verdict(spoilt):
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


def test_a_number_that_was_not_measured_again_is_not_reproduced(changed):
    """A rerun without its inference speed says so, whatever else it gave again."""
    original = builders.result()
    verdict = judge(original, [changed(original, inference_image_steps_per_second=None)])
    assert (verdict.verdict, verdict.undecided) == (
        "not decided",
        ("inference_image_steps_per_second: it was not measured again",),
    )


def test_nothing_is_promised_of_other_work():
    """Losses of another learning rate differ, and nobody promised that they would not."""
    original = builders.result()
    other = builders.result(of=builders.spec(tune={"learning_rate": 1e-3, "seconds": 60.0, "iterations": 200}))
    tuning = other.tuning.model_copy(update={"losses": (9.0, *other.tuning.losses[1:])})
    losses = judge(original, [other.model_copy(update={"tuning": tuning})]).losses
    assert (losses.promised, losses.equal) == (False, False)
