"""The FLUX parts, held to diffusers' own pipeline."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from diffusers import FluxPipeline
from real_engine import EngineRun, small_spec

from fluxkit.engine.data.prepare import prepare_data
from fluxkit.engine.flux import flow
from fluxkit.engine.flux.autoencoder import load_autoencoder
from fluxkit.engine.flux.transformer import add_lora, load_flux, load_transformer
from fluxkit.engine.measure.sampling import denoise
from fluxkit.engine.tuning.optimizer_step import Optimiser
from fluxkit.engine.tuning.sample_stream import Samples
from fluxkit.machine.system import probe
from fluxkit.model.pipeline_files import pipeline_folder
from fluxkit.plan.plan import Job, make_plan

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def spec():
    return small_spec()


@pytest.fixture(scope="module")
def prepared(spec):
    return prepare_data(spec, load_autoencoder(spec.model, CPU), CPU)


def test_sampling_equals_the_pipeline_of_diffusers(spec, prepared) -> None:
    """The same latents and caption give the pipeline's own latents, to 1e-5."""
    pipeline = FluxPipeline.from_pretrained(pipeline_folder(spec.model), dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    noise = flow.noise_of((1, *prepared.latents_NCHW.shape[1:]), "test")
    theirs = pipeline(
        prompt=prepared.pairs[0].caption, latents=flow.pack(noise), height=64, width=64, num_inference_steps=4,
        guidance_scale=0.0, max_sequence_length=prepared.captions.prompt_NTE.shape[1], output_type="latent",
    ).images  # fmt: skip
    flux = load_flux(spec, 0, CPU)
    flux.transformer.eval()
    ours = flow.pack(denoise(flux, noise, prepared.captions.of([0]), 4))
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_untouched_adapters_change_nothing(spec, prepared) -> None:
    """Before the first step B is zero, so the tuned model is the base to the bit."""
    base = load_transformer(spec.model, torch.float32, 0)
    noise = flow.pack(flow.noise_of((2, *prepared.latents_NCHW.shape[1:]), "test"))
    sigma, captions = torch.tensor([0.5, 0.9]), prepared.captions.of([0, 1])
    flux = load_flux(spec, 0, CPU)
    with torch.no_grad():
        adapted = flux.velocity(noise, sigma, captions, prepared.size)
        flux.forward = base
        assert torch.equal(adapted, flux.velocity(noise, sigma, captions, prepared.size))


def test_adapters_are_float32_on_a_bfloat16_base(spec) -> None:
    """bfloat16 would lose most small updates, so adapters never are."""
    transformer = load_transformer(spec.model, torch.bfloat16, 0)
    transformer.requires_grad_(requires_grad=False)
    add_lora(transformer, 4, 4, 0)
    dtypes = {(("lora_" in name), value.dtype) for name, value in transformer.named_parameters()}
    assert dtypes == {(True, torch.float32), (False, torch.bfloat16)}


def test_adapters_sit_in_the_blocks_and_not_in_the_last_layer(spec) -> None:
    """Attention and MLPs of double and single blocks are adapted; the final projection is not."""
    transformer = load_transformer(spec.model, torch.float32, 0)
    add_lora(transformer, 4, 4, 0)
    adapted = {name.split(".lora_A")[0] for name, _ in transformer.named_parameters() if "lora_A" in name}
    assert "proj_out" not in adapted
    assert {"single_transformer_blocks.0.proj_mlp", "single_transformer_blocks.0.proj_out"} <= adapted
    assert len(adapted) == 12 + 2 * 5


def test_the_seed_is_set_before_the_adapter_is_made(spec) -> None:
    """Equal seeds give equal adapters whatever was drawn before, other seeds others."""
    torch.randn(7)
    first, again, other = (load_flux(spec, seed, CPU).trainable() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_sigma_is_rounded_as_a_bfloat16_model_sees_it() -> None:
    """In bfloat16 the mix of image and noise uses the sigma that reaches the model, in FP32 the exact one."""
    sigma = torch.rand(100)
    low = load_flux(small_spec(execution={"precision": "bfloat16"}), 0, CPU)
    seen = low.rounded_sigma(sigma)
    assert seen.dtype == torch.float32
    assert torch.equal((seen * 1000).bfloat16(), sigma.bfloat16() * 1000)
    assert torch.equal(load_flux(small_spec(), 0, CPU).rounded_sigma(sigma), sigma)


def optimiser_of(spec, prepared):
    job = Job(spec=spec, plan=make_plan(spec, probe()), seed=0)
    flux = load_flux(spec, 0, CPU)
    return Optimiser(job, flux, Samples(job, prepared, flux), Accelerator(cpu=True))


def test_warming_up_leaves_no_trace(spec, prepared) -> None:
    """After warm-up steps weights, moments and averages are as if there had been none."""
    spec = small_spec(tune={"ema_decay": 0.9})
    warm, cold = optimiser_of(spec, prepared), optimiser_of(spec, prepared)
    warm.warm_up()
    for step in range(2):
        assert torch.equal(warm.step(step), cold.step(step))
    assert all(torch.equal(warm.state()[name], value) for name, value in cold.state().items())
    assert all(torch.equal(warm.graded()[name], value) for name, value in cold.graded().items())


def test_micro_batches_do_not_change_the_gradient(prepared) -> None:
    """Eight samples at once and in micro-batches of two give the same step, to rounding."""
    whole = optimiser_of(small_spec(), prepared)
    parts = optimiser_of(small_spec(execution={"micro_batch_size": 2}), prepared)
    assert torch.allclose(whole.step(0), parts.step(0), rtol=1e-5)
    ours, theirs = whole.state(), parts.state()
    assert all(torch.allclose(ours[n], theirs[n], atol=1e-4) for n in ours if n.startswith("weight"))


def test_a_sample_is_a_function_of_its_number(spec, prepared) -> None:
    """An epoch's order depends on the seed and the epoch only; seven samples of ten are whole photos."""
    job = Job(spec=spec, plan=make_plan(spec, probe()), seed=0)
    samples = Samples(job, prepared, load_flux(spec, 0, CPU))
    tuned, details = prepared.of_split("tuning"), prepared.of_split("regularization")
    count = 7 * len(tuned) + len(details)
    assert 7 * len(tuned) / count == pytest.approx(0.7)
    epochs = [[samples.place(p) for p in range(e * count, (e + 1) * count)] for e in range(3)]
    assert all(sorted(epoch) == sorted(tuned * 7 + details) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert samples.place(1) == epochs[0][1]


def test_without_regularization_images_every_pair_comes_once_per_epoch(spec, prepared) -> None:
    """A folder of one's own is tuned on evenly."""
    job = Job(spec=spec, plan=make_plan(spec, probe()), seed=0)
    own = replace(prepared, pairs=tuple(replace(pair, split="tuning") for pair in prepared.pairs))
    samples = Samples(job, own, load_flux(spec, 0, CPU))
    assert sorted(samples.place(p) for p in range(len(own.pairs))) == list(range(len(own.pairs)))


def test_the_adapter_draws_the_same_image_in_plain_diffusers(short_run: EngineRun) -> None:
    """A process that never imports fluxkit loads the adapter and gives the run's sample, to one grey level."""
    prepared = prepare_data(small_spec(), load_autoencoder(small_spec().model, CPU), CPU)
    place = prepared.of_split("tuning")[0]
    pair = prepared.pairs[place]
    noise = flow.noise_of(prepared.latents_NCHW.shape[1:], "reconstruction", pair.pixels_sha256, 0)
    torch.save(flow.pack(noise[None]), short_run.folder / "noise.pt")
    last = max(mark.iteration for mark in short_run.events("mark"))
    sample = short_run.folder / "samples" / f"iteration-{last}" / f"{pair.id}.png"
    code = f"""
import sys, torch, numpy as np
from PIL import Image
from diffusers import FluxPipeline
pipe = FluxPipeline.from_pretrained({str(pipeline_folder(small_spec().model))!r}, dtype=torch.float32)
pipe.load_lora_weights({str(short_run.folder / "adapter")!r})
image = pipe(prompt={pair.caption!r}, latents=torch.load({str(short_run.folder / "noise.pt")!r}), height=64, width=64,
    num_inference_steps=4, guidance_scale=0.0, max_sequence_length={prepared.captions.prompt_NTE.shape[1]}).images[0]
assert not any(name.startswith("fluxkit") for name in sys.modules)
theirs = np.asarray(image).astype(int)
ours = np.asarray(Image.open({str(sample)!r})).astype(int)
print(abs(theirs - ours).max())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) <= 1


def test_dropped_captions_are_the_encoding_of_the_empty_one(prepared) -> None:
    """About the asked share of samples sees the real empty caption, sequence and pooled states together."""
    spec = small_spec(tune={"caption_dropout": 0.3})
    job = Job(spec=spec, plan=make_plan(spec, probe()), seed=0)
    samples = Samples(job, prepared, load_flux(spec, 0, CPU))
    dropped = 0
    for start in range(0, 800, 8):
        places = [samples.place(position) for position in range(start, start + 8)]
        captions = samples._with_dropout(places, range(start, start + 8))
        for row, place in enumerate(places):
            empty = torch.equal(captions.prompt_NTE[row], prepared.empty.prompt_NTE[0])
            whole = prepared.empty if empty else prepared.captions.of([place])
            assert torch.equal(captions.pooled_NP[row], whole.pooled_NP[0])
            dropped += empty
    assert 0.25 < dropped / 800 < 0.35
    assert not torch.equal(prepared.captions.prompt_NTE[0], prepared.empty.prompt_NTE[0])


@pytest.mark.parametrize(
    ("sampling", "quartiles"), [("uniform", (0.25, 0.5, 0.75)), ("logit_normal", (0.3375, 0.5, 0.6625))]
)
def test_sigmas_follow_the_asked_distribution(prepared, sampling, quartiles) -> None:
    """Uniform sigmas have quartiles at quarters, logit-normal ones at sigmoid(-0.674), 1/2 and sigmoid(0.674)."""
    spec = small_spec(tune={"timestep_sampling": sampling})
    job = Job(spec=spec, plan=make_plan(spec, probe()), seed=0)
    samples = Samples(job, prepared, load_flux(spec, 0, CPU))
    drawn = torch.tensor([samples.sigma(position) for position in range(4000)])
    assert drawn.quantile(torch.tensor([0.25, 0.5, 0.75])).tolist() == pytest.approx(quartiles, abs=0.03)
    assert 0 <= drawn.min() < drawn.max() <= 1


def test_four_step_sampling_draws_the_sigmas_of_schnell(prepared) -> None:
    """Only 1, 3/4, 1/2 and 1/4 are drawn, each about as often."""
    spec = small_spec(tune={"timestep_sampling": "four_step"})
    job = Job(spec=spec, plan=make_plan(spec, probe()), seed=0)
    samples = Samples(job, prepared, load_flux(spec, 0, CPU))
    drawn = [samples.sigma(position) for position in range(2000)]
    assert sorted(set(drawn)) == [0.25, 0.5, 0.75, 1.0]
    assert all(400 < drawn.count(sigma) < 600 for sigma in set(drawn))
