"""The agreement certificate is judged from its numbers alone, and a failed one spoils every number of its run."""

from __future__ import annotations

import pytest

from fluxkit.record.agreement_facts import BANDS, AgreementFacts, departures_of
from fluxkit.record.result import AgreementProbe
from fluxkit.trust.certificates import agreement_passed
from fluxkit.trust.run_checks import find

# The CPU measured, in FP32 and bfloat16; products with TF32 operands emulated on it.
SEEN = {
    "ieee_float32": {
        "relative_l2": 2.1e-6, "largest_error": 1e-5, "loss_errors": (1.9e-7, 2.5e-7, 1.6e-7), "latents_psnr_db": 129.7,
    },
    "tf32": {
        "relative_l2": 2.4e-4, "largest_error": 8.9e-4, "loss_errors": (1.6e-5, 1.4e-5, 1.4e-5),
        "latents_psnr_db": 92.1,
    },
    "bfloat16": {
        "relative_l2": 7.6e-3, "largest_error": 3.3e-2, "loss_errors": (1.6e-4, 6.4e-4, 4.5e-4),
        "latents_psnr_db": 41.3,
    },
}  # fmt: skip
OF_THE_FIRST_REFERENCE = {
    "ieee_float32": {
        "relative_l2": 1.6e-6, "largest_error": 5.8e-6, "loss_errors": (3e-7,) * 3, "latents_psnr_db": 132,
    },
    "tf32": {"relative_l2": 5.1e-4, "largest_error": 1.9e-3, "loss_errors": (5.9e-5,) * 3, "latents_psnr_db": 87.3},
    "bfloat16": {"relative_l2": 7.5e-3, "largest_error": 2.3e-2, "loss_errors": (9e-4,) * 3, "latents_psnr_db": 42.9},
}  # fmt: skip
"""Until the reference had products that are large enough for TF32; results of then are judged by what they state."""


def probe(precision="ieee_float32", like=None, **changes):
    return AgreementProbe(
        **{
            "rank": 0,
            "precision": precision,
            "weights_equal": True,
            "seconds": 0.2,
            **SEEN[like or precision],
            **changes,
        }
    )


@pytest.mark.parametrize("precision", BANDS)
def test_what_was_measured_is_inside_its_band(precision):
    """What the two references gave passes, with room on every side."""
    assert departures_of(probe(precision)) == []
    assert departures_of(probe(precision, **OF_THE_FIRST_REFERENCE[precision])) == []


@pytest.mark.parametrize(
    ("claimed", "real"), [("ieee_float32", "tf32"), ("ieee_float32", "bfloat16"), ("tf32", "bfloat16")]
)
def test_a_lower_precision_posing_as_a_higher_one_is_outside(claimed, real):
    """TF32 and bfloat16 numbers under the name of FP32 are found by every one of the four measures."""
    words = " ".join(departures_of(probe(claimed, like=real)))
    assert all(name in words for name in ("relative L2", "largest error", "loss error", "latents PSNR"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights_equal": False}, "another hash"),
        ({"relative_l2": None}, "relative L2 error not a finite number"),
        ({"loss_errors": (1e-7, None, 1e-7)}, "loss error not a finite number"),
        ({"latents_psnr_db": None}, "latents PSNR not a finite number"),
        ({"largest_error": 0.5}, "largest error 0.5, at most 4e-05"),
    ],
)
def test_each_departure_is_named(changes, words):
    """One wrong fact is enough, and it is named with its bound."""
    assert [words in each for each in departures_of(probe(**changes))] == [True]


def test_a_failed_certificate_is_grade_x_for_every_number(base):
    """Quality and both speeds of such a run are not to be used; the check says which rank and precision."""
    bad = base.model_copy(update={"agreement": (probe(), probe(rank=1, relative_l2=0.1))})
    checks = [check for check in find(bad) if check.id == "agreement"]
    assert {check.subject for check in checks} == {"training_speed", "inference_speed", "quality"}
    assert {check.grade for check in checks} == {"X"}
    assert "rank 1 in ieee_float32" in checks[0].evidence
    assert agreement_passed(bad) is False


def test_a_run_without_a_certificate_neither_passes_nor_fails(base):
    """Results of before have none, which is not the same as a failed one."""
    assert base.agreement is None
    assert agreement_passed(base) is None
    assert not [check for check in find(base) if check.id == "agreement"]
    assert agreement_passed(base.model_copy(update={"agreement": (probe(), probe("bfloat16"))})) is True


def test_facts_survive_json():
    """A certificate reads back from its own JSON."""
    facts = AgreementFacts.model_validate(probe().model_dump(exclude={"rank"}))
    assert AgreementFacts.model_validate_json(facts.model_dump_json()) == facts
