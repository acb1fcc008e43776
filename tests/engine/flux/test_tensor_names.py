"""The names and shapes by formula are those of the libraries' own models."""

from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from diffusers.loaders.single_file_utils import convert_flux_transformer_checkpoint_to_diffusers
from made_up import SCHNELL
from safetensors import safe_open
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

from fluxkit.engine.flux.bfl_layout import as_diffusers
from fluxkit.model.pipeline_files import NANO_FOLDER, SCHNELL_FOLDER, read_json
from fluxkit.model.tensor_names import bfl_tensors, clip_tensors, t5_tensors, transformer_tensors, vae_tensors
from fluxkit.model.transformer_size import Transformer


@pytest.mark.parametrize("guidance", [False, True])
@pytest.mark.parametrize("folder", [NANO_FOLDER, SCHNELL_FOLDER])
def test_transformer(folder, guidance):
    """Every tensor of diffusers' transformer has its name and shape, with and without guidance, and no other is."""
    config = FluxTransformer2DModel.load_config(folder, subfolder="transformer") | {"guidance_embeds": guidance}
    with torch.device("meta"):
        state = FluxTransformer2DModel.from_config(config).state_dict()
    sizes = Transformer.from_config(dict(config), "test")
    assert transformer_tensors(sizes) == {name: tuple(value.shape) for name, value in state.items()}


def test_bfl_layout_is_turned_as_diffusers_turns_it():
    """At schnell's height, where diffusers' converter works, every tensor is cut and swapped as it does."""
    sizes = SCHNELL.model_copy(update={"num_layers": 2, "num_single_layers": 1})
    # One column is enough: only rows are cut. Every row has a number of its own.
    checkpoint = {
        name: torch.arange(float(shape[0])).reshape(shape[0], *[1] * (len(shape) - 1)) + 1e6 * number
        for number, (name, shape) in enumerate(bfl_tensors(sizes).items())
    }
    ours = dict(as_diffusers(checkpoint.__getitem__, sizes))
    theirs = convert_flux_transformer_checkpoint_to_diffusers(dict(checkpoint))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("channels", [(8, 8, 16, 16), (8, 16, 16), (8,)])
def test_autoencoder(channels, attention):
    """Every tensor of diffusers' autoencoder is named, whatever its widths, and no other is."""
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(channels), up_block_types=("UpDecoderBlock2D",) * len(channels),
        block_out_channels=channels, layers_per_block=2, norm_num_groups=8, mid_block_add_attention=attention,
        use_quant_conv=attention,
    )  # fmt: skip
    assert vae_tensors(dict(vae.config)) == set(vae.state_dict())


@pytest.mark.parametrize("kind", ["gated-gelu", "relu"])
def test_text_encoders(kind):
    """Every tensor of transformers' encoders has its name and shape, but the embedding that T5 ties."""
    with torch.device("meta"):
        clip = CLIPTextModel(CLIPTextConfig(num_hidden_layers=3))
        t5 = T5EncoderModel(T5Config(num_layers=3, feed_forward_proj=kind))
    shapes = {name.removeprefix("text_model."): tuple(value.shape) for name, value in clip.state_dict().items()}
    assert clip_tensors(clip.config.to_dict()) == shapes
    tied = {"shared.weight", "encoder.embed_tokens.weight"}
    shapes = {name: tuple(value.shape) for name, value in t5.state_dict().items() if name not in tied}
    assert t5_tensors(t5.config.to_dict()) == shapes


def test_nano_has_all_of_them():
    """The embedded weights hold every tensor that the formulas ask for."""
    for part, names in (("vae", vae_tensors), ("text_encoder_2", t5_tensors), ("text_encoder", clip_tensors)):
        (file,) = (NANO_FOLDER / part).glob("*.safetensors")
        with safe_open(file, "pt") as tensors:
            stored = {name.removeprefix("text_model.") for name in tensors.keys()}  # noqa: SIM118 - no mapping
        assert set(names(read_json(NANO_FOLDER / part / "config.json"))) <= stored
