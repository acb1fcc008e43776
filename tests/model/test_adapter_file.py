"""Which file is meant by an adapter's path, and what the plan refuses of it before anything is loaded."""

from __future__ import annotations

import json

import pytest
from made_up import write_header, write_pipeline

from fluxkit.errors import MachineError
from fluxkit.model.adapter_file import CONFIG_KEY, adapter_files, read_adapter
from fluxkit.plan.plan import make_plan

LAYER = "transformer.transformer_blocks.0.attn.to_q"
SHAPES = {f"{LAYER}.lora_A.weight": (4, 32), f"{LAYER}.lora_B.weight": (32, 4)}


def refusal(path):
    with pytest.raises(MachineError) as caught:
        read_adapter(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_of_one_file_is_that_file(tmp_path):
    """With peft's configuration beside it, which is a part of the adapter and of its hash."""
    write_header(tmp_path / "any-name.safetensors", SHAPES)
    assert adapter_files(str(tmp_path)) == [tmp_path / "any-name.safetensors"]
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 8, "r": 4}))
    assert [file.name for file in adapter_files(str(tmp_path))] == ["any-name.safetensors", "adapter_config.json"]
    assert read_adapter(str(tmp_path)).config["lora_alpha"] == 8


def test_of_two_files_in_a_folder_one_is_asked_for(tmp_path):
    """Both are named; given itself, either is taken."""
    for name in ("first.safetensors", "second.safetensors"):
        write_header(tmp_path / name, SHAPES)
    assert "holds 2 adapters (first.safetensors, second.safetensors); name the one" in refusal(tmp_path)
    assert read_adapter(str(tmp_path / "second.safetensors")).file.name == "second.safetensors"


def test_what_is_no_adapter_is_refused(tmp_path):
    """A folder without one, a pickle, an empty file, a pointer, eight bits and a model are each a sentence."""
    assert "folder without a .safetensors file" in refusal(tmp_path)
    (tmp_path / "adapter_model.bin").write_bytes(b"PK")
    assert "no .safetensors file; others may hold pickled code" in refusal(tmp_path / "adapter_model.bin")
    file = tmp_path / "a.safetensors"
    file.write_bytes(b"")
    assert "cut short" in refusal(file)
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "Git LFS pointer" in refusal(file)
    write_header(file, {})
    assert "holds no tensor" in refusal(file)
    write_header(file, SHAPES, dtype="F8_E4M3")
    assert "stored in F8_E4M3" in refusal(file)
    write_header(file, {"double_blocks.0.img_attn.proj.weight": (4, 4)})
    assert "not understood (double_blocks.0.img_attn.proj.weight)" in refusal(file)


@pytest.mark.parametrize(
    "text", ["[", "[1]", '{"transformer.lora_alpha": "8"}', '{"transformer.alpha_pattern": {"a": []}}']
)
def test_a_broken_configuration_does_not_end_in_a_traceback(tmp_path, text):
    """What is no JSON object says nothing of the strength, and is refused like a number that is none."""
    write_header(tmp_path / "a.safetensors", SHAPES, **{CONFIG_KEY: text})
    if text[0] == "[":
        with pytest.raises(MachineError, match="its configuration is damaged"):
            read_adapter(str(tmp_path))
    else:
        assert "alpha is no number" in refusal(tmp_path)


def test_a_misspelt_path_is_refused_by_the_plan(tmp_path, machine, spec):
    """Before anything is loaded, and so is an adapter that can't be used."""
    model = {"family": "schnell", "weights": "pretrained", "path": str(write_pipeline(tmp_path / "pipeline"))}
    asked = spec(model={**model, "assistant_adapter": str(tmp_path / "assistent.safetensors")})
    with pytest.raises(MachineError, match=r"assistent.safetensors' is not there; give a LoRA file"):
        make_plan(asked, machine())
    write_header(tmp_path / "assistent.safetensors", {**SHAPES, f"{LAYER}.dora_scale": (32,)})
    with pytest.raises(MachineError, match="DoRA"):
        make_plan(asked, machine())
    fit = {f"{LAYER}.lora_A.weight": (4, 128), f"{LAYER}.lora_B.weight": (128, 4)}
    write_header(tmp_path / "assistent.safetensors", fit)
    assert make_plan(asked, machine()).parameters


OTHER_SIZES = {
    "another width": SHAPES,
    "matrices swapped": {f"{LAYER}.lora_A.weight": (128, 4), f"{LAYER}.lora_B.weight": (4, 128)},
    "a block that is not there": {
        "transformer.transformer_blocks.7.attn.to_q.lora_A.weight": (4, 128),
        "transformer.transformer_blocks.7.attn.to_q.lora_B.weight": (128, 4),
    },
    "dev's guidance": {
        "transformer.time_text_embed.guidance_embedder.linear_1.lora_A.weight": (4, 256),
        "transformer.time_text_embed.guidance_embedder.linear_1.lora_B.weight": (128, 4),
    },
    "rows of one of three": {
        "diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight": (4, 128),
        "diffusion_model.double_blocks.0.img_attn.qkv.lora_B.weight": (128, 4),
    },
}


@pytest.mark.parametrize("shapes", OTHER_SIZES.values(), ids=OTHER_SIZES)
def test_an_adapter_of_another_size_is_refused_by_the_plan(tmp_path, machine, spec, shapes):
    """Its layers are compared with the transformer's before anything is loaded."""
    model = {"family": "schnell", "weights": "pretrained", "path": str(write_pipeline(tmp_path / "pipeline"))}
    write_header(tmp_path / "a.safetensors", shapes)
    with pytest.raises(MachineError, match=r"which this transformer has not in that size\. Give a plain LoRA"):
        make_plan(spec(model={**model, "assistant_adapter": str(tmp_path / "a.safetensors")}), machine())


def test_a_layer_named_in_both_layouts_is_refused(tmp_path):
    """The second would take the place of the first without a word."""
    fused = {
        "double_blocks.0.img_attn.qkv.lora_A.weight": (4, 32),
        "double_blocks.0.img_attn.qkv.lora_B.weight": (96, 4),
    }
    write_header(tmp_path / "a.safetensors", SHAPES | fused)
    assert "changes transformer_blocks.0.attn.to_q twice" in refusal(tmp_path)


@pytest.mark.parametrize(
    "config",
    [
        {"lora_alpha": float("nan")}, {"lora_alpha": float("inf")}, {"lora_alpha": True}, {"lora_alpha": None},
        {"alpha_pattern": {"to_q": float("-inf")}}, {"alpha_pattern": {"(": 3}}, {"use_qalora": True},
        {"alora_invocation_tokens": [1]}, {"layer_replication": [[0, 4]]}, {"target_parameters": ["proj"]},
        {"init_lora_weights": "lora_ga"}, [], "\ufeff{}",
    ],
    ids=str,
)  # fmt: skip
def test_a_configuration_that_is_not_understood_is_refused(tmp_path, config):
    """Each asks for another product than alpha / rank times two matrices; the advice is about adapters."""
    write_header(tmp_path / "a.safetensors", SHAPES)
    (tmp_path / "adapter_config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    assert refusal(tmp_path).endswith("Give a plain LoRA for the FLUX transformer.")
