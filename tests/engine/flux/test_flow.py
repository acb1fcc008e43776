"""Rectified flow: the mathematics, the schedule of schnell, packing and noise."""

from __future__ import annotations

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline

from fluxkit.engine.flux import flow


def test_a_perfect_velocity_has_no_loss_and_gives_the_image_back() -> None:
    """The true velocity eps - z has loss 0, and one step along it from any sigma gives z."""
    latents, noise = torch.randn(4, 3, 8, 8), torch.randn(4, 3, 8, 8)
    sigma = torch.tensor([0.1, 0.5, 0.9, 1.0])
    noisy = flow.add_noise(latents, noise, sigma)
    assert flow.velocity_loss(noise - latents, latents, noise).abs().max() == 0
    assert torch.allclose(flow.denoised(noisy, noise - latents, sigma), latents, atol=1e-5)


def test_the_error_of_the_estimate_is_sigma_squared_times_the_velocity_loss() -> None:
    """Latent MSE of the one-step estimate is sigma^2 times the velocity's MSE."""
    latents, noise, velocity = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4)
    sigma = torch.tensor([0.2, 0.6, 0.95])
    estimate = flow.denoised(flow.add_noise(latents, noise, sigma), velocity, sigma)
    error = (estimate - latents).square().flatten(1).mean(1)
    assert torch.allclose(error, sigma**2 * flow.velocity_loss(velocity, latents, noise), rtol=1e-4)


def test_euler_steps_along_the_true_velocity_reach_the_image() -> None:
    """Four steps along a straight path end exactly at its end."""
    latents, noise = torch.randn(2, 6, 8), torch.randn(2, 6, 8)
    reached = flow.euler(lambda _tokens, _sigma: noise - latents, noise, flow.schedule(4))
    assert torch.allclose(reached, latents, atol=1e-5)


def test_the_schedule_is_that_of_schnell_in_diffusers() -> None:
    """Four steps are 1, .75, .5, .25, 0, as diffusers sets them without a shift."""
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0, use_dynamic_shifting=False)
    scheduler.set_timesteps(sigmas=[1.0, 0.75, 0.5, 0.25])
    assert flow.schedule(4) == scheduler.sigmas.tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_validation_sigmas_are_midpoints() -> None:
    """Eight sigmas are (i + 1/2)/8, so that neither pure noise nor the clean image is among them."""
    assert flow.midpoints(8) == [0.0625, 0.1875, 0.3125, 0.4375, 0.5625, 0.6875, 0.8125, 0.9375]


def test_packing_is_that_of_diffusers_and_has_an_inverse() -> None:
    """Tokens and position ids equal the pipeline's, and unpacking gives the latents back."""
    latents = torch.randn(2, 16, 8, 12)
    tokens = flow.pack(latents)
    assert torch.equal(tokens, FluxPipeline._pack_latents(latents, 2, 16, 8, 12))
    ids = FluxPipeline._prepare_latent_image_ids(1, 4, 6, "cpu", torch.float32)
    assert torch.equal(flow.image_ids(8, 12), ids)
    assert torch.equal(flow.unpack(tokens, 8, 12), latents)


def test_noise_is_a_function_of_its_name() -> None:
    """The same parts give the same noise, other parts other noise, and a golden value holds on every machine."""
    first = flow.noise_of((16, 16, 16), "validation", "photo", 3)
    assert torch.equal(first, flow.noise_of((16, 16, 16), "validation", "photo", 3))
    assert not torch.equal(first, flow.noise_of((16, 16, 16), "validation", "photo", 4))
    golden = flow.noise_of((16,), "golden")[:3]
    assert torch.allclose(golden, torch.tensor([0.86592698, 0.75026208, 0.98369431]), atol=1e-6)
