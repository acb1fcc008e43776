"""The transformer of `nano` and its pre-training: rectified flow on mirrored copies and crops of the tuning photos.

B batch, L tokens, D packed latent channels; latents have about zero mean and unit variance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from diffusers import FluxTransformer2DModel

from fluxkit.engine.flux import flow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

HEADS, HEAD_WIDTH = 4, 32


@dataclass(frozen=True)
class Captions:
    """Embedded captions, one row per caption."""

    pooled_BD: Tensor
    """FP32, from CLIP."""
    sequence_BLD: Tensor
    """FP32, from T5."""


def build(seed: int, *, latent_channels: int, text_width: int) -> Any:
    """A randomly initialised FluxTransformer2DModel of 1 double and 2 single blocks, FP32, without guidance."""
    torch.manual_seed(seed)
    return FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * latent_channels,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=HEAD_WIDTH,
        num_attention_heads=HEADS,
        joint_attention_dim=text_width,
        pooled_projection_dim=text_width,
        guidance_embeds=False,
        axes_dims_rope=(8, 12, 12),
    )


@torch.no_grad()
def embed(pipeline: Any, captions: Sequence[str]) -> Captions:
    """The captions as `FluxPipeline` embeds them, at the T5 tokenizer's own length."""
    sequence, pooled, _ = pipeline.encode_prompt(
        prompt=list(captions), prompt_2=None, max_sequence_length=pipeline.tokenizer_2.model_max_length
    )
    return Captions(pooled.float(), sequence.float())


def velocity(transformer: Any, tokens_BLD: Tensor, sigma_B: Tensor, captions: Captions, side: int) -> Tensor:
    """The transformer's velocity of packed tokens (B, L, D) at sigma (B,), for square latents of `side`."""
    predicted: Tensor = transformer(
        hidden_states=tokens_BLD,
        timestep=sigma_B,
        pooled_projections=captions.pooled_BD,
        encoder_hidden_states=captions.sequence_BLD,
        txt_ids=torch.zeros(captions.sequence_BLD.shape[1], 3),
        img_ids=flow.image_ids(side, side),
        return_dict=False,
    )[0]
    return predicted


def train(
    transformer: Any,
    latents_NCHW: Tensor,
    captions: Captions,
    caption_of_N: Tensor,
    *,
    iterations: int,
    batch_size: int = 16,
    learning_rate: float = 4e-3,
    seed: int = 0,
    progress: Callable[[str], None] = print,
) -> None:
    """Trains `transformer` in place by rectified flow with uniform sigma, FP32, cosine schedule.

    Args:
        transformer: from `build`.
        latents_NCHW: scaled latents of the N training pictures.
        captions: the distinct captions.
        caption_of_N: for each picture the row of its caption.
        iterations: optimiser steps.
        batch_size: pictures per step.
        learning_rate: its peak, after 20 steps.
        seed: of order, noise and sigma.
        progress: told a line now and then.
    """
    generator = torch.Generator().manual_seed(seed)
    tokens_NLD, side = flow.pack(latents_NCHW), latents_NCHW.shape[-1]
    weights = list(transformer.parameters())
    optimizer = torch.optim.AdamW(weights, lr=learning_rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    for step in range(iterations):
        decay = 0.5 + 0.5 * math.cos(math.pi * step / iterations)
        optimizer.param_groups[0]["lr"] = learning_rate * min(1.0, (step + 1) / 20) * (0.01 + 0.99 * decay)
        chosen = torch.randint(len(tokens_NLD), (batch_size,), generator=generator)
        rows = caption_of_N[chosen]
        noise = torch.randn(tokens_NLD[chosen].shape, generator=generator)
        sigma_B = torch.rand(batch_size, generator=generator)
        noisy = flow.add_noise(tokens_NLD[chosen], noise, sigma_B)
        told = Captions(captions.pooled_BD[rows], captions.sequence_BLD[rows])
        loss = flow.velocity_loss(velocity(transformer, noisy, sigma_B, told, side), tokens_NLD[chosen], noise).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 100 == 0 or step == iterations - 1:
            progress(f"transformer {step + 1}/{iterations}: velocity loss {loss.item():.4f}")


@torch.no_grad()
def sample(transformer: Any, captions: Captions, *, side: int, seed: int, steps: int = 4) -> Tensor:
    """Latents (B, C, side, side) drawn for each caption by `steps` Euler steps from noise tied to `seed` and row."""
    width = transformer.config.in_channels
    noise = torch.stack(
        [flow.noise_of(((side // 2) ** 2, width), "nano", seed, row) for row in range(len(captions.pooled_BD))]
    )
    tokens = flow.euler(
        lambda noisy, sigma_B: velocity(transformer, noisy, sigma_B, captions, side),
        noise,
        flow.schedule(steps),
    )
    return flow.unpack(tokens, side, side)
