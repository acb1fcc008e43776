"""Schnell's architecture with random weights: exact, equal everywhere, run without quality, halved on shortage."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel

from fluxkit.compare.compare import compare
from fluxkit.engine.data.prepare import prepare_data
from fluxkit.engine.data.weights_hash import weights_sha256
from fluxkit.engine.flux.random_weights import TILE, build_transformer
from fluxkit.engine.flux.transformer import load_flux
from fluxkit.errors import MachineError
from fluxkit.machine.system import probe
from fluxkit.model import pipeline_files
from fluxkit.model.pipeline_files import SCHNELL_FOLDER, read_sizes
from fluxkit.plan.plan import make_plan
from fluxkit.run import engine_process
from fluxkit.run.launch import launch
from fluxkit.spec.toml import parse_spec
from fluxkit.text.answers import answers

CPU = torch.device("cpu")
SHRUNK = {
    "num_layers": 2, "num_single_layers": 3, "attention_head_dim": 32, "num_attention_heads": 4, "axes_dims_rope":
    [8, 12, 12], "joint_attention_dim": 64, "pooled_projection_dim": 48, "in_channels": 64, "guidance_embeds": False,
    "patch_size": 1,
}  # fmt: skip
WIDE = {**SHRUNK, "num_attention_heads": 24, "num_layers": 1, "num_single_layers": 1}


def write(folder, sizes):
    for name in ("model_index.json", "vae/config.json", "tokenizer_2/tokenizer_config.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text((SCHNELL_FOLDER / name).read_text())
    (folder / "transformer").mkdir()
    (folder / "transformer" / "config.json").write_text(json.dumps(sizes))
    return folder


@pytest.fixture(scope="module")
def shrunk(tmp_path_factory):
    """A folder of configuration files like schnell's, of a small transformer."""
    return write(tmp_path_factory.mktemp("shrunk"), SHRUNK)


@pytest.fixture
def instead(shrunk, monkeypatch):
    """The small transformer takes schnell's place."""
    monkeypatch.setattr(pipeline_files, "SCHNELL_FOLDER", shrunk)
    return shrunk


def spec_of(**tables):
    merged = {
        "model": {"family": "schnell", "weights": "random"},
        "data": {"resolution": 64},
        "tune": {"seconds": 0.5, "iterations": 4, "global_batch_size": 4, "learning_rate": 1e-4},
        "evaluate": {"max_sequence_length": 64},
        "inference": {"batch_size": 8, "min_seconds": 0.1},
        "execution": {"threads": 1, "gradient_checkpointing": True},
    }
    merged = {name: {**merged.get(name, {}), **tables.get(name, {})} for name in {*merged, *tables}}
    return parse_spec({"schema": "fluxkit.spec/2", "name": "small-random", **merged}, "the test")


def go(folder, shrunk, spec, *more, plan=None):
    script = Path(__file__).parents[1] / "shrunk_engine.py"

    def command(run, _plan):
        return [sys.executable, str(script), str(shrunk), str(run), *more]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_process, "engine_command", command)
        return launch(spec, plan or make_plan(spec, probe()), folder=folder, seed=0)


def test_the_shipped_configuration_builds_every_parameter():
    """The real class, built on the meta device from the files that ship, has 11,891,178,560 parameters."""
    config = FluxTransformer2DModel.load_config(SCHNELL_FOLDER, subfolder="transformer")
    with torch.device("meta"):
        model = FluxTransformer2DModel.from_config(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == 11_891_178_560


def test_another_architecture_than_the_formulas_is_refused(shrunk, monkeypatch):
    """What diffusers builds is counted against the formula before any of it is allocated."""
    monkeypatch.setattr("fluxkit.engine.flux.random_weights.Transformer.parameters", 7)
    with pytest.raises(MachineError, match="where the formulas say 7"):
        build_transformer(shrunk, torch.float32, CPU)


def test_the_weights_are_the_same_wherever_they_are_built(shrunk):
    """Two builds are equal to the bit, bfloat16 is float32 rounded, and no parameter is left without storage."""
    one, two, rounded = (
        build_transformer(shrunk, dtype, CPU) for dtype in (torch.float32, torch.float32, torch.bfloat16)
    )
    state, again, half = (dict(model.named_parameters()) for model in (one, two, rounded))
    assert not any(value.is_meta for value in state.values())
    assert all(torch.equal(value, again[name]) for name, value in state.items())
    assert all(torch.equal(value.bfloat16(), half[name]) for name, value in state.items())


def test_the_weights_are_bfloat16_numbers_as_the_published_ones_are(shrunk):
    """Built in FP32 they survive storage in bfloat16, so that FP32 from narrow weights is measured as it would be."""
    for name, parameter in build_transformer(shrunk, torch.float32, CPU).named_parameters():
        assert torch.equal(parameter.bfloat16().float(), parameter), name


def test_matrices_are_as_good_as_drawn(tmp_path):
    """Unit gain by the number of inputs, no row twice, full rank, and no two matrices alike, beyond one tile too."""
    model = build_transformer(write(tmp_path / "wide", WIDE), torch.float32, CPU)
    matrices = [value for name, value in model.named_parameters() if value.dim() == 2]
    large = max(matrices, key=torch.Tensor.numel)
    assert large.numel() > 2 * TILE
    assert large.std().item() == pytest.approx(large.shape[1] ** -0.5, rel=0.01)
    assert len(torch.unique(large[:, :8], dim=0)) == len(large)
    assert torch.linalg.matrix_rank(large[:256, :256]) == 256
    starts = {tuple(value.flatten()[:4].mul(value.shape[1] ** 0.5).tolist()) for value in matrices}
    assert len(starts) == len(matrices)


@pytest.mark.usefixtures("instead")
@pytest.mark.filterwarnings("ignore:TorchaoLoraLinear was instantiated without")  # nothing is merged here
@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_activations_stay_finite_and_of_the_size_of_real_ones(quantization):
    """The velocity of noise is finite, neither vanishing nor exploding, at every noise level."""
    spec = spec_of(execution={"precision": "bfloat16", "inference_precision": "bfloat16", "quantization": quantization})
    prepared, flux = prepare_data(spec, None, CPU), load_flux(spec, 0, CPU)
    tokens = torch.randn(3, 16, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        velocity = flux.velocity(tokens, torch.tensor([0.05, 0.5, 1.0]), prepared.captions.of([0, 1, 2]), (8, 8))
    assert velocity.isfinite().all()
    assert 0.3 < velocity.float().std() < 3


@pytest.mark.usefixtures("instead")
def test_inputs_have_the_shapes_of_the_real_ones():
    """Latents and caption states are drawn by content: the same for the same picture and words, without any encoder."""
    spec = spec_of()
    prepared, again = prepare_data(spec, None, CPU), prepare_data(spec, None, CPU)
    count = len(prepared.pairs)
    assert prepared.latents_NCHW.shape == (count, 16, 8, 8)
    assert prepared.captions.prompt_NTE.shape == (count, 64, 64)
    assert prepared.captions.pooled_NP.shape == (count, 48)
    assert torch.equal(prepared.latents_NCHW, again.latents_NCHW)
    assert torch.equal(prepared.captions.prompt_NTE, again.captions.prompt_NTE)
    assert prepared.captions.prompt_NTE.unique(dim=0).shape[0] == len({pair.caption for pair in prepared.pairs})


@pytest.mark.usefixtures("instead")
def test_the_identity_is_that_of_the_architecture_and_the_recipe(tmp_path, monkeypatch):
    """Equal on every machine and for every run's seed; another architecture has another."""
    first = weights_sha256(spec_of().model)
    assert weights_sha256(spec_of().model) == first
    monkeypatch.setattr(pipeline_files, "SCHNELL_FOLDER", write(tmp_path / "other", {**SHRUNK, "num_layers": 1}))
    assert weights_sha256(spec_of().model) != first


@pytest.fixture(scope="module")
def finished(shrunk, tmp_path_factory):
    """One whole run over 8-bit weights."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline_files, "SCHNELL_FOLDER", shrunk)
        execution = {"precision": "bfloat16", "inference_precision": "bfloat16", "quantization": "int8"}
        folder = tmp_path_factory.mktemp("finished") / "run"
        return folder, go(folder, shrunk, spec_of(execution=execution))


def test_a_run_gives_speed_and_memory_and_never_quality(finished, shrunk):
    """It completes, speeds and memory are there, every score is null, and one finding says why."""
    folder, result = finished
    assert result.status == "completed", result.error
    summary = result.summary
    assert summary.training_iterations_per_second > 0
    assert summary.inference_image_steps_per_second > 0
    assert summary.peak_memory_bytes > 0
    assert result.quality is None
    scores = {name: value for name, value in summary.model_dump().items() if "psnr" in name or "ssim" in name}
    assert set(scores.values()) == {None}
    assert summary.validation_loss is None
    about = [check.evidence for check in result.checks if check.subject == "quality"]
    assert about == ["random weights have no quality"]
    assert result.inputs.parameters == read_sizes(shrunk).transformer.parameters
    assert [each.outcome for each in result.attempts] == ["completed"]
    assert result.predicted_over_measured.peak_memory is not None
    assert not list((folder / "samples").glob("iteration-*"))


def test_its_adapter_is_saved(finished):
    """The tuned adapter lies in the run folder in diffusers' own layout."""
    folder, _ = finished
    state = FluxPipeline.lora_state_dict(folder / "adapter", local_files_only=True)
    assert any("single_transformer_blocks.2" in name for name in state)


def test_the_comparison_says_why_there_is_no_quality(finished):
    """Where scores would stand, the table has a dash and the reason, and speed has its numbers."""
    comparison = compare([finished[1]])
    (row,) = comparison.workloads[0].rows
    assert row.estimate("psnr_db").mean is None
    assert row.estimate("psnr_db").reason == "random weights have no quality"
    assert row.estimate("training_iterations_per_second").mean > 0
    said = {answer.quantity: answer.sentence for answer in answers(comparison.workloads[0])}
    assert said["psnr_db"].endswith("after equal time: random weights have no quality.")
    assert {anchor.psnr_db.reason for anchor in comparison.workloads[0].anchors} == {"random weights have no quality"}


@pytest.mark.slow
def test_a_run_that_runs_out_of_memory_begins_again_with_half(instead, tmp_path):
    """A real engine with too little memory fails in torch's allocator, and fresh ones with half the micro-batch follow
    until it fits: all are recorded, and the global batch is what was asked."""
    spec = spec_of(data={"resolution": 256}, tune={"global_batch_size": 64, "iterations": 2},
                   inference={"batch_size": 4}, execution={"micro_batch_size": 64})  # fmt: skip
    result = go(tmp_path / "run", instead, spec, str(300_000_000))
    assert result.status == "completed", result.error
    outcomes = [each.outcome for each in result.attempts]
    sizes = [each.micro_batch_size for each in result.attempts]
    assert outcomes == ["out_of_memory"] * (len(outcomes) - 1) + ["completed"]
    assert 2 <= len(sizes) <= 5
    assert sizes == [64 // 2**step for step in range(len(sizes))]
    assert all("memory" in each.evidence for each in result.attempts[:-1])
    assert result.plan.micro_batch_size * result.plan.accumulation_steps == 64
    assert result.tuning.samples_per_iteration == 64
    assert len(result.phases) > 7, "each attempt was a process of its own"


@pytest.mark.slow
def test_inference_that_runs_out_halves_its_own_and_keeps_the_tuning(instead, tmp_path):
    """Where only inference is too large, tuning is not done again, and coverage stays whole."""
    spec = spec_of(data={"resolution": 256}, tune={"global_batch_size": 1, "iterations": 2},
                   inference={"batch_size": 256, "num_inference_steps": 1, "min_seconds": 9.0},
                   execution={"inference_micro_batch_size": 256})  # fmt: skip
    result = go(tmp_path / "run", instead, spec, str(300_000_000))
    assert result.status == "completed", result.error
    assert [each.phase for each in result.attempts[:-1]] == ["inference"] * (len(result.attempts) - 1)
    assert len(result.attempts) > 1
    assert {each.micro_batch_size for each in result.attempts} == {1}
    assert result.inference.micro_batch_size == result.attempts[-1].inference_micro_batch_size < 256
    assert result.inference.coverage == 1.0
    begun = [phase.attempt for phase in result.phases if phase.name == "tune"]
    assert len(begun) == len(result.attempts)
    assert len(result.tuning.losses) >= 2
