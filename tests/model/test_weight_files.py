"""Wrong models are refused by their headers, in one sentence, before anything is loaded."""

from __future__ import annotations

import json

import pytest
from made_up import write_pipeline

from fluxkit.errors import MachineError
from fluxkit.model.weight_files import check_pipeline, check_safetensors


def change(folder, name, **values):
    file = folder / name
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def refusal(folder):
    with pytest.raises(MachineError) as caught:
        check_pipeline(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path):
    return write_pipeline(tmp_path / "pipeline")


def test_a_whole_flux_pipeline_passes(folder):
    """A FluxPipeline without guidance, with every part and whole files, is accepted."""
    check_pipeline(folder)


def test_a_guided_flux_is_refused(folder):
    """FLUX.1-dev is told by its guidance embedding, and the sentence says so."""
    change(folder, "transformer/config.json", guidance_embeds=True)
    assert "guidance-distilled FLUX (dev)" in refusal(folder)


def test_another_pipeline_is_refused_by_name(folder):
    """Stable Diffusion XL is named as what it is."""
    change(folder, "model_index.json", _class_name="StableDiffusionXLPipeline")
    assert "is a StableDiffusionXLPipeline, not a FluxPipeline" in refusal(folder)


def test_a_missing_part_is_named(folder):
    """A pipeline without its T5 encoder says so, whether the index or the folder lacks it."""
    change(folder, "model_index.json", text_encoder_2=[None, None])
    assert "has no text_encoder_2" in refusal(folder)


def test_a_part_of_another_kind_is_named(folder):
    """An autoencoder of another class is refused by part and class."""
    change(folder, "model_index.json", vae=["diffusers", "AutoencoderTiny"])
    assert "has a AutoencoderTiny as its vae, where FLUX has a AutoencoderKL" in refusal(folder)


def test_pickled_weights_are_never_accepted(folder):
    """A component with only .bin files has no safetensors weights."""
    (folder / "vae" / "model.safetensors").rename(folder / "vae" / "diffusion_pytorch_model.bin")
    assert "only pickled ones, which are never loaded" in refusal(folder)


def test_a_shard_that_the_index_names_must_be_there(folder):
    """A sharded component with a missing shard is refused by the shard's name."""
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model.safetensors"}}
    (folder / "transformer" / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "model-00001-of-00002.safetensors is missing" in refusal(folder)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cut short"),
        (b"\x00" * 8, "cut short"),
        ((10**12).to_bytes(8, "little") + b"{}", "cut short"),
        ((2).to_bytes(8, "little") + b"[]", "damaged header"),
        ((4).to_bytes(8, "little") + b"{{{{", "damaged header"),
    ],
)
def test_a_damaged_weight_file_is_refused(tmp_path, content, words):
    """An empty file, a lying length and a header that is no JSON object are each one sentence."""
    file = tmp_path / "x.safetensors"
    file.write_bytes(content)
    with pytest.raises(MachineError, match=words):
        check_safetensors(file)


def test_a_truncated_weight_file_says_how_much_is_missing(folder):
    """A download that broke off is found by the header's own offsets."""
    header = json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    file = folder / "transformer" / "model.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + b"\x00" * 10)
    assert f"is cut short: {8 + len(header) + 10} of {8 + len(header) + 16} bytes" in refusal(folder)
