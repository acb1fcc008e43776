"""A schnell pipeline that fluxkit did not make: tuned, sampled, and its adapter used elsewhere."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from peft import LoraConfig, get_peft_model_state_dict
from real_engine import run_engine, small_spec
from safetensors import safe_open
from safetensors.torch import save_file

from fluxkit.engine.data.prepare import prepare_data
from fluxkit.engine.data.tensor_cache import cached_tensors
from fluxkit.engine.data.weights_hash import weights_sha256
from fluxkit.engine.flux import flow
from fluxkit.engine.flux.assistant_adapter import Assistant
from fluxkit.engine.flux.autoencoder import load_autoencoder
from fluxkit.engine.flux.transformer import load_flux, load_transformer, store_as_int8
from fluxkit.engine.measure.sampling import denoise
from fluxkit.errors import MachineError
from fluxkit.model.tensor_names import bfl_modules
from fluxkit.model.transformer_size import Transformer
from fluxkit.plan.sizes import sizes_of

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """A small random pipeline in schnell's layout, made by a process without fluxkit."""
    folder = tmp_path_factory.mktemp("schnell")
    maker = Path(__file__).with_name("small_schnell.py")
    subprocess.run([sys.executable, str(maker), str(folder)], check=True, capture_output=True)
    return folder


def schnell(folder, **tables):
    model = {"family": "schnell", "weights": "pretrained", "path": str(folder), **tables.pop("model", {})}
    return small_spec(model=model, **tables)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("FLUXKIT_CACHE", str(folder))
    return folder


def test_it_tunes_samples_and_is_identified_by_its_weights(pipeline, tmp_path):
    """A sharded bfloat16 pipeline runs to the end, and its result names the weights by hash."""
    run = run_engine(tmp_path / "run", schnell(pipeline, execution={"precision": "bfloat16"}))
    assert run.code == 0, run.output
    (inputs,) = run.events("inputs")
    assert len(inputs.weights_sha256) == 64
    assert run.events("inference_steps")


def test_sampling_equals_the_pipeline_in_bfloat16_too(pipeline):
    """With the same latents and caption the sampler gives the pipeline's latents, in the published precision."""
    spec = schnell(pipeline, execution={"precision": "bfloat16"})
    prepared = prepare_data(spec, load_autoencoder(spec.model, CPU), CPU)
    flux = load_flux(spec, 0, CPU)
    flux.transformer.eval()
    noise = flow.noise_of((1, *prepared.latents_NCHW.shape[1:]), "test")
    ours = flow.pack(denoise(flux, noise, prepared.captions.of([0]), 4))
    theirs_pipeline = FluxPipeline.from_pretrained(pipeline, dtype=torch.bfloat16)
    theirs_pipeline.set_progress_bar_config(disable=True)
    theirs = theirs_pipeline(
        prompt=prepared.pairs[0].caption, latents=flow.pack(noise).bfloat16(), height=64, width=64,
        num_inference_steps=4, guidance_scale=0.0, max_sequence_length=256, output_type="latent",
    ).images  # fmt: skip
    # The pipeline keeps its state in bfloat16 between steps, fluxkit in FP32: a bfloat16 rounding each.
    assert (ours - theirs.float()).abs().max() < 0.05


def test_captions_are_encoded_at_the_length_of_schnell(pipeline):
    """256 tokens, the length that schnell was trained with, although the tokenizer would take 512."""
    spec = schnell(pipeline)
    prepared = prepare_data(spec, load_autoencoder(spec.model, CPU), CPU)
    assert prepared.captions.prompt_NTE.shape[1] == 256


def test_what_was_encoded_once_is_read_from_the_cache(pipeline, monkeypatch):
    """A second preparation encodes nothing, and gives the same tensors to the bit."""
    spec = schnell(pipeline)
    first = prepare_data(spec, load_autoencoder(spec.model, CPU), CPU)
    monkeypatch.setattr("fluxkit.engine.data.prepare.encode_captions", pytest.fail)
    again = prepare_data(spec, load_autoencoder(spec.model, CPU), CPU)
    assert torch.equal(first.latents_NCHW, again.latents_NCHW)
    assert torch.equal(first.captions.prompt_NTE, again.captions.prompt_NTE)


def test_the_plan_predicts_the_size_of_the_cache(pipeline, tmp_path, monkeypatch):
    """Latents and captions on disk take what the plan says, to a tenth: the rest is headers."""
    monkeypatch.setenv("FLUXKIT_CACHE", str(tmp_path / "fresh"))
    spec = schnell(pipeline)
    prepare_data(spec, load_autoencoder(spec.model, CPU), CPU)
    files = [path for path in (tmp_path / "fresh").rglob("*.safetensors") if path.is_file()]
    predicted = sizes_of(spec).cache_bytes
    assert sum(path.stat().st_size for path in files) == pytest.approx(predicted, rel=0.1)


def test_two_runs_may_fill_the_cache_at_once(tmp_path, monkeypatch):
    """Eight writers and readers of one entry at the same time all get whole tensors, and leave one file."""
    monkeypatch.setenv("FLUXKIT_CACHE", str(tmp_path))
    value = torch.arange(100_000.0)

    def fill(_writer):
        return cached_tensors("latents", ["ab" * 32], lambda places: [{"x": value.clone()} for _ in places])[0]["x"]

    with ThreadPoolExecutor(8) as writers:
        assert all(torch.equal(read, value) for read in writers.map(fill, range(40)))
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_a_damaged_cache_entry_is_made_anew(pipeline, cache):
    """A file that was cut short is not trusted: it is computed and written again."""
    spec = schnell(pipeline)
    first = prepare_data(spec, load_autoencoder(spec.model, CPU), CPU)
    entry = min((cache / "latents").rglob("*.safetensors"))
    size = entry.stat().st_size
    entry.write_bytes(entry.read_bytes()[: size // 2])
    again = prepare_data(spec, load_autoencoder(spec.model, CPU), CPU)
    assert torch.equal(first.latents_NCHW, again.latents_NCHW)
    assert entry.stat().st_size == size


def save_assistant(pipeline, folder, *, alpha=8):
    """A random LoRA for the pipeline's transformer, as diffusers saves it."""
    transformer = load_transformer(schnell(pipeline).model, torch.float32, 0)
    torch.manual_seed(1)
    transformer.add_adapter(LoraConfig(r=4, lora_alpha=alpha, target_modules=["to_q", "to_v"], init_lora_weights=False))
    FluxPipeline.save_lora_weights(
        folder,
        transformer_lora_layers=get_peft_model_state_dict(transformer),
        transformer_lora_adapter_metadata=transformer.peft_config["default"].to_dict(),
    )
    return folder


def test_the_assistant_goes_in_and_comes_out(pipeline, tmp_path):
    """Fused at +1 it changes the base as diffusers fuses it; at -1 the base is restored to rounding."""
    folder = save_assistant(pipeline, tmp_path / "assistant")
    base = load_transformer(schnell(pipeline).model, torch.float32, 0)
    changed = load_transformer(schnell(pipeline).model, torch.float32, 0)
    assistant = Assistant(str(folder))
    assistant.add(changed, +1.0)
    theirs = FluxPipeline.from_pretrained(pipeline, dtype=torch.float32)
    theirs.load_lora_weights(folder)
    theirs.fuse_lora()
    theirs.unload_lora_weights()
    fused = dict(theirs.transformer.named_parameters())
    for name, value in changed.named_parameters():
        assert torch.allclose(value, fused[name], atol=1e-5), name
    assert any(not torch.equal(value, dict(base.named_parameters())[name]) for name, value in fused.items())
    assistant.add(changed, -1.0)
    for name, value in changed.named_parameters():
        assert torch.allclose(value, dict(base.named_parameters())[name], atol=1e-6), name


@pytest.fixture(scope="module")
def single_file(pipeline, tmp_path_factory):
    """The same transformer in the layout of Black Forest Labs, in a pipeline folder that has no other."""
    folder = tmp_path_factory.mktemp("single")
    for part in pipeline.iterdir():
        if part.name != "transformer":
            (folder / part.name).symlink_to(part)
    (folder / "transformer").mkdir()
    shutil.copy(pipeline / "transformer" / "config.json", folder / "transformer")
    model = FluxTransformer2DModel.from_pretrained(pipeline, subfolder="transformer", dtype=torch.bfloat16)
    state, tensors = model.state_dict(), {}
    for module, parts in bfl_modules(Transformer.from_config(dict(model.config), "test")).items():
        norm = len(state[f"{parts[0]}.weight"].shape) == 1
        for kind in ("weight",) if norm else ("weight", "bias"):
            rows = [state[f"{part}.{kind}"] for part in parts]
            if module == "final_layer.adaLN_modulation.1":
                rows = rows[0].chunk(2)[::-1]  # shift above scale
            tensors[f"{module}.{'scale' if norm else kind}"] = torch.cat(rows)
    save_file(tensors, folder / "flux1-schnell.safetensors")
    return folder / "flux1-schnell.safetensors"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_single_file_is_the_same_transformer(pipeline, single_file, dtype):
    """Loaded from one file in the layout of Black Forest Labs, every weight is what the folder gives, to the bit."""
    whole = load_transformer(schnell(pipeline).model, dtype, 0).state_dict()
    alone = load_transformer(schnell(single_file).model, dtype, 0)
    assert not alone.training
    assert alone.state_dict().keys() == whole.keys()
    for name, value in alone.state_dict().items():
        assert value.dtype == dtype
        assert torch.equal(value, whole[name]), name


def test_a_run_from_the_single_file_goes_through(single_file, tmp_path):
    """Tuned, graded and timed with nothing else of a transformer in the folder; its weights are identified."""
    tune = {"lora_rank": 4, "lora_alpha": 10}
    run = run_engine(tmp_path / "run", schnell(single_file, tune=tune))
    assert run.code == 0, run.output
    assert len(run.events("inputs")[0].weights_sha256) == 64
    assert run.events("inference_steps")
    with safe_open(run.folder / "adapter" / "pytorch_lora_weights.safetensors", "pt") as adapter:
        metadata = adapter.metadata()
    assert "10 / 4, which is folded into lora_B" in metadata["strength"]
    assert json.loads(metadata["lora_adapter_metadata"])["transformer.lora_alpha"] == 4


def test_the_hash_of_the_weights_is_that_of_the_single_file(single_file):
    """One changed number in it is another model, and its name is not."""
    before = weights_sha256(schnell(single_file).model)
    renamed = single_file.rename(single_file.with_name("renamed.safetensors"))
    assert weights_sha256(schnell(renamed).model) == before
    content = bytearray(renamed.read_bytes())
    content[-1] ^= 1
    single_file.write_bytes(content)
    assert weights_sha256(schnell(single_file).model) != before


@pytest.mark.slow
def test_the_saved_adapter_does_not_contain_the_assistant(pipeline, tmp_path):
    """Tuning with an assistant saves the user's adapter alone, which loads in plain diffusers."""
    folder = save_assistant(pipeline, tmp_path / "assistant")
    run = run_engine(tmp_path / "run", schnell(pipeline, model={"assistant_adapter": str(folder)}))
    assert run.code == 0, run.output
    ours, _ = FluxPipeline.lora_state_dict(run.folder / "adapter", local_files_only=True), None
    ranks = {value.shape[0] for name, value in ours.items() if "lora_A" in name}
    assert ranks == {16}
    without = run_engine(tmp_path / "plain", schnell(pipeline))
    assert run.events("inputs")[0].weights_sha256 != without.events("inputs")[0].weights_sha256


def test_eight_bit_weights_are_tuned_over(pipeline, tmp_path):
    """With int8 weights a run completes, says so beside its precision, and its adapter is the usual one."""
    execution = {"precision": "bfloat16", "inference_precision": "bfloat16", "quantization": "int8"}
    run = run_engine(tmp_path / "run", schnell(pipeline, execution={**execution, "gradient_checkpointing": True}))
    assert run.code == 0, run.output
    assert run.events("started")[0].precision["weights"] == "int8"
    assert run.events("inference_setting")[0].precision["weights"] == "int8"
    assert (run.folder / "adapter" / "pytorch_lora_weights.safetensors").is_file()


def test_eight_bit_weights_are_near_the_real_ones(pipeline):
    """A forward pass over int8 weights differs from bfloat16 by a few per cent of the output's size, not more."""
    spec = schnell(pipeline, execution={"precision": "bfloat16"})
    prepared = prepare_data(spec, load_autoencoder(spec.model, CPU), CPU)
    noise = flow.pack(flow.noise_of((2, *prepared.latents_NCHW.shape[1:]), "test"))
    sigma, captions = torch.tensor([0.5, 0.9]), prepared.captions.of([0, 1])
    flux = load_flux(spec, 0, CPU)
    with torch.no_grad():
        exact = flux.velocity(noise, sigma, captions, prepared.size).float()
        store_as_int8(flux.transformer)
        stored = flux.velocity(noise, sigma, captions, prepared.size).float()
    error = (stored - exact).norm() / exact.norm()
    assert 0 < error < 0.05


def test_an_assistant_of_another_model_is_refused(pipeline, tmp_path):
    """A LoRA whose modules this transformer has not is one sentence."""
    folder = save_assistant(pipeline, tmp_path / "assistant")
    nano = load_transformer(small_spec().model, torch.float32, 0)
    with pytest.raises(MachineError, match="this transformer has not in that size"):
        Assistant(str(folder)).add(nano, 1.0)
