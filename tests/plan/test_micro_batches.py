"""What fits: micro-batches chosen by predicted bytes, refusals that say what would fit, and times that say hours."""

from __future__ import annotations

import re

import pytest
from made_up import SCHNELL

from fluxkit.errors import MachineError
from fluxkit.machine.device_peaks import saturation
from fluxkit.machine.readings import Reading
from fluxkit.model.pipeline_files import SCHNELL_FOLDER, read_sizes
from fluxkit.plan.micro_batches import Room, largest_divisor, peak_bytes, saturating_images
from fluxkit.plan.plan import make_plan
from fluxkit.plan.sizes import sizes_of
from fluxkit.spec.toml import load_spec

GB = 10**9
RANDOM = "model.weights=random"
SIZES = read_sizes(SCHNELL_FOLDER)


def random(name="schnell-single-gpu", *settings):
    return load_spec(name, [RANDOM, *settings])


def with_gpus(machine, memory_bytes, gpus=1):
    system = machine(gpus=gpus)
    cards = tuple(
        each.model_copy(update={"memory_bytes": memory_bytes}) if each.kind == "cuda" else each
        for each in system.devices
    )
    return system.model_copy(update={"devices": cards})


def refusal(spec, system):
    with pytest.raises(MachineError) as caught:
        make_plan(spec, system)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def int8(machine, **more):
    system = machine(**more)
    return system.model_copy(update={"packages": system.packages | {"torchao": "0.18.0"}})


def test_the_embedded_architecture_is_schnells():
    """The configuration files that ship without weights describe 11,891,178,560 parameters, 8 pixels per latent."""
    assert SIZES.transformer == SCHNELL
    assert SIZES.transformer.parameters == 11_891_178_560
    assert (SIZES.vae_factor, SIZES.max_text_tokens) == (8, 512)


@pytest.mark.parametrize("name", ["schnell-laptop-cpu", "schnell-single-gpu", "schnell-multi-gpu"])
def test_one_override_plans_the_whole_architecture_without_files(machine, name):
    """With random weights the presets need no repository: the plan has every parameter, and says what it lacks."""
    system = int8(machine, gpus=4, memory_bytes=24 * GB)
    plan = make_plan(load_spec(name, [RANDOM]), system)
    assert plan.parameters == 11_891_178_560
    assert any("Random weights have no quality" in note for note in plan.notes)


def test_what_saturates_the_device_is_taken_as_far_as_it_fits(machine):
    """More memory means larger micro-batches, always divisors, up to the first that is published to saturate it."""
    found = [make_plan(random(), with_gpus(machine, size * GB)) for size in (50, 52, 56, 80, 141)]
    taken = [plan.inference_micro_batch_size for plan in found]
    assert taken == sorted(taken)
    assert taken[0] < taken[-2] == taken[-1] == 64 <= saturating_images(random(), sizes_of(random()))
    assert all(256 % each == 0 for each in taken)
    assert all(plan.micro_batch_size * plan.accumulation_steps == 4 for plan in found)


def test_the_next_larger_one_would_not_have_fitted(machine):
    """The choice is the boundary: what was taken fits with the prediction's error, twice as much does not."""
    spec, have = random(), 52 * GB
    plan = make_plan(spec, with_gpus(machine, have))
    room, peaks = Room("a GPU", have, GB), peak_bytes(spec, sizes_of(spec))
    assert room.holds(peaks.inference[plan.inference_micro_batch_size])
    assert not room.holds(peaks.inference[2 * plan.inference_micro_batch_size])


@pytest.mark.parametrize(("resolution", "size"), [(64, 64), (128, 16), (256, 4)])
def test_an_images_tokens_decide_how_many_saturate(machine, resolution, size):
    """The embedded model takes as many images as were measured to be fastest, and fewer where each has more tokens."""
    plan = make_plan(load_spec("nano-laptop-cpu", [f"data.resolution={resolution}"]), machine())
    assert plan.inference_micro_batch_size == size
    assert f"{size} images per pass of the 256 that each process denoises: more are no faster." in " ".join(plan.notes)


def test_what_else_uses_the_memory_now_is_no_part_of_the_choice(machine):
    """Repeats of one configuration take equal micro-batches: size is decided by the device, not by what is free."""
    system = machine()
    busy = {
        "memory_available_bytes": Reading(value=GB, source="test"),
        "load_average_1_minute": Reading(value=9.0, source="test"),
    }
    less = system.model_copy(update={"readings": system.readings | busy})
    plans = [make_plan(load_spec("nano-laptop-cpu", []), one) for one in (system, less)]
    assert plans[0].inference_micro_batch_size == plans[1].inference_micro_batch_size


@pytest.mark.parametrize("family", ["nano", "schnell"])
@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_every_saturation_names_its_source(family, kind):
    """No kind of device is without a number, and no number is without where it comes from."""
    stated = saturation(family, kind)
    assert stated.tokens > 0
    assert stated.origin.startswith(("measured", "assumed", "diffusers-torchao"))


def test_each_batch_is_chosen_against_its_own_peak(machine):
    """What inference needs takes nothing from tuning: beside 50 GB of FP32 weights, four samples still fit at once."""
    plan = make_plan(random(), with_gpus(machine, 50 * GB))
    assert (plan.micro_batch_size, plan.accumulation_steps) == (4, 1)
    assert plan.inference_micro_batch_size < 16


def test_what_cannot_halve_any_more_has_to_fit(machine):
    """Weights are exact, so a tenth less of them is no hope; the driver's reserve and its context are taken off."""
    system = with_gpus(machine, 49 * GB)
    assert make_plan(random(), system).inference_micro_batch_size >= 1
    reserved = {"gpu_0_memory_reserved_bytes": Reading(value=GB // 2, source="test")}
    less = system.model_copy(update={"readings": system.readings | reserved})
    sentence = refusal(random(), less)
    assert "49.0 GB, of which the driver and its context take 1.5 GB" in sentence
    assert sentence.endswith("it would fit with --set execution.inference_weights=bfloat16.")
    narrow = random("schnell-single-gpu", "execution.inference_weights=bfloat16")
    assert peak_bytes(narrow, sizes_of(narrow)).inference[1].total == pytest.approx(24.3 * GB, rel=0.01)


def test_several_processes_leave_room_to_talk(machine):
    """NCCL's buffers are set aside on each card, and DDP's are predicted."""
    one, two = random(), random("schnell-single-gpu", "execution.processes=2")
    bucket = peak_bytes(two, sizes_of(two)).tuning[1].total - peak_bytes(one, sizes_of(one)).tuning[1].total
    assert bucket == 4 * SCHNELL.lora_parameters(16)
    assert "take 1.7 GB" in refusal(two, with_gpus(machine, 20 * GB, gpus=2))


def test_tuning_takes_what_fits_and_accumulates_the_rest(machine):
    """Without checkpointing a card of 60 GB holds fewer samples of a batch of 64 than one of 141 GB."""
    spec = random("schnell-single-gpu", "execution.gradient_checkpointing=false", "tune.global_batch_size=64",
                  "execution.inference_precision=bfloat16")  # fmt: skip
    small, large = (make_plan(spec, with_gpus(machine, size * GB)) for size in (60, 141))
    assert 1 <= small.micro_batch_size < large.micro_batch_size
    assert small.micro_batch_size * small.accumulation_steps == 64


def test_a_micro_batch_that_cannot_fit_is_refused_with_the_one_word_that_helps(machine):
    """What the spec insists on is checked; `auto` would have fitted, and the sentence says so."""
    spec = random("schnell-single-gpu", "execution.inference_micro_batch_size=256")
    assert refusal(spec, with_gpus(machine, 56 * GB)).endswith(
        "it would fit with --set execution.inference_micro_batch_size=auto."
    )


def test_what_fits_nowhere_in_fp32_is_told_what_would(machine):
    """A laptop of 24 GB can't hold FP32; the settings of the sentence make a plan on the same machine."""
    settings = ["execution.quantization=none", "execution.precision=float32",
                "execution.inference_precision=ieee_float32"]  # fmt: skip
    system = int8(machine, memory_bytes=24 * GB)
    sentence = refusal(load_spec("schnell-laptop-cpu", [RANDOM, *settings]), system)
    assert "even one sample at a time" in sentence
    remedies = re.findall(r"--set (\S+[a-z0-9])", sentence)
    assert "execution.quantization=int8" in remedies
    assert make_plan(load_spec("schnell-laptop-cpu", [RANDOM, *settings, *remedies]), system).parameters


def test_what_no_setting_makes_fit_names_the_memory_that_would(machine):
    """On 8 GB nothing helps, and the sentence gives the memory of a device that would do."""
    spec = load_spec("schnell-laptop-cpu", [RANDOM])
    sentence = refusal(spec, int8(machine, memory_bytes=8 * GB))
    size = re.search(r"a device with ([\d.]+) GB would do", sentence)
    assert size, sentence
    bigger = int8(machine, memory_bytes=round(float(size[1]) * GB) + GB // 10)
    assert make_plan(spec, bigger).micro_batch_size >= 1


def test_the_laptop_is_predicted_near_what_was_measured_elsewhere():
    """The int8 LoRA step of the whole architecture took 15.32 GB resident (notes of another machine): within 20 %."""
    spec = load_spec("schnell-laptop-cpu", [RANDOM])
    peaks = peak_bytes(spec, sizes_of(spec))
    assert max(peaks.tuning[1].total, peaks.inference[1].total) == pytest.approx(15.32 * GB, rel=0.2)


def test_a_cpu_is_told_hours_and_the_coverage(machine):
    """A batch of 256 takes a laptop hours: the plan says how many, and which share of it the limit leaves time for."""
    plan = make_plan(load_spec("schnell-laptop-cpu", [RANDOM]), int8(machine, memory_bytes=24 * GB))
    assert plan.predicted_batch_seconds > 5 * 3600
    assert 0 < plan.predicted_inference_coverage < 0.1
    steps = plan.predicted_inference_coverage * 256 / plan.inference_micro_batch_size
    assert steps == pytest.approx(round(steps)), "whole micro-batches only"
    (note,) = (note for note in plan.notes if "One batch of 256" in note)
    assert "hours in bfloat16, and about" in note
    assert "hours in ieee_float32" in note
    assert any("they may be far off" in note for note in plan.notes), "the CPU is not known"


def test_a_batch_that_there_is_time_for_has_no_word_about_coverage(machine):
    """Nano's batch takes seconds, so all of it is timed."""
    plan = make_plan(load_spec("nano-laptop-cpu"), machine())
    assert plan.predicted_inference_coverage == 1.0
    assert not any("coverage" in note for note in plan.notes)


@pytest.mark.parametrize(("share", "limit", "largest"), [(8, 8, 8), (8, 7, 4), (6, 5, 3), (7, 6, 1), (1, 4, 1)])
def test_micro_batches_divide_their_share(share, limit, largest):
    """Only whole micro-batches are used."""
    assert largest_divisor(share, limit) == largest
