"""What the GPU computes, and whether the kit can tell its precisions apart."""

from __future__ import annotations

import time

import pytest
import torch

from fluxkit.engine.flux.precision import fp32_products
from fluxkit.engine.measure import agreement_probe, microbenchmark
from fluxkit.machine import device_peaks
from fluxkit.record.agreement_facts import AgreementFacts, departures_of
from fluxkit.trust.ceilings import MOVED, OVER_PEAK
from fluxkit.trust.precision_checks import IEEE_ERROR

PRECISIONS = ("ieee_float32", "tf32", "bfloat16")


def certificate(device, precision):
    return AgreementFacts.model_validate(agreement_probe.certify(device, precision))


def rates(device, precision):
    with fp32_products("tf32" if precision == "tf32" else "ieee"):
        return microbenchmark.measure_rates(device, precision)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_gpu_agrees_with_the_reference(cuda, precision):
    """In each precision the certificate is inside its band."""
    assert departures_of(certificate(cuda, precision)) == []


def test_tf32_does_not_pass_for_float32(cuda):
    """The certificate of TF32, held to the band of IEEE float32, departs from it."""
    posing = certificate(cuda, "tf32").model_copy(update={"precision": "ieee_float32"})
    assert departures_of(posing)


def test_the_product_tells_tf32_from_float32(cuda):
    """The canary's error is that of IEEE float32 where IEEE is asked for, and larger in TF32."""
    assert rates(cuda, "ieee_float32").matmul_relative_error < IEEE_ERROR < rates(cuda, "tf32").matmul_relative_error


def test_a_cold_card_and_a_hot_one_have_one_rate(cuda):
    """After idling and after ten seconds of work the canary says the same within what counts as moved."""
    time.sleep(10)
    cold = rates(cuda, "bfloat16")
    began, work = time.perf_counter(), torch.randn(8192, 8192, device=cuda, dtype=torch.bfloat16)
    while time.perf_counter() - began < 10:
        (work @ work).sum().item()
    hot = rates(cuda, "bfloat16")
    assert hot.matmul_flops_per_second == pytest.approx(cold.matmul_flops_per_second, rel=MOVED["cuda"])
    assert hot.copy_bytes_per_second == pytest.approx(cold.copy_bytes_per_second, rel=MOVED["cuda"])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_ceiling_is_a_plausible_share_of_the_published_peak(cuda, precision):
    """A large product reaches half of the published peak, and not more than the peak."""
    known = device_peaks.peaks_of(torch.cuda.get_device_name(cuda))
    if known is None:
        pytest.skip(f"devices.toml does not know {torch.cuda.get_device_name(cuda)}")
    share = rates(cuda, precision).matmul_flops_per_second / known.peak_flops_per_second(precision)
    assert 0.5 < share < OVER_PEAK
