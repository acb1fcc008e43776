"""Adapters of six tools assist tuning with exactly their own strength; what fluxkit saves works in other programs."""

from __future__ import annotations

import json
from itertools import chain

import pytest
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from diffusers.loaders.lora_conversion_utils import _convert_kohya_flux_lora_to_diffusers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from fluxkit.engine.flux.assistant_adapter import Assistant
from fluxkit.engine.flux.transformer import add_lora, save_lora
from fluxkit.errors import MachineError
from fluxkit.model.adapter_file import CONFIG_KEY
from fluxkit.model.tensor_names import bfl_modules, module_shapes
from fluxkit.model.transformer_size import Transformer

RANK, ALPHA = 4, 6.0
SIZES = {
    "num_layers": 1, "num_single_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2, "in_channels": 16,
    "joint_attention_dim": 24, "pooled_projection_dim": 40, "guidance_embeds": False,
}  # fmt: skip
SHAPES = module_shapes(Transformer(**SIZES))
MATRICES = {name: shape for name, shape in SHAPES.items() if len(shape) == 2}
WHOLE = {
    name: (sum(MATRICES[part][0] for part in parts), MATRICES[parts[0]][1])
    for name, parts in bfl_modules(Transformer(**SIZES)).items()
    if parts[0] in MATRICES
}
"""The matrices in the layout of Black Forest Labs."""
ATTENTION = {name: shape for name, shape in MATRICES.items() if ".attn." in name}


def transformer():
    torch.manual_seed(0)
    return FluxTransformer2DModel(patch_size=1, axes_dims_rope=(4, 6, 6), **SIZES)


def factors(shapes, rank=RANK):
    """Random matrices of a LoRA by layer: down (R, I), up (O, R)."""
    torch.manual_seed(1)
    return {name: (torch.randn(rank, inputs), torch.randn(outputs, rank)) for name, (outputs, inputs) in shapes.items()}


def named(layers, down, up, *, alpha=None, underscores=False, prefix=""):
    """A tool's file: the names that it gives the matrices."""
    tensors = {}
    for name, (down_matrix, up_matrix) in layers.items():
        stem = prefix + (name.replace(".", "_") if underscores else name)
        tensors |= {f"{stem}.{down}.weight": down_matrix, f"{stem}.{up}.weight": up_matrix}
        tensors |= {f"{stem}.alpha": torch.tensor(alpha)} if alpha else {}
    return tensors


def changes(path):
    """What the adapter adds to each matrix of the transformer; the rest must stay as it is."""
    base, changed = transformer(), transformer()
    Assistant(str(path)).add(changed, +1.0)
    before = dict(base.named_parameters())
    differences = {name: value - before[name] for name, value in changed.named_parameters()}
    return {name.removesuffix(".weight"): value for name, value in differences.items() if value.abs().max() > 0}


def expect(path, layers, scale):
    """Holds what is added to `scale` times the products of these layers, in either layout."""
    expected = {}
    for layer, (down_matrix, up_matrix) in layers.items():
        parts = bfl_modules(Transformer(**SIZES)).get(layer, (layer,))
        rows = up_matrix.split([MATRICES[part][0] for part in parts])
        for part, part_rows in zip(parts, rows, strict=True):
            if layer == "final_layer.adaLN_modulation.1":
                part_rows = torch.cat(part_rows.chunk(2)[::-1])  # noqa: PLW2901 - shift and scale change places
            expected[part] = scale * part_rows @ down_matrix
    real = changes(path)
    assert real.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.allclose(real[name], value, rtol=1e-4, atol=1e-4), name


def diffusers_config(**values):
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["to_q"], **values).to_dict()
    config = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    return {CONFIG_KEY: json.dumps({f"transformer.{key}": value for key, value in config.items()})}


TOOLS = {
    "kohya": (WHOLE, ("lora_down", "lora_up"), {"alpha": ALPHA, "underscores": True, "prefix": "lora_unet_"}, {}),
    "kohya in dots, for ComfyUI": (WHOLE, ("lora_down", "lora_up"), {"alpha": ALPHA, "prefix": "diffusion_model."}, {}),
    "BFL's names of peft": (WHOLE, ("lora_A", "lora_B"), {"alpha": ALPHA, "prefix": "diffusion_model."}, {}),
    "OneTrainer": (
        MATRICES, ("lora_down", "lora_up"), {"alpha": ALPHA, "underscores": True, "prefix": "lora_transformer_"}, {},
    ),
    "OneTrainer in dots": (MATRICES, ("lora_down", "lora_up"), {"alpha": ALPHA, "prefix": "transformer."}, {}),
    "SimpleTuner": (MATRICES, ("lora_A", "lora_B"), {"prefix": "transformer."}, diffusers_config()),
    "SimpleTuner with alphas": (MATRICES, ("lora_A", "lora_B"), {"alpha": ALPHA, "prefix": "transformer."}, {}),
    "SimpleTuner with LyCORIS": (
        MATRICES, ("lora_down", "lora_up"), {"alpha": ALPHA, "underscores": True, "prefix": "lycoris_"}, {},
    ),
    "diffusers": (MATRICES, ("lora_A", "lora_B"), {"prefix": "transformer."}, diffusers_config()),
    "diffusers of old": (MATRICES, ("lora.down", "lora.up"), {"alpha": ALPHA, "prefix": "transformer."}, {}),
    "diffusers, unprefixed": (MATRICES, ("lora_A", "lora_B"), {}, diffusers_config()),
    "peft's model": (MATRICES, ("lora_A", "lora_B"), {"prefix": "base_model.model."}, diffusers_config()),
    "peft with the adapter's name": (
        MATRICES, ("lora_A.default", "lora_B.default"), {"prefix": "base_model.model."}, diffusers_config(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_s_adapter_is_added_with_its_strength(tmp_path, tool):
    """Every matrix of the transformer gets alpha / rank times the product, whatever the tool calls its parts."""
    shapes, (down, up), names, metadata = TOOLS[tool]
    layers = factors(shapes)
    save_file(named(layers, down, up, **names), tmp_path / "a.safetensors", metadata=metadata)
    expect(tmp_path / "a.safetensors", layers, ALPHA / RANK)


@pytest.mark.parametrize("tool", ["ai-toolkit", "diffusers without configuration"])
def test_without_any_alpha_it_is_the_rank(tmp_path, tool):
    """As diffusers and ComfyUI take it."""
    layers = factors(MATRICES)
    metadata = {"software": json.dumps({"name": tool})}
    save_file(named(layers, "lora_A", "lora_B", prefix="transformer."), tmp_path / "a.safetensors", metadata=metadata)
    expect(tmp_path / "a.safetensors", layers, 1.0)


def test_peft_s_own_folder_is_read_with_its_configuration(tmp_path):
    """What peft saves, rsLoRA with patterns of rank and alpha, changes each layer as peft's own merge does."""
    model = transformer()
    config = LoraConfig(
        r=4, lora_alpha=6, target_modules=["to_q", "to_v", "proj_mlp", "ff.net.2"], init_lora_weights=False,
        use_rslora=True, rank_pattern={"to_v": 2, r"single_transformer_blocks\.1\.proj_mlp": 8},
        alpha_pattern={"to_v": 3, r"transformer_blocks.*\.net\.2": 16},
    )  # fmt: skip
    peft_model = get_peft_model(model, config)
    peft_model.save_pretrained(tmp_path)
    assert (tmp_path / "adapter_config.json").is_file()
    merged = dict(peft_model.merge_and_unload().named_parameters())
    before = dict(transformer().named_parameters())
    real = changes(tmp_path)
    changed = {name for name, value in merged.items() if not torch.equal(value, before[name])}
    assert {f"{name}.weight" for name in real} == changed
    for name, value in real.items():
        assert torch.allclose(before[f"{name}.weight"] + value, merged[f"{name}.weight"], atol=1e-5), name


def test_kohya_at_schnell_s_width_is_what_diffusers_makes_of_it(tmp_path):
    """Where diffusers' converter works, at 3072 channels, both add the same."""
    width = 3072
    layers = factors({
        "double_blocks.3.img_attn.qkv": (3 * width, 8), "double_blocks.3.txt_attn.proj": (width, 8),
        "single_blocks.7.linear1": (7 * width, 8), "single_blocks.7.linear2": (width, 8),
    })  # fmt: skip
    state = named(layers, "lora_down", "lora_up", alpha=ALPHA, underscores=True, prefix="lora_unet_")
    save_file(state, tmp_path / "a.safetensors")
    theirs = _convert_kohya_flux_lora_to_diffusers(dict(state))
    ours = Assistant(str(tmp_path / "a.safetensors"))._factors
    assert {f"transformer.{name}" for name in ours} == {name.split(".lora_")[0] for name in theirs}
    for name, (down_matrix, up_matrix, scale) in ours.items():
        stem = f"transformer.{name}.lora"
        product = theirs[f"{stem}_B.weight"] @ theirs[f"{stem}_A.weight"]
        assert torch.allclose(scale * up_matrix @ down_matrix, product, rtol=1e-4, atol=1e-4), name


def one(**extra):
    """A plain LoRA of one layer, with something else in it."""
    layers = factors({"transformer_blocks.0.attn.to_q": MATRICES["transformer_blocks.0.attn.to_q"]})
    return named(layers, "lora_A", "lora_B", prefix="transformer.") | extra


LAYER = "transformer.transformer_blocks.0.attn.to_q"
VECTOR = torch.ones(32)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (f"{LAYER}.dora_scale", "DoRA"),
        (f"{LAYER}.lora_magnitude_vector", "DoRA"),
        (f"{LAYER}.lora_magnitude_vector.weight", "DoRA"),
        (f"{LAYER}.lora_B.bias", "biases"),
        ("transformer.transformer_blocks.0.attn.to_q.bias", "biases"),
        ("lora_unet_double_blocks_0_img_attn_proj.lokr_w1", "no plain LoRA"),
        ("lora_unet_double_blocks_0_img_attn_proj.hada_w1_a", "no plain LoRA"),
        ("diffusion_model.double_blocks.0.img_attn.proj.diff", "no plain LoRA"),
        ("diffusion_model.double_blocks.0.img_attn.proj.diff_b", "no plain LoRA"),
        ("lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", "text encoder"),
        ("text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_A.weight", "text encoder"),
        ("text_encoders.t5xxl.transformer.encoder.block.0.lora_A.weight", "text encoder"),
        ("transformer.transformer_blocks.0.attn.to_x.lora_A.weight", "not understood"),
        ("unet.down_blocks.0.attentions.0.to_q.lora_A.weight", "not understood"),
        ("transformer.norm_out.linear.weight", "not understood"),
        ("double_blocks.0.processor.qkv_lora1.down.weight", "not understood"),
        ("double_blocks.0.img_attn.norm.query_norm.scale", "not understood"),
        ("base_model.model.transformer_blocks.0.attn.to_q.lora_A.weight", "twice"),
        ("transformer.transformer_blocks.0.attn.to_k.lora_A.weight", "two matrices is missing"),
        ("transformer.transformer_blocks.0.attn.to_k.alpha", "two matrices is missing"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(tmp_path, key, words):
    """A tensor that would be computed wrongly, or left out, is named with why."""
    save_file(one(**{key: VECTOR}), tmp_path / "a.safetensors")
    with pytest.raises(MachineError, match=words) as caught:
        Assistant(str(tmp_path))
    assert key in str(caught.value)
    assert "a.safetensors" in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"lora_bias": True}, "biases"),
        ({"bias": "all"}, "biases"),
        ({"init_lora_weights": "pissa"}, "changed its base"),
    ],
)
def test_what_only_the_configuration_says_is_refused(tmp_path, values, words):
    """The tensors of these look like those of a plain LoRA."""
    save_file(one(), tmp_path / "a.safetensors", metadata=diffusers_config(**values))
    with pytest.raises(MachineError, match=words):
        Assistant(str(tmp_path))


def test_two_strengths_are_refused(tmp_path):
    """An alpha beside the weights that differs from that of the configuration leaves open which is meant."""
    state = one(**{f"{LAYER}.alpha": torch.tensor(2.0)})
    save_file(state, tmp_path / "a.safetensors", metadata=diffusers_config())
    with pytest.raises(MachineError, match="says two things about the strength"):
        Assistant(str(tmp_path))


def test_matrices_that_do_not_fit_each_other_are_refused(tmp_path):
    """A pair of another rank, or of more dimensions, is named."""
    save_file(one(**{f"{LAYER}.lora_B.weight": torch.ones(32, 3)}), tmp_path / "a.safetensors")
    with pytest.raises(MachineError, match=r"\[4, 32\] and \[32, 3\] are no pair"):
        Assistant(str(tmp_path))


@pytest.fixture
def tuned():
    """A transformer whose adapters have alpha = 2.5 x rank and are not zero any more."""
    model = transformer()
    add_lora(model, RANK, 2.5 * RANK, seed=0)
    torch.manual_seed(2)
    for name, value in model.named_parameters():
        if "lora_B" in name:
            value.data.normal_()
    return model


def output(model):
    torch.manual_seed(3)
    inputs = {
        "hidden_states": torch.randn(1, 4, 16), "encoder_hidden_states": torch.randn(1, 5, 24),
        "pooled_projections": torch.randn(1, 40), "timestep": torch.tensor([0.5]),
        "img_ids": torch.zeros(4, 3), "txt_ids": torch.zeros(5, 3),
    }  # fmt: skip
    with torch.no_grad():
        return model(**inputs, return_dict=False)[0]


def test_a_saved_adapter_acts_in_plain_diffusers_as_it_was_tuned(tuned, tmp_path):
    """With alpha unlike the rank, the transformer that loads the file gives the same output."""
    save_lora(tuned, tmp_path)
    state, alphas, metadata = FluxPipeline.lora_state_dict(
        tmp_path, return_alphas=True, return_lora_metadata=True, local_files_only=True
    )
    plain = transformer()
    FluxPipeline.load_lora_into_transformer(state, network_alphas=alphas, transformer=plain, metadata=metadata)
    assert not torch.allclose(output(transformer()), output(tuned), atol=1e-2)
    assert torch.allclose(output(plain), output(tuned), atol=1e-4)


def test_comfyui_s_rule_gives_a_saved_adapter_the_same_strength(tuned, tmp_path):
    """Alpha / rank where a tensor says alpha, else 1, times the product, is what was tuned in every layer.

    Source of the rule: `LoRAAdapter.calculate_weight` of ComfyUI, `comfy/weight_adapter/lora.py`.
    """
    save_lora(tuned, tmp_path)
    state = load_file(tmp_path / "pytorch_lora_weights.safetensors")
    layers = {name: module for name, module in tuned.named_modules() if hasattr(module, "lora_A")}
    assert len(state) == 2 * len(layers)
    for name, module in layers.items():
        down_matrix, up_matrix = (state[f"transformer.{name}.lora_{part}.weight"] for part in "AB")
        alpha = state.get(f"transformer.{name}.alpha")
        strength = 1.0 if alpha is None else alpha.item() / down_matrix.shape[0]
        assert torch.allclose(strength * up_matrix @ down_matrix, module.get_delta_weight("default"), atol=1e-4), name


def test_a_saved_adapter_assists_as_it_was_tuned(tuned, tmp_path):
    """What a run saved can be the assistant of the next, with the same strength."""
    save_lora(tuned, tmp_path)
    real = changes(tmp_path)
    for name, module in tuned.named_modules():
        if hasattr(module, "lora_A"):
            assert torch.allclose(real[name], module.get_delta_weight("default"), atol=1e-4), name


def test_the_tools_cover_every_matrix():
    """The tests above speak of each matrix of a transformer, in both layouts."""
    parts = chain.from_iterable(bfl_modules(Transformer(**SIZES))[name] for name in WHOLE)
    assert set(parts) == set(MATRICES)
    assert set(ATTENTION) < set(MATRICES)
