"""Card by preset: what is accepted and in which micro-batches, what is refused and with which remedy."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from fluxkit.errors import MachineError
from fluxkit.model.pipeline_files import SCHNELL_FOLDER
from fluxkit.plan.plan import Plan, make_plan
from fluxkit.plan.sizes import sizes_of
from fluxkit.spec.toml import load_spec
from gpu_stand_in.nvml import machine_with

NARROW = "execution.inference_weights=bfloat16"
BFLOAT16 = "execution.inference_precision=bfloat16"
INT8 = "execution.quantization=int8"
WHOLE = ("H100", "H200", "A100-40", "A100-80", "A40", "L40S", "RTX4090", "T4")
SLICES = ("H100/2", "H200/2", "A100-80/2", "A100-40/2")


def plan(preset: str, settings: tuple[str, ...], *words: str) -> Plan:
    """On such cards, with schnell's sizes and without its files."""
    spec = load_spec(preset, list(settings))
    sizes = sizes_of(spec, SCHNELL_FOLDER) if spec.model.family == "schnell" else None
    return make_plan(spec, machine_with(*words), to_run=False, sizes=sizes)


def refusal(preset: str, settings: tuple[str, ...], *words: str) -> str:
    with pytest.raises(MachineError) as caught:
        plan(preset, settings, *words)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def remedies_of(sentence: str) -> tuple[str, ...]:
    """The settings that the sentence proposes."""
    _, found, settings = sentence.partition("it would fit with ")
    return tuple(settings.rstrip(".").removeprefix("--set ").split(" --set ")) if found else ()


def case(preset: str, settings: tuple[str, ...], card: str, expected: Any) -> Any:
    name = " ".join([preset, *(setting.rpartition(".")[2] for setting in settings), "on", card])
    return pytest.param(preset, settings, card, expected, id=name)


SCHNELL, A40, A100 = "schnell-single-gpu", "study-a40", "study-a100"
ACCEPTED = [
    *(case("nano-single-gpu", (), card, (8, 256)) for card in (*WHOLE, *SLICES)),
    *(
        case("nano-single-gpu", ("execution.precision=bfloat16",), card, (8, 256))
        for card in (*WHOLE, *SLICES)
        if card != "T4"
    ),
    # As many images as saturate the device, which memory holds on all of these.
    *(case(SCHNELL, (), card, (4, 64)) for card in ("H100", "H200", "A100-80", "H200/2")),
    *(case(SCHNELL, (NARROW,), card, (4, 64)) for card in ("H100", "H200", "A100-80", "H200/2")),
    *(case(SCHNELL, (NARROW,), card, (4, 64)) for card in ("A100-40", "A40", "L40S", "H100/2", "A100-80/2")),
    *(case(SCHNELL, (BFLOAT16,), card, (4, 64)) for card in ("H100", "A40", "L40S")),
    *(case(SCHNELL, (BFLOAT16, INT8), card, (4, 64)) for card in ("H100", "A100-40", "A40", "L40S", "RTX4090")),
    *(case(study, (), card, (1, 16)) for study in (A40, A100) for card in ("H100", "H200", "A100-80")),
    *(case(study, (), card, (1, 16)) for study in (A40, A100) for card in ("A100-40", "A40", "L40S", "H100/2")),
    *(case(study, (), "RTX4090", (1, 16)) for study in (A40, A100)),
]


@pytest.mark.parametrize(("preset", "settings", "card", "batches"), ACCEPTED)
def test_what_fits_is_planned(preset: str, settings: tuple[str, ...], card: str, batches: tuple[int, int]) -> None:
    """Micro-batches of tuning and of inference; memory may not be said to run out."""
    made = plan(preset, settings, card)
    assert (made.micro_batch_size, made.inference_micro_batch_size) == batches
    assert not [note for note in made.notes if "may run out" in note]


REFUSED = [
    *(case(SCHNELL, (), card, {NARROW}) for card in ("A100-40", "H100/2", "A100-80/2")),
    *(case(SCHNELL, (), card, {NARROW}) for card in ("A40", "L40S")),
    *(case(SCHNELL, (), card, {BFLOAT16, INT8}) for card in ("RTX4090", "A100-40/2")),
    *(case(SCHNELL, (setting,), "RTX4090", {INT8}) for setting in (NARROW, BFLOAT16)),
    *(case(SCHNELL, (setting,), "A100-40/2", {INT8}) for setting in (NARROW, BFLOAT16)),
]


@pytest.mark.parametrize(("preset", "settings", "card", "remedies"), REFUSED)
def test_what_does_not_fit_is_refused_with_what_would(
    preset: str, settings: tuple[str, ...], card: str, remedies: set[str]
) -> None:
    """The sentence names the settings, and with them there is a plan on the same card."""
    sentence = refusal(preset, settings, card)
    proposed = remedies_of(sentence)
    assert set(proposed) >= remedies, sentence
    assert plan(preset, (*settings, *proposed), card).parameters


NOWHERE = [
    case(SCHNELL, (), "T4", "no setting makes it fit"),
    case(SCHNELL, (NARROW,), "T4", "no setting makes it fit"),
    case("nano-single-gpu", (), "V100", "compute capability"),
    case(SCHNELL, (NARROW,), "V100", "compute capability"),
    case(A40, (), "V100", "compute capability"),
    case("nano-single-gpu", ("execution.precision=bfloat16",), "T4", "compute capability"),
    case(A40, (), "T4", "no setting makes it fit"),
]


@pytest.mark.parametrize(("preset", "settings", "card", "words"), NOWHERE)
def test_what_runs_with_no_setting_is_refused(preset: str, settings: tuple[str, ...], card: str, words: str) -> None:
    """A T4 is too small for schnell and knows no bfloat16; torch's CUDA 13 has no kernels for a V100."""
    assert words in refusal(preset, settings, card)


@pytest.mark.parametrize(
    ("preset", "card", "batches"),
    [
        ("nano-multi-gpu", "T4", (2, 64)),
        ("nano-multi-gpu", "H100", (2, 64)),
        ("schnell-multi-gpu", "H100", (1, 64)),
        ("schnell-multi-gpu", "A100-80", (1, 64)),
    ],
)
def test_four_cards_share_the_batches(preset: str, card: str, batches: tuple[int, int]) -> None:
    """Each has a quarter."""
    made = plan(preset, (), card, card, card, card)
    assert (made.micro_batch_size, made.inference_micro_batch_size) == batches
    assert len(set(made.device_uuids)) == 4


@pytest.mark.parametrize("card", ["H100", "A100-80"])
def test_full_tuning_of_schnell_fits_four_cards_of_80_gb(card: str) -> None:
    """Sharded, with recomputed activations: whatever else this machine may lack, it is not memory of the cards."""
    settings = ("tune.method=full", "execution.parallelism=fsdp")
    with suppress(MachineError):
        plan("schnell-multi-gpu", settings, card, card, card, card)
        return
    assert "NVIDIA" not in refusal("schnell-multi-gpu", settings, card, card, card, card)


def test_more_processes_than_cards_are_refused() -> None:
    """The sentence says how many there are, and what to set."""
    sentence = refusal("nano-multi-gpu", (), "H100", "H100")
    assert "it shows 2" in sentence
    assert "execution.processes" in sentence


def test_no_card_is_refused() -> None:
    """With the driver's own reason."""
    assert "NVML Shared Library Not Found" in refusal("nano-single-gpu", ())
