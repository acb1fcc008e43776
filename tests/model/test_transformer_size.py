"""The closed formulas against numbers that others published."""

from __future__ import annotations

import pytest
from made_up import SCHNELL

from fluxkit.errors import MachineError
from fluxkit.model.transformer_size import Transformer

TEXT = 256


def image_tokens(resolution):
    return (resolution // 16) ** 2


def test_schnell_has_its_published_parameters():
    """The formula gives FLUX.1-schnell's 11,891,178,560 parameters."""
    assert SCHNELL.parameters == 11_891_178_560


def test_dev_has_the_guidance_embedder_more():
    """FLUX.1-dev differs by its guidance embedder: 11,901,408,320 parameters."""
    dev = SCHNELL.model_copy(update={"guidance_embeds": True})
    assert dev.parameters == 11_901_408_320


def test_adapters_of_schnell():
    """Rank 16 on all 418 products of the blocks makes 65,372,160 parameters."""
    assert SCHNELL.lora_parameters(16) == 65_372_160


@pytest.mark.parametrize(("resolution", "tera"), [(256, 6.807), (512, 17.686), (1024, 69.467)])
def test_forward_flops_of_schnell(resolution, tera):
    """One denoising step costs 6.8, 17.7 and 69.5 TFLOP at 256, 512 and 1024 pixels."""
    assert SCHNELL.forward_flops(image_tokens(resolution), TEXT) / 1e12 == pytest.approx(tera, abs=5e-4)


@pytest.mark.parametrize(
    ("resolution", "rank", "checkpointing", "tera"),
    [
        (256, 16, False, 13.9),
        (512, 16, False, 36.7),
        (1024, 16, False, 152.9),
        (256, 16, True, 20.7),
        (512, 16, True, 54.5),
        (1024, 16, True, 222.6),
        (256, None, False, 20.4),
        (512, None, False, 53.1),
        (1024, None, False, 208.4),
        (256, None, True, 27.2),
        (512, None, True, 70.7),
        (1024, None, True, 277.9),
    ],
)
def test_training_flops_of_schnell(resolution, rank, checkpointing, tera):
    """A training step costs what independent arithmetic gives, to its last stated digit."""
    flops = SCHNELL.train_flops(image_tokens(resolution), TEXT, lora_rank=rank, gradient_checkpointing=checkpointing)
    assert flops / 1e12 == pytest.approx(tera, rel=0.005)


def test_flops_grow_with_the_batch():
    """Samples of a batch cost the same each."""
    assert SCHNELL.forward_flops(256, TEXT, batch=8) == 8 * SCHNELL.forward_flops(256, TEXT)


def test_a_config_with_more_keys_is_read():
    """Keys of a config.json that change no size are ignored."""
    config = {**SCHNELL.model_dump(), "_class_name": "FluxTransformer2DModel", "axes_dims_rope": [16, 56, 56]}
    assert Transformer.from_config(config, "config.json") == SCHNELL


@pytest.mark.parametrize(
    "change", [{"num_layers": -1}, {"num_layers": "19"}, {"num_layers": None}, {"in_channels": 10**9}]
)
def test_a_config_of_something_else_is_refused(change):
    """A configuration that is no FLUX transformer's is refused by the name of its file and key."""
    with pytest.raises(
        MachineError, match=r"x/config.json does not describe a FLUX transformer: (num_layers|in_channels)"
    ):
        Transformer.from_config({**SCHNELL.model_dump(), **change}, "x/config.json")
