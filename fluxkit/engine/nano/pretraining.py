"""The transformer of `nano` and its pre-training: rectified flow on mirrored copies and crops of the tuning photos.

N pictures, B batch, C latent channels, H = W the latents' side, L tokens, D packed width.
"""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor

from fluxkit.dataset.photos import photos
from fluxkit.engine.flux import flow
from fluxkit.engine.flux.autoencoder import Autoencoder
from fluxkit.engine.flux.captions import Embeddings
from fluxkit.engine.flux.transformer import Flux
from fluxkit.engine.nano.descent import descend
from fluxkit.engine.nano.pictures import transformer_pictures

TRANSFORMER_BATCH_SIZE = 16


def build_nano_transformer(seed: int, *, latent_channels: int, text_width: int) -> FluxTransformer2DModel:
    """A randomly initialised transformer of 1 double and 2 single blocks, FP32, without guidance."""
    torch.manual_seed(seed)
    return FluxTransformer2DModel(
        patch_size=1, in_channels=4 * latent_channels, num_layers=1, num_single_layers=2, attention_head_dim=32,
        num_attention_heads=4, joint_attention_dim=text_width, pooled_projection_dim=text_width, guidance_embeds=False,
        axes_dims_rope=(8, 12, 12),
    )  # fmt: skip


@torch.no_grad()
def embed_captions(pipeline: Any, captions: Sequence[str]) -> Embeddings:
    """The captions as `FluxPipeline` embeds them, at the T5 tokenizer's own length, FP32."""
    prompt_NTE, pooled_NP, _ = pipeline.encode_prompt(
        prompt=list(captions), prompt_2=None, max_sequence_length=pipeline.tokenizer_2.model_max_length
    )
    return Embeddings(prompt_NTE.float(), pooled_NP.float())


def pretrain(pipeline: Any, *, iterations: int, seed: int) -> None:
    """Teaches the pipeline's transformer, in FP32, the captions of the tuning photos on mirrored pictures.

    So a run still has the real pairs to learn. By rectified flow with uniform sigma.
    """
    tuning, cpu = photos("tuning"), torch.device("cpu")
    captions = embed_captions(pipeline, [photo.caption for photo in tuning])
    pictures_NCHW, caption_of_N = transformer_pictures(tuning, generator=torch.Generator().manual_seed(seed))
    autoencoder, flux = Autoencoder(pipeline.vae, cpu), Flux(pipeline.transformer, cpu)
    latents_NCHW = torch.cat([autoencoder.encode(part_BCHW) for part_BCHW in pictures_NCHW.split(64)])
    tokens_NLD, size = flow.pack(latents_NCHW), (latents_NCHW.shape[2], latents_NCHW.shape[3])
    generator = torch.Generator().manual_seed(seed + 1)

    def loss_of_batch() -> Tensor:
        chosen = torch.randint(len(tokens_NLD), (TRANSFORMER_BATCH_SIZE,), generator=generator)
        tokens_BLD = tokens_NLD[chosen]
        noise_BLD = torch.randn(tokens_BLD.shape, generator=generator)
        sigma_B = torch.rand(TRANSFORMER_BATCH_SIZE, generator=generator)
        noisy_BLD = flow.add_noise(tokens_BLD, noise_BLD, sigma_B)
        velocity_BLD = flux.velocity(noisy_BLD, sigma_B, captions.of(caption_of_N[chosen]), size)
        return flow.velocity_loss(velocity_BLD, tokens_BLD, noise_BLD).mean()

    descend(pipeline.transformer, loss_of_batch, name="transformer", steps=iterations, peak=4e-3, warm_up=20)
