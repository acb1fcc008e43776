"""Makes the embedded model `nano`: a real, tiny FluxPipeline, trained from nothing in minutes on two CPU cores.

Deterministic: the same machine and the same library versions write the same bytes.
"""

import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline

from fluxkit.engine.nano import autoencoder_training, pretraining, text_encoders
from fluxkit.engine.nano.card import model_card

THREADS = 2
"""Fixed, because sums in another order give other last bits."""
SEED = 20240801


def make(
    out: Path, *, linear_iterations: int = 1500, autoencoder_iterations: int = 800, transformer_iterations: int = 2000
) -> None:
    """Trains every part, writes the pipeline folder `out` (replacing it) and its model card.

    Args:
        out: the folder to write.
        linear_iterations: steps of the autoencoder's linear skeleton; fewer only to test the recipe.
        autoencoder_iterations: steps of the whole autoencoder.
        transformer_iterations: steps of the transformer.
    """
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(mode=True)
    autoencoder = autoencoder_training.train_autoencoder(linear_iterations, autoencoder_iterations, SEED)
    pipeline = _untrained_pipeline(autoencoder)
    pretraining.pretrain(pipeline, iterations=transformer_iterations, seed=SEED + 4)
    pipeline.transformer.to(torch.bfloat16)
    shutil.rmtree(out, ignore_errors=True)
    pipeline.save_pretrained(out, safe_serialization=True)
    reloaded = FluxPipeline.from_pretrained(out, dtype=torch.float32)
    (out / "README.md").write_text(model_card(reloaded, out), encoding="utf-8")


def _untrained_pipeline(autoencoder: AutoencoderKL) -> FluxPipeline:
    """The pipeline with an untrained transformer and schnell's scheduler settings."""
    tokenizer, text_encoder = text_encoders.build_clip(SEED + 1)
    tokenizer_2, text_encoder_2 = text_encoders.build_t5(SEED + 2)
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            num_train_timesteps=1000, shift=1.0, use_dynamic_shifting=False, base_image_seq_len=256,
            max_image_seq_len=4096, base_shift=0.5, max_shift=1.15,
        ),
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        text_encoder_2=text_encoder_2,
        tokenizer_2=tokenizer_2,
        transformer=pretraining.build_nano_transformer(
            SEED + 3, latent_channels=autoencoder_training.LATENT_CHANNELS, text_width=text_encoders.WIDTH
        ),
    )  # fmt: skip
