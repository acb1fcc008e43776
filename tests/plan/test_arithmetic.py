"""What older GPUs can't compute is refused with what they can."""

from __future__ import annotations

import pytest

from fluxkit.errors import MachineError
from fluxkit.machine.readings import Reading
from fluxkit.plan.plan import make_plan
from fluxkit.spec.toml import load_spec


def refusal(system, *settings):
    with pytest.raises(MachineError) as caught:
        make_plan(load_spec("nano-single-gpu", list(settings)), system)
    return str(caught.value)


@pytest.fixture
def card(machine):
    """A machine with one GPU of a generation."""

    def make(capability, **packages):
        system = machine(gpus=1)
        reading = Reading(value=capability, source="test")
        readings = system.readings | {"gpu_0_compute_capability": reading, "nvidia_driver": reading}
        return system.model_copy(update={"readings": readings, "packages": system.packages | packages})

    return make


@pytest.mark.parametrize(
    ("settings", "mend"),
    [
        (["precision=bfloat16"], ["precision=float32"]),
        (["inference_precision=tf32"], ["inference_precision=ieee_float32"]),
        (
            ["precision=bfloat16", "inference_precision=bfloat16"],
            ["precision=float32", "inference_precision=ieee_float32"],
        ),
    ],
)
def test_what_came_with_ampere_is_refused_before_it(card, settings, mend):
    """A T4 or an RTX 2080 has no bfloat16 and no TF32; the settings of the sentence make a plan."""
    sentence = refusal(card(7.5), *(f"execution.{setting}" for setting in settings))
    assert sentence.endswith(f"it would run with {' '.join(f'--set execution.{setting}' for setting in mend)}.")
    assert make_plan(load_spec("nano-single-gpu", [f"execution.{setting}" for setting in mend]), card(7.5)).parameters
    assert make_plan(
        load_spec("nano-single-gpu", [f"execution.{setting}" for setting in settings]), card(8.0)
    ).parameters


def test_weights_stored_in_bfloat16_need_no_arithmetic(card):
    """They are widened before they are computed with."""
    spec = load_spec("nano-single-gpu", ["execution.inference_weights=bfloat16"])
    assert make_plan(spec, card(7.5)).parameters


@pytest.mark.parametrize(
    ("capability", "cuda", "refused"), [(7.0, "13.0", True), (6.1, "13.2", True), (7.0, "12.6", False)]
)
def test_a_gpu_without_kernels_is_refused(card, capability, cuda, refused):
    """CUDA 13 compiles nothing for Volta and what came before it."""
    system = card(capability, **{"nvidia-cuda-runtime": cuda})
    system = system.model_copy(
        update={"readings": system.readings | {"nvidia_driver": Reading(value="580.1", source="test")}}
    )
    if refused:
        assert f"kernels from compute capability 7.5 on, but Test GPU has {capability}" in refusal(system)
    else:
        assert make_plan(load_spec("nano-single-gpu"), system).parameters


def test_a_driver_that_does_not_tell_refuses_nothing(machine):
    """What is not known is left to the run."""
    assert make_plan(load_spec("nano-single-gpu", ["execution.precision=bfloat16"]), machine(gpus=1)).parameters
