"""Peaks with their sources, and predictions made of them."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from statistics import mean

import pytest
from made_up import SCHNELL

from fluxkit.errors import UsageError
from fluxkit.machine.device_peaks import (
    REFERENCE_CORES,
    device_named,
    efficiency,
    flops_per_second,
    known_devices,
    peaks_of,
)
from fluxkit.machine.readings import Device
from fluxkit.model.pipeline_files import SCHNELL_FOLDER
from fluxkit.plan.plan import make_plan
from fluxkit.plan.plan_table import prediction_table
from fluxkit.plan.predict import predict
from fluxkit.plan.sizes import sizes_of
from fluxkit.record.run_folder import find_results
from fluxkit.spec.workload import ModelSpec

REPORTS = Path(__file__).parents[2] / "reports"


@pytest.fixture
def schnell(spec):
    """Tuning schnell with adapters in bfloat16, its files not on this machine."""
    made = spec(
        execution={"device": "cuda", "precision": "bfloat16"}, data={"resolution": 512}, hardware={"usd_per_hour": 2.0}
    )
    missing = ModelSpec(family="schnell", weights="pretrained", path="/nowhere/schnell")
    return made.model_copy(update={"model": missing})


def test_every_number_has_a_source():
    """Each device states where its numbers come from and when; each efficiency states its origin."""
    names = {device.name for device in known_devices()}
    assert {"laptop-cpu", "A40", "A100-40GB", "A100-80GB", "H100", "H200"} <= names
    for device in known_devices():
        assert device.date[:4].isdigit()
        assert all((device.memory_source, device.flops_source, device.bandwidth_source))
        assert 0 < device.ieee_float32 < device.bfloat16
        for work in ("tuning", "inference"):
            found = efficiency(device, "schnell", work, "bfloat16")
            assert 0 < found.share < 1
            assert found.origin


@pytest.mark.parametrize(
    ("driver_name", "device"),
    [
        ("NVIDIA A40", "A40"), ("NVIDIA A40-8Q", None), ("NVIDIA RTX A4000", None),
        ("NVIDIA A100-SXM4-40GB", "A100-40GB"), ("NVIDIA A100-PCIE-40GB", "A100-40GB"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB"), ("NVIDIA A100 80GB PCIe", "A100-80GB"),
        ("NVIDIA H100 80GB HBM3", "H100"), ("NVIDIA H100 PCIe", None), ("NVIDIA H200", "H200"),
        ("NVIDIA H200 NVL", None), ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None), ("AMD EPYC", None),
    ],
)  # fmt: skip
def test_a_device_is_known_by_its_drivers_name(driver_name, device):
    """Variants with other rates, and slices, are not taken for the whole device."""
    found = peaks_of(driver_name)
    assert (found.name if found else None) == device


def test_an_unknown_name_lists_the_known_ones():
    """A user's slip is answered with the names there are."""
    with pytest.raises(UsageError, match="A100-80GB"):
        device_named("A100")


def test_a_prediction_can_be_worked_out_by_hand(schnell):
    """Seconds are iterations x FLOPs / (peak x share), and money is hours x price."""
    device = device_named("h100")
    found = predict(schnell, device)
    flops = SCHNELL.train_flops(1024, 256, schnell.tune.global_batch_size, lora_rank=schnell.tune.lora_rank)
    assert found.iterations_per_second == pytest.approx(989.4e12 * 0.26 / flops)
    assert found.iteration_seconds == pytest.approx(schnell.tune.iterations / found.iterations_per_second)
    assert found.image_steps_per_second == pytest.approx(66.9e12 * 0.58 / SCHNELL.forward_flops(1024, 256))
    assert found.iterations_usd == pytest.approx(2.0 * found.iteration_seconds / 3600)
    assert found.time_usd == pytest.approx(2.0 * schnell.tune.seconds / 3600)
    assert predict(schnell, device, usd_per_hour=1.0).iterations_usd == pytest.approx(found.iterations_usd / 2)


def test_the_published_speed_is_predicted_again():
    """The stated efficiency gives back what it comes from: schnell in FP32 on an H100, 0.53 image-steps/s."""
    rate = flops_per_second(device_named("H100"), "schnell", "inference", "ieee_float32")
    assert rate / SCHNELL.forward_flops(4096, 256) == pytest.approx(0.53, rel=0.06)


def test_what_does_not_fit_is_refused_with_the_reason(schnell):
    """In FP32 schnell's weights alone exceed an A100 with 40 GB, and the others are predicted all the same."""
    fp32 = schnell.model_copy(update={"execution": schnell.execution.model_copy(update={"precision": "float32"})})
    small, large = predict(fp32, device_named("A100-40GB")), predict(fp32, device_named("H200"))
    assert "needs about" in small.refusal
    assert small.iterations_per_second is None
    assert large.refusal is None
    text = prediction_table(fp32, (small, large), width=1000)
    assert "not measured" in text.splitlines()[0]
    assert small.refusal in text


def test_what_fits_only_within_the_error_is_perhaps(schnell):
    """47.0 GB are asked of an A40's 48, and half of them may be a tenth less: neither refused nor promised."""
    asked = {"inference_weights": "bfloat16", "inference_micro_batch_size": 96}
    execution = schnell.execution.model_copy(update=asked)
    inference = schnell.inference.model_copy(update={"batch_size": 96})
    spec = schnell.model_copy(update={"execution": execution, "inference": inference})
    table = prediction_table(spec, (predict(spec, device_named("A40")),))
    assert re.search(r"^fits +perhaps$", table, re.MULTILINE)
    assert re.search(r"^peak memory +47\.0 of 48 GB$", table, re.MULTILINE)


def test_weights_have_no_error(schnell):
    """The 47.565 GB of FP32 are exact: beside the driver's context an A40 has no room for them."""
    refusal = predict(schnell, device_named("A40")).refusal
    assert refusal.endswith("it would fit with --set execution.inference_weights=bfloat16.")


def test_two_devices_are_twice_as_fast(schnell):
    """Every process has a device; the prediction leaves communication out."""
    two = schnell.model_copy(update={"execution": schnell.execution.model_copy(update={"processes": 2})})
    once, twice = (predict(each, device_named("H100")) for each in (schnell, two))
    assert twice.iterations_per_second == pytest.approx(2 * once.iterations_per_second)


def test_a_plan_on_a_known_gpu_predicts_its_seconds(machine, schnell):
    """On a device of the file a plan says how long it will take; on any other it does not guess."""
    known = machine(2, gpus=1)
    card = Device(kind="cuda", name="NVIDIA H100 80GB HBM3", memory_bytes=80 * 10**9, uuid="GPU-0")
    there = known.model_copy(update={"devices": (known.devices[0], card)})
    plan = make_plan(schnell, there, sizes=sizes_of(schnell, SCHNELL_FOLDER))
    assert plan.predicted_seconds == pytest.approx(predict(schnell, device_named("H100")).iteration_seconds)
    assert plan.predicted_peak_bytes > 24 * 10**9
    assert make_plan(schnell, machine(2, gpus=1), sizes=sizes_of(schnell, SCHNELL_FOLDER)).predicted_seconds is None


@pytest.mark.parametrize(("iterations", "words"), [(200, "pays for itself within 200"), (20, "does not pay")])
def test_a_plan_says_when_compiling_pays(schnell, iterations, words):
    """On an H100 20 s of compiling are even when a third of the seconds of so many steps are as many."""
    tune = schnell.tune.model_copy(update={"iterations": iterations})
    spec = schnell.model_copy(update={"tune": tune})
    found = predict(spec, device_named("H100"))
    step = found.iteration_seconds / iterations
    even = math.ceil(20.0 / (step * 0.33))
    assert f"is even after {even} steps and {words}" in " ".join(found.basis)


@pytest.mark.parametrize("execution", [{"precision": "float32"}, {"quantization": "int8"}])
def test_of_compiling_that_is_not_known_or_not_allowed_a_plan_says_nothing(schnell, execution):
    """FP32 has no published figure, and int8 weights are not compiled."""
    changed = schnell.execution.model_copy(update=execution | {"inference_precision": "bfloat16"})
    spec = schnell.model_copy(update={"execution": changed})
    assert "execution.compile" not in " ".join(predict(spec, device_named("H100")).basis)


@pytest.mark.usefixtures("small_pipeline")
def test_full_tuning_in_bfloat16_has_no_predicted_peak(spec, machine):
    """Where only a lower bound is known, none is stated as a prediction."""
    full = spec(tune={"method": "full"}, execution={"precision": "bfloat16"})
    assert make_plan(full, machine()).predicted_peak_bytes is None


@pytest.mark.usefixtures("small_pipeline")
def test_nano_on_a_gpu_has_no_stated_efficiency(spec):
    """Without a stated efficiency there is no time, and the sentence says so."""
    found = predict(spec(), device_named("A40"))
    assert found.refusal is None
    assert found.iterations_per_second is None
    assert "no efficiency is known" in " ".join(found.basis)


@pytest.mark.usefixtures("small_pipeline")
def test_a_prediction_round_trips(spec):
    """What is printed as JSON reads back equal."""
    found = predict(spec(), device_named("laptop-cpu"))
    assert type(found).model_validate(json.loads(found.model_dump_json())) == found
    assert found.iterations_per_second > 0


def test_the_laptop_is_what_the_committed_results_say():
    """Rates and shares of the laptop are the best canary and the mean speeds of reports/, not typed from memory."""
    laptop, found = device_named("laptop-cpu"), [result for _, result in find_results([REPORTS])]
    single = [result for result in found if result.plan.processes == 1]
    for precision in ("ieee_float32", "bfloat16"):
        moments = [moment for result in single for moment in result.canary if moment.precision == precision]
        best = max(moment.matmul_flops_per_second for moment in moments)
        assert laptop.peak_flops_per_second(precision) == pytest.approx(best, rel=0.002)
        for family in ("nano", "schnell") if precision == "bfloat16" else ("nano",):
            rows = [result for result in single if result.spec.model.family == family]
            rows = [result for result in rows if result.spec.execution.inference_precision == precision]
            rows = [result for result in rows if result.plan.threads_per_process == REFERENCE_CORES]
            tuning = mean(
                row.summary.training_iterations_per_second * row.plan.train_flops_per_iteration for row in rows
            )
            images = mean(
                row.summary.inference_image_steps_per_second * row.plan.forward_flops_per_sample for row in rows
            )
            assert efficiency(laptop, family, "tuning", precision).share == pytest.approx(tuning / best, rel=0.005)
            assert efficiency(laptop, family, "inference", precision).share == pytest.approx(images / best, rel=0.005)


@pytest.mark.usefixtures("small_pipeline")
def test_a_cut_of_the_iterations_is_said(spec):
    """Where tune.max_seconds ends tuning before its iterations, the table says after how many."""
    asked = spec(tune={"iterations": 100_000, "seconds": 5.0, "max_seconds": 10.0})
    found = predict(asked, device_named("laptop-cpu"))
    assert found.cut_after == math.ceil(10.0 * found.iterations_per_second)
    assert f"after about {found.cut_after} of 100000 iterations" in prediction_table(asked, (found,), width=1000)
