"""Rectified-flow mathematics as pure tensor functions.

Shapes: B batch, C latent channels, H and W latent height and width, L tokens = (H/2)(W/2), D = 4C packed width.
sigma runs from 1 (pure noise) to 0 (the image); timestep and sigma are the same number for schnell (no shift).

Source: Esser et al. 2024, arXiv 2403.03206, section 3.1; black-forest-labs/flux `sampling.py` for packing,
position ids and the schedule of schnell.
"""

import hashlib
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor


def seed_of(*parts: str | int) -> int:
    """A 63-bit seed that depends on every part, so that noise is tied to names and never to batch position."""
    digest = hashlib.sha256("|".join(("fluxkit", *map(str, parts))).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def cpu_generator(*parts: str | int) -> torch.Generator:
    """A CPU generator seeded by `seed_of`: one seed means one stream on every device."""
    return torch.Generator("cpu").manual_seed(seed_of(*parts))


def noise_of(shape: Sequence[int], *parts: str | int) -> Tensor:
    """Standard normal FP32 noise of `shape`, drawn on the CPU from the seed of `parts`."""
    return torch.randn(tuple(shape), generator=cpu_generator(*parts), dtype=torch.float32)


def sent(host: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on the device; the host does not wait for it, as a GPU is sent it from pinned memory."""
    pinned = host.pin_memory() if device.type == "cuda" and host.device.type == "cpu" else host
    return pinned.to(device, non_blocking=True)


def per_sample(sigma_B: Tensor, like: Tensor) -> Tensor:
    """`sigma_B` with trailing ones, so that it broadcasts over the samples of `like`."""
    return sigma_B.view(-1, *([1] * (like.dim() - 1)))


def add_noise(latents: Tensor, noise: Tensor, sigma_B: Tensor) -> Tensor:
    """x_sigma = (1 - sigma) z + sigma eps, in FP32. `latents` and `noise` share any shape that starts with B."""
    sigma = per_sample(sigma_B.float(), latents)
    return (1.0 - sigma) * latents.float() + sigma * noise.float()


def velocity_loss(velocity: Tensor, latents: Tensor, noise: Tensor) -> Tensor:
    """Unweighted mean squared error to the target eps - z, FP32, one value per sample: shape (B,)."""
    return squared_error(velocity, noise.float() - latents.float())


def squared_error(velocity: Tensor, target: Tensor) -> Tensor:
    """Mean squared error to an FP32 target, FP32, one value per sample: shape (B,)."""
    return (velocity.float() - target).square().flatten(1).mean(1)


def denoised(noisy: Tensor, velocity: Tensor, sigma_B: Tensor) -> Tensor:
    """The one-step estimate z = x_sigma - sigma v, in FP32; its error is sigma times the velocity's."""
    return noisy.float() - per_sample(sigma_B.float(), noisy) * velocity.float()


def schedule(num_inference_steps: int) -> list[float]:
    """The sigmas of schnell, unshifted: N values from 1 down to 1/N, then 0 (N = 4: 1, .75, .5, .25, 0)."""
    return [1.0 - step / num_inference_steps for step in range(num_inference_steps)] + [0.0]


def midpoints(count: int) -> list[float]:
    """The fixed sigmas (i + 1/2)/count of the validation protocol."""
    return [(index + 0.5) / count for index in range(count)]


def euler(
    predict: Callable[[Tensor, Tensor], Tensor],
    noise_BLD: Tensor,
    sigmas: Sequence[float],
    after_step: Callable[[], None] | None = None,
) -> Tensor:
    """Integrates the flow by Euler steps: x += (sigma_next - sigma) v, the state kept in FP32.

    Args:
        predict: velocity of packed tokens (B, L, D) at sigma_B (B,), any float dtype.
        noise_BLD: the start, standard normal, FP32, on the device of the model.
        sigmas: descending, from 1 to 0, as `schedule` gives them.
        after_step: called after every step.
    """
    tokens_BLD = noise_BLD.float()
    for sigma, following in pairwise(sigmas):
        sigma_B = torch.full((len(tokens_BLD),), sigma, device=tokens_BLD.device)
        tokens_BLD = tokens_BLD + (following - sigma) * predict(tokens_BLD, sigma_B).float()
        if after_step:
            after_step()
    return tokens_BLD


def pack(latents_BCHW: Tensor) -> Tensor:
    """Latents as tokens of 2x2 patches: (B, C, H, W) to (B, (H/2)(W/2), 4C), channel order c, row, column."""
    batch, channels, height, width = latents_BCHW.shape
    patches = latents_BCHW.view(batch, channels, height // 2, 2, width // 2, 2)
    return patches.permute(0, 2, 4, 1, 3, 5).reshape(batch, (height // 2) * (width // 2), channels * 4)


def unpack(tokens_BLD: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `pack` for latents of `height` x `width`."""
    batch, _, packed = tokens_BLD.shape
    patches = tokens_BLD.view(batch, height // 2, width // 2, packed // 4, 2, 2)
    return patches.permute(0, 3, 1, 4, 2, 5).reshape(batch, packed // 4, height, width)


def image_ids(height: int, width: int) -> Tensor:
    """Position ids (L, 3) of the tokens of latents `height` x `width`: 0, row, column."""
    ids = torch.zeros(height // 2, width // 2, 3)
    ids[..., 1] = torch.arange(height // 2)[:, None]
    ids[..., 2] = torch.arange(width // 2)[None, :]
    return ids.view(-1, 3)
