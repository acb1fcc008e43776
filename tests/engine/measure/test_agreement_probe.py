"""The agreement certificate on this machine: it passes where it should, and finds a device that lies."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import warnings

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fluxkit.engine.flux.precision import switches_in_force
from fluxkit.engine.measure import agreement_probe
from fluxkit.record.agreement_facts import AgreementFacts, departures_of

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def remade():
    """The reference, computed again on this machine."""
    return agreement_probe.make_reference()


def facts(precision, **how):
    return AgreementFacts.model_validate(agreement_probe.certify(CPU, precision, **how))


@pytest.mark.slow
def test_the_stored_reference_is_what_its_recipe_makes(remade):
    """Sizes, seed and weights are equal; the float64 numbers agree to 1e-10."""
    stored = agreement_probe.read_reference()
    assert stored.keys() == remade.keys()
    for key in ("schema", "seed", "config", "weights_sha256"):
        assert stored[key] == remade[key]
    for key in ("losses", "velocity_BLD", "latents_BCHW"):
        assert remade[key] == pytest.approx(stored[key], rel=1e-10, abs=1e-10)


def test_the_reference_really_is_float64():
    """Inside, casts to float32 give float64, so that nothing is rounded on the way."""
    third = torch.tensor(1 / 3, dtype=torch.float64)
    with agreement_probe.Float64():
        assert third.float().dtype == torch.float64
        assert third.float().item() == 1 / 3


def test_the_weights_are_exact_in_bfloat16():
    """Halves times a power of two survive a cast to bfloat16 and back, so only the computing is compared."""
    for name, parameter in agreement_probe.build_probe_transformer().named_parameters():
        assert torch.equal(parameter, parameter.bfloat16().float()), name


def test_the_weights_are_about_normal():
    """Halves of variance 1 and matrices of about unit gain, so that no activation vanishes or explodes."""
    drawn = agreement_probe.halves((512, 512), "any")
    assert {*drawn.unique().tolist()} == {-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5}
    assert float(drawn.square().mean()) == pytest.approx(1, rel=0.02)
    for inputs in (8, 16, 32, 512, 2048, 2560):
        assert agreement_probe.gain(inputs) * inputs**0.5 == pytest.approx(1, abs=0.2)


@pytest.mark.filterwarnings("ignore:Mismatch dtype")  # torch's RMS norm has no fused kernel for autocast, and says so
def test_autocast_passes_as_bfloat16():
    """Full tuning in bfloat16 is certified as it runs: by autocast over FP32 weights, which errs otherwise."""
    automatic, narrow = facts("bfloat16", autocast=True), facts("bfloat16")
    assert departures_of(automatic) == []
    assert automatic.relative_l2 > 1e-3  # really computed in bfloat16
    assert automatic.loss_errors != narrow.loss_errors


@pytest.mark.parametrize("precision", ["ieee_float32", "bfloat16"])
def test_this_cpu_passes(precision):
    """FP32 and bfloat16 on this CPU are inside their bands, and threads and switches are what they were."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    found, threads = facts(precision), torch.get_num_threads()
    torch.set_num_threads(before)
    assert departures_of(found) == []
    assert threads == 2
    assert switches_in_force()["mkldnn.matmul"] == "ieee"


def test_another_instruction_set_passes_with_the_same_weights():
    """A CPU without AVX draws other last bits of noise, and still makes the same weights and passes."""
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": "default", "DNNL_MAX_CPU_ISA": "SSE41"}
    command = [sys.executable, "-m", "fluxkit.engine.measure.agreement_probe"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    found = [AgreementFacts.model_validate_json(line) for line in done.stdout.splitlines()]
    assert [each.precision for each in found] == ["ieee_float32", "bfloat16"]
    assert [departures_of(each) for each in found] == [[], []]


class Tf32Products(TorchDispatchMode):
    """Emulates cuBLAS with TF32 on: it rounds the operands of large enough matrix products to 10 bits of mantissa.

    Source: PyTorch pull 183355, by trial of two million shapes on an H100.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        first = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1}.get(func.overloadpacket.__name__)
        if first is not None:
            left, right = args[first : first + 2]
            rows, terms, columns = *left.shape[-2:], right.shape[-1]
            if rows >= 16 and min(terms, columns) >= 512:
                args = (*args[:first], self.rounded(left), self.rounded(right), *args[first + 2 :])
        return func(*args, **(kwargs or {}))

    @staticmethod
    def rounded(tensor):
        bits = tensor.contiguous().view(torch.int32)
        return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


def test_a_device_that_rounds_products_to_tf32_is_found():
    """Emulated TF32 under the name of FP32 fails by each of the four measures, and under its own name passes."""
    reference, transformer = agreement_probe.read_reference(), agreement_probe.build_probe_transformer()
    with Tf32Products():
        here = agreement_probe.run_probe(transformer, CPU, torch.float32)
    measured = {"weights_equal": True, "seconds": 0.0, **agreement_probe.distances(here, reference)}
    posing = AgreementFacts(precision="ieee_float32", **measured)
    assert posing.relative_l2 > 1e-4
    words = " ".join(departures_of(posing))
    assert all(name in words for name in ("relative L2", "largest error", "loss error", "latents PSNR"))
    assert departures_of(AgreementFacts(precision="tf32", **measured)) == []


def test_a_broken_device_gives_null_and_fails():
    """What is not a finite number is null in the facts, which JSON can say, and never passes."""
    broken = agreement_probe.ProbeOutput(
        torch.full((2, 16, 16), math.nan), [math.inf] * 3, torch.zeros(agreement_probe.LATENTS)
    )
    measured = agreement_probe.distances(broken, agreement_probe.read_reference())
    assert measured["relative_l2"] is None
    assert measured["loss_errors"] == [None] * 3
    assert departures_of(AgreementFacts(precision="bfloat16", weights_equal=True, seconds=0.0, **measured))


def test_other_weights_are_said(monkeypatch):
    """Weights of another hash than the reference's are a fact of the certificate."""
    monkeypatch.setattr(agreement_probe, "parameters_sha256", lambda _: "0" * 64)
    assert facts("ieee_float32").weights_equal is False


def test_the_probe_leaves_a_runs_own_noise_alone():
    """Torch's global stream is where it was, so that a run draws the same with and without a certificate."""
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    agreement_probe.certify(CPU, "ieee_float32")
    assert torch.equal(torch.rand(3), expected)


def test_it_looks_at_no_device_for_its_noise(monkeypatch):
    """With several GPUs torch warns of a stream that is kept on each of them; the probe draws on none."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agreement_probe.build_probe_transformer()


def test_every_run_has_a_certificate(short_run):
    """A run says one certificate for each precision it runs in, outside of all phases, and passes."""
    (said,) = short_run.events("agreement")
    assert said.precision == "ieee_float32"
    assert departures_of(said) == []
