"""What people give as a model is used, or named as what it is with what to give instead."""

from __future__ import annotations

from unittest import mock

import pytest
from made_up import SCHNELL, write_header, write_pipeline

from fluxkit.errors import MachineError
from fluxkit.model.pipeline_files import pipeline_folder, read_json
from fluxkit.model.single_file import check_model, transformer_config
from fluxkit.model.tensor_names import bfl_tensors
from fluxkit.plan.sizes import sizes_of
from fluxkit.spec.workload import ModelSpec

COMMIT = "0123456789abcdef" * 2 + "01234567"
REPO = {"repo": "maker/schnell", "revision": COMMIT}


def model(path, **values):
    return ModelSpec(family="schnell", weights="pretrained", path=str(path), **values)


def checked(path, environment=None, **values):
    """The folder of what is given, after all that a plan looks at."""
    cache = (environment or {}).get("HF_HUB_CACHE", "/nowhere")
    with mock.patch("huggingface_hub.constants.HF_HUB_CACHE", cache):
        return check_model(model(path, **values))[0]


def refusal(path, environment=None, **values):
    with pytest.raises(MachineError) as caught:
        checked(path, environment, **values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def whole(tmp_path):
    """A pipeline of schnell's sizes, of headers alone."""
    return write_pipeline(tmp_path / "whole", SCHNELL.model_dump())


@pytest.fixture
def single(whole):
    """Black Forest Labs' one file, where their repository has it: beside the folders."""
    write_header(whole / "flux1-schnell.safetensors", bfl_tensors(SCHNELL))
    return whole / "flux1-schnell.safetensors"


def test_the_single_file_takes_the_other_parts_from_its_folder(single):
    """The published file passes, and the pipeline around it gives encoders and autoencoder."""
    assert checked(single) == single.parent


def test_the_single_file_needs_no_transformer_beside_it(single):
    """Neither weights nor configuration of a second transformer are asked for; the sizes are in the file's shapes."""
    for file in (single.parent / "transformer").iterdir():
        file.unlink()
    checked(single)
    config = transformer_config(single, single.parent)
    assert {name: config[name] for name in SCHNELL.model_dump()} == SCHNELL.model_dump()
    assert config["axes_dims_rope"] == [16, 56, 56]


def test_the_sizes_of_a_single_file_are_those_of_its_folder(single, spec):
    """For the plan, for one that is made again when memory ran out, and for a prediction, from the file alone."""
    sizes = sizes_of(spec(model=model(single.parent).model_dump()))
    for file in (single.parent / "transformer").iterdir():
        file.unlink()
    asked = spec(model=model(single).model_dump())
    assert sizes_of(asked) == sizes_of(asked, pipeline_folder(asked.model)) == sizes


def test_the_single_file_takes_the_other_parts_from_the_hub_cache(single, tmp_path):
    """A file that lies elsewhere is completed by the snapshot that model.repo and model.revision name."""
    cache = {"HF_HUB_CACHE": str(tmp_path / "cache")}
    snapshot = write_pipeline(tmp_path / "cache" / "models--maker--schnell" / "snapshots" / COMMIT)
    alone = single.rename(tmp_path / single.name)
    assert checked(alone, cache, **REPO) == snapshot
    assert "one file; FLUX also needs text encoders" in refusal(alone, cache)
    elsewhere = refusal(alone, {"HF_HUB_CACHE": str(tmp_path / "empty")}, **REPO)
    assert f"hf download maker/schnell --revision {COMMIT}" in elsewhere


def test_a_file_that_is_of_no_use_is_told_before_other_parts_are_fetched(tmp_path):
    """A checkpoint that lies alone is named as what it is, not as incomplete."""
    write_header(tmp_path / "sd15.safetensors", {"model.diffusion_model.input_blocks.0.0.weight": (4, 4)})
    assert "is a Stable Diffusion checkpoint" in refusal(tmp_path / "sd15.safetensors", **REPO)
    part = write_pipeline(tmp_path / "whole") / "transformer" / "diffusion_pytorch_model.safetensors"
    assert "give the folder of the whole" in refusal(part, **REPO)


def test_a_prefix_of_the_single_file_is_read(single):
    """The same transformer with the prefix that ComfyUI saves it with passes too."""
    write_header(single, {f"model.diffusion_model.{name}": shape for name, shape in bfl_tensors(SCHNELL).items()})
    checked(single)


def test_a_tensor_that_the_single_file_lacks_is_named(single):
    """By the name that it has in the file."""
    shapes = bfl_tensors(SCHNELL)
    del shapes["double_blocks.7.img_mlp.2.bias"]
    write_header(single, shapes)
    assert "flux1-schnell.safetensors lacks the tensor double_blocks.7.img_mlp.2.bias" in refusal(single)


def test_a_single_file_of_dev_is_refused(single):
    """Told by its guidance."""
    write_header(single, bfl_tensors(SCHNELL.model_copy(update={"guidance_embeds": True})))
    assert "guidance-distilled FLUX (dev)" in refusal(single)


def test_a_single_file_in_eight_bits_is_refused(single):
    """Weights that were rounded to eight bits are not schnell's."""
    write_header(single, bfl_tensors(SCHNELL), dtype="F8_E4M3")
    assert "in F8_E4M3: give weights in BF16" in refusal(single)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["model.diffusion_model.img_in.weight", "text_encoders.t5xxl.shared.weight"], "ComfyUI's all-in-one"),
        (["model.diffusion_model.img_in.weight", "vae.decoder.conv_in.weight"], "ComfyUI's all-in-one"),
        (["model.diffusion_model.input_blocks.0.0.weight", "first_stage_model.x"], "autoencoder in it"),
        (["model.diffusion_model.input_blocks.0.0.weight"], "Stable Diffusion"),
        (["transformer_blocks.0.norm1.linear.weight"], "give the folder of the whole"),
        (["transformer.transformer_blocks.0.attn.to_q.lora_A.weight"], "given as model.assistant_adapter"),
        (["lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight"], "given as model.assistant_adapter"),
        (["decoder.conv_in.weight", "encoder.conv_in.weight"], "is an autoencoder alone"),
        (["encoder.block.0.layer.0.SelfAttention.q.weight"], "is a text encoder alone"),
        (["something"], "is no FLUX transformer"),
        (["img_in.weight", "txt_in.weight"], "is no FLUX transformer"),
    ],
)
def test_another_file_is_named_as_what_it_is(single, names, words):
    """By the names of its tensors."""
    write_header(single, dict.fromkeys(names, (4, 4)))
    assert words in refusal(single)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("flux1-schnell-Q4_0.gguf", b"GGUF\x03", "a GGUF file"),
        ("renamed.safetensors", b"GGUF\x03", "a GGUF file"),
        ("flux.ckpt", b"PK\x03\x04", "no .safetensors file"),
        ("flux.pt", b"", "no .safetensors file"),
        ("flux1-schnell.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        ("flux1-schnell.safetensors", b"", "cut short"),
    ],
)
def test_a_file_of_another_kind_is_named(whole, name, content, words):
    """GGUF, pickles, pointers and broken downloads are each a sentence, and none is loaded."""
    (whole / name).write_bytes(content)
    assert words in refusal(whole / name)


def test_a_folder_of_black_forest_labs_leads_to_its_file(tmp_path):
    """Their layout without diffusers' folders: the single file in it is what to give."""
    write_header(tmp_path / "flux1-schnell.safetensors", {"img_in.weight": (1, 1)})
    write_header(tmp_path / "ae.safetensors", {"decoder.conv_in.weight": (1, 1)})
    assert f"give {tmp_path / 'flux1-schnell.safetensors'}" in refusal(tmp_path)


@pytest.mark.parametrize("levels", range(4))
def test_a_hub_cache_leads_to_its_snapshots(tmp_path, levels):
    """From HF_HOME down to the folder of snapshots, the snapshot to give is named."""
    snapshot = write_pipeline(tmp_path / "hub" / "models--maker--schnell" / "snapshots" / COMMIT)
    given = [*reversed(snapshot.parents)][-1 - levels]
    assert f"hub cache: give {snapshot}" in refusal(given)


def test_a_part_of_a_pipeline_leads_to_the_whole(whole):
    """The transformer's own folder is not enough, and the one above is named."""
    assert f"one part of a pipeline: give {whole}" in refusal(whole / "transformer")


def test_a_folder_of_gguf_is_named(tmp_path):
    """A folder that holds quantized weights alone says so."""
    (tmp_path / "flux1-schnell-Q8_0.gguf").write_bytes(b"GGUF")
    assert "GGUF" in refusal(tmp_path)


@pytest.mark.parametrize(
    "path", ["black-forest-labs/FLUX.1-schnell", "https://huggingface.co/black-forest-labs/FLUX.1-schnell"]
)
def test_a_repository_given_as_a_path_is_told_where_it_belongs(path):
    """Its name or address leads to model.repo and model.revision."""
    assert 'write model.repo = "black-forest-labs/FLUX.1-schnell" and model.revision' in refusal(path)


def test_a_path_that_is_not_there_says_so(tmp_path):
    """A misspelt path is no repository, and no layout is discussed."""
    sentence = refusal(tmp_path / "FLUX.1-schnel")
    assert "is not there. " in sentence
    assert "repo" not in sentence


def test_positions_that_nothing_describes_are_refused(single):
    """Heads of another size than schnell's need the configuration that says how positions are encoded."""
    small = SCHNELL.model_copy(update={"attention_head_dim": 16})
    write_header(single, bfl_tensors(small))
    (single.parent / "transformer" / "config.json").unlink()
    assert "nothing says how they encode positions" in refusal(single)


def test_a_configuration_is_read_whole(whole):
    """The pipeline of these tests is one that passes."""
    assert read_json(whole / "transformer" / "config.json")["num_layers"] == SCHNELL.num_layers
    assert checked(whole) == whole
