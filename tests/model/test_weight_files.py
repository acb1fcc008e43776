"""Wrong models are refused by their headers, in one sentence, before anything is loaded."""

from __future__ import annotations

import json

import pytest
from made_up import write_header, write_pipeline

from fluxkit.errors import MachineError
from fluxkit.model.weight_files import WEIGHTED, check_pipeline, check_safetensors


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
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    assert "only pickled ones, which are never loaded" in refusal(folder)


def shard(folder, shards, prefix="diffusion_pytorch_model"):
    """Splits the made-up transformer into shards with an index, as diffusers writes them."""
    whole = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    shapes = {name: tuple(entry["shape"]) for name, entry in check_safetensors(whole).items()}
    whole.unlink()
    names = [f"{prefix}-{number + 1:05d}-of-{shards:05d}.safetensors" for number in range(shards)]
    places = {tensor: names[number % shards] for number, tensor in enumerate(shapes)}
    for name in names:
        write_header(whole.with_name(name), {tensor: shapes[tensor] for tensor in shapes if places[tensor] == name})
    (whole.parent / f"{prefix}.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return [whole.with_name(name) for name in names]


def test_shards_pass(folder):
    """A transformer in three files with an index is accepted."""
    shard(folder, 3)
    check_pipeline(folder)


def test_a_shard_that_the_index_names_must_be_there(folder):
    """A missing or renamed shard is refused by its name, with what is there instead."""
    second = shard(folder, 2)[1]
    second.rename(second.with_name("part-2.safetensors"))
    sentence = refusal(folder)
    assert f"{second.name} is missing" in sentence
    assert "part-2.safetensors" in sentence


def test_a_shard_of_another_download_is_refused(folder):
    """A shard without the tensors that the index says are in it is refused by the first of them."""
    first, second = shard(folder, 2)
    first.write_bytes(second.read_bytes())
    assert "lacks the tensor" in refusal(folder)
    assert "though the index says that it is there" in refusal(folder)


@pytest.mark.parametrize("index", ["{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}'])
def test_an_index_without_places_is_refused(folder, index):
    """An index that says nowhere where the tensors are is named."""
    shard(folder, 2)
    (folder / "transformer" / "diffusion_pytorch_model.safetensors.index.json").write_text(index)
    assert "has no weight_map" in refusal(folder)


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("transformer", "diffusion_pytorch_model.bf16.safetensors"),
        ("vae", "diffusion_pytorch_model.fp16.safetensors"),
        ("text_encoder", "model.bf16.safetensors"),
        ("text_encoder_2", "t5xxl_fp16.safetensors"),
        ("text_encoder", "diffusion_pytorch_model.safetensors"),
    ],
)
def test_a_name_that_is_not_loaded_is_refused(folder, part, name):
    """A variant, or a file renamed, is not what the libraries load: both names are told."""
    (weights,) = (folder / part).glob("*.safetensors")
    weights.rename(weights.with_name(name))
    sentence = refusal(folder)
    assert name in sentence
    assert f"only {weights.name} or {weights.name}.index.json are loaded: rename" in sentence


@pytest.mark.parametrize("part", WEIGHTED)
def test_a_missing_tensor_is_named(folder, part):
    """Of each part, a file that lacks one tensor is refused by that tensor's name."""
    (weights,) = (folder / part).glob("*.safetensors")
    shapes = {name: tuple(entry["shape"]) for name, entry in check_safetensors(weights).items()}
    lost = sorted(shapes)[len(shapes) // 2]
    del shapes[lost]
    write_header(weights, shapes)
    assert f"{part} lacks the tensor {lost}; download it again" in refusal(folder)


def test_a_tensor_of_another_size_is_refused(folder):
    """A transformer whose tensors are not those of its configuration is refused with both shapes."""
    change(folder, "transformer/config.json", joint_attention_dim=96)
    assert "context_embedder.weight in the shape [128, 64], where its sizes ask for [128, 96]" in refusal(folder)


def test_an_encoder_of_another_size_is_refused(folder):
    """What transformers only says in a report that is not shown is told with both shapes."""
    change(folder, "text_encoder/config.json", hidden_size=16)
    assert "in the shape [9, 8], where its sizes ask for [9, 16]" in refusal(folder)


def test_another_precision_is_refused(folder):
    """Weights in eight bits need scales that the loader would not apply."""
    (weights,) = (folder / "text_encoder_2").glob("*.safetensors")
    write_header(weights, dict.fromkeys(check_safetensors(weights), (1,)), dtype="F8_E4M3")
    assert "in F8_E4M3: give weights in BF16" in refusal(folder)


def test_a_quantized_part_is_refused(folder):
    """A part that says it is quantized is refused, since another library would have to load it."""
    change(folder, "text_encoder_2/config.json", quantization_config={"quant_method": "bitsandbytes"})
    assert "text_encoder_2 is quantized" in refusal(folder)


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 123\n"


@pytest.mark.parametrize(
    "name",
    [
        "transformer/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "tokenizer/tokenizer.json",
        "tokenizer_2/tokenizer.json",
        "vae/config.json",
    ],
)
def test_a_git_lfs_pointer_is_named_as_such(folder, name):
    """A clone without git lfs leaves pointers: the file and the command that fetches it are told."""
    (folder / name).write_text(POINTER)
    assert f"{name} is a Git LFS pointer, not the file itself; run git lfs pull" in refusal(folder)


@pytest.mark.parametrize("part", ["tokenizer", "tokenizer_2"])
@pytest.mark.parametrize("text", [None, "{}", '{"model": {"vocab": []}}', "[]", "{"])
def test_a_broken_tokenizer_is_refused(folder, part, text):
    """Without a vocabulary transformers asks for tiktoken, or makes every caption the same; it is refused before."""
    file = folder / part / "tokenizer.json"
    file.unlink() if text is None else file.write_text(text)
    sentence = refusal(folder)
    assert part in sentence
    assert "tokenizer.json" in sentence


def test_a_vocabulary_in_the_older_files_passes(folder):
    """CLIP's older pair of files is read by transformers, so it is accepted."""
    (folder / "tokenizer" / "tokenizer.json").unlink()
    for name in ("vocab.json", "merges.txt"):
        (folder / "tokenizer" / name).write_text('{"a": 0}')
    check_pipeline(folder)
    (folder / "tokenizer" / "vocab.json").write_text("{}")
    assert "vocab.json holds no vocabulary" in refusal(folder)


def test_sentencepiece_is_asked_for_before(folder, monkeypatch):
    """T5's older file needs a package: where it is not installed, the sentence says so."""
    (folder / "tokenizer_2" / "tokenizer.json").unlink()
    (folder / "tokenizer_2" / "spiece.model").write_bytes(b"\n\x0e")
    monkeypatch.setattr("fluxkit.model.weight_files.find_spec", lambda _name: None)
    assert "pip install sentencepiece" in refusal(folder)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cut short"),
        (b"\x00" * 8, "cut short"),
        ((10**12).to_bytes(8, "little") + b"{}", "cut short"),
        ((2).to_bytes(8, "little") + b"[]", "damaged header"),
        ((4).to_bytes(8, "little") + b"{{{{", "damaged header"),
        ((35).to_bytes(8, "little") + b'{"a": {"data_offsets": [0, "much"]}}', "damaged header"),
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
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + b"\x00" * 10)
    assert f"is cut short: {8 + len(header) + 10} of {8 + len(header) + 16} bytes" in refusal(folder)


EXTRA = {
    "transformer": "transformer_blocks.9.attn.to_q.weight",
    "vae": "decoder.up_blocks.9.resnets.0.conv1.weight",
    "text_encoder": "text_model.encoder.layers.9.layer_norm1.weight",
    "text_encoder_2": "encoder.block.9.layer.0.layer_norm.weight",
}


@pytest.mark.parametrize(("part", "name"), EXTRA.items())
def test_a_tensor_that_the_sizes_have_no_place_for_is_refused(folder, part, name):
    """Weights of a larger model under the configuration of a smaller one would be cut without a word."""
    (weights,) = (folder / part).glob("*.safetensors")
    shapes = {tensor: tuple(entry["shape"]) for tensor, entry in check_safetensors(weights).items()}
    write_header(weights, {**shapes, name: (4,)})
    assert f"holds the tensor {name.removeprefix('text_model.')}, which its sizes have no place for" in refusal(folder)


def test_what_a_whole_t5_or_clip_has_beside_its_encoder_passes(folder):
    """Decoder, head and projection of the published models are not FLUX's, and nothing hangs on them."""
    for part, names in {
        "text_encoder": ("logit_scale", "visual_projection.weight", "embeddings.position_ids"),
        "text_encoder_2": (
            "lm_head.weight",
            "decoder.block.0.layer.0.layer_norm.weight",
            "encoder.embed_tokens.weight",
        ),
    }.items():
        (weights,) = (folder / part).glob("*.safetensors")
        shapes = {tensor: tuple(entry["shape"]) for tensor, entry in check_safetensors(weights).items()}
        write_header(weights, shapes | dict.fromkeys(names, (4,)))
    check_pipeline(folder)


def test_dev_weights_under_a_configuration_of_schnell_are_told_by_their_tensors(folder):
    """A copied config.json does not make another model of them."""
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    shapes = {tensor: tuple(entry["shape"]) for tensor, entry in check_safetensors(weights).items()}
    write_header(weights, {**shapes, "time_text_embed.guidance_embedder.linear_1.bias": (4,)})
    assert "guidance-distilled FLUX (dev)" in refusal(folder)


def test_a_prefix_is_read_of_the_part_that_may_have_it(folder):
    """transformers takes `text_model.` off CLIP's names alone; of T5 every weight would be drawn anew."""
    for part, passes in {"text_encoder": True, "text_encoder_2": False}.items():
        (weights,) = (folder / part).glob("*.safetensors")
        shapes = {tensor: tuple(entry["shape"]) for tensor, entry in check_safetensors(weights).items()}
        write_header(weights, {f"text_model.{tensor}": shape for tensor, shape in shapes.items()})
        if passes:
            check_pipeline(folder)
    assert "text_encoder_2 lacks the tensor" in refusal(folder)


@pytest.mark.parametrize(
    "values", [{"out_channels": 32}, {"patch_size": 2}, {"axes_dims_rope": [4, 4, 4]}, {"axes_dims_rope": None}]
)
def test_a_transformer_that_diffusers_builds_otherwise_is_refused(folder, values):
    """Found when it computes, minutes later, by a message about shapes."""
    change(folder, "transformer/config.json", **values)
    assert "does not describe a FLUX transformer" in refusal(folder)


def test_a_tokenizer_of_the_other_encoder_is_refused(folder):
    """CLIP's vocabulary is a mapping and T5's a list."""
    first, second = folder / "tokenizer" / "tokenizer.json", folder / "tokenizer_2" / "tokenizer.json"
    second.write_text(first.read_text())
    assert "tokenizer_2/tokenizer.json is that of another text encoder" in refusal(folder)


@pytest.mark.parametrize("longest", [None, 1e30, 10**30, "77", 0])
def test_a_tokenizer_states_its_longest_caption(folder, longest):
    """Without it transformers takes a number that its own code can't hold."""
    change(folder, "tokenizer/tokenizer_config.json", model_max_length=longest)
    assert "does not state model_max_length" in refusal(folder)


@pytest.mark.parametrize("name", ["model_index.json", "transformer/config.json", "text_encoder/config.json"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_json_that_the_libraries_do_not_read_is_refused(folder, name, encoding):
    """An editor's byte order mark ends their reading; the sentence says so."""
    file = folder / name
    file.write_bytes(file.read_text().encode(encoding))
    assert f"{name} is not JSON in UTF-8 without a byte order mark" in refusal(folder)


def written(file, *entries, data=16):
    names = {
        f"t{number}": dict(zip(("dtype", "shape", "data_offsets"), entry, strict=True))
        for number, entry in enumerate(entries)
    }
    header = json.dumps(names).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(data))
    return file


@pytest.mark.parametrize(
    ("entries", "data", "words"),
    [
        ([("F32", [4], [0, 16])], 20, "longer than its header says"),
        ([("F32", [2], [0, 8]), ("F32", [2], [4, 12])], 12, "damaged header"),
        ([("F32", [2], [0, 8]), ("F32", [1], [12, 16])], 16, "damaged header"),
        ([("BF16", [4], [0, 16])], 16, "damaged header"),
        ([("F32", [4], [16, 0])], 16, "damaged header"),
    ],
)
def test_a_header_that_does_not_cover_its_file_is_refused(tmp_path, entries, data, words):
    """Overlaps, holes, other lengths than the shape's, and bytes behind the last tensor: safetensors loads none."""
    with pytest.raises(MachineError, match=words):
        check_safetensors(written(tmp_path / "x.safetensors", *entries, data=data))
