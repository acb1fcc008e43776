"""Makes the embedded model `nano`: a real, tiny FluxPipeline, trained from nothing in minutes on two CPU cores.

    python -m fluxkit.engine.nano.recipe --out fluxkit/data/nano

Deterministic: the same machine and the same library versions write the same bytes.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

from fluxkit.dataset.photos import photos
from fluxkit.engine.nano import autoencoder_training, base, card, pictures, text

if TYPE_CHECKING:
    from collections.abc import Sequence

THREADS = 2
"""Fixed, because sums in another order give other last bits."""

LINEAR_ITERATIONS, AUTOENCODER_ITERATIONS, TRANSFORMER_ITERATIONS = 1500, 800, 2000
SEED = 20240801


def make(
    out: Path,
    *,
    linear_iterations: int = LINEAR_ITERATIONS,
    autoencoder_iterations: int = AUTOENCODER_ITERATIONS,
    transformer_iterations: int = TRANSFORMER_ITERATIONS,
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
    started = time.monotonic()

    def progress(line: str) -> None:
        sys.stderr.write(f"[{time.monotonic() - started:6.1f} s] {line}\n")

    autoencoder = _autoencoder(linear_iterations, autoencoder_iterations, progress)
    pipeline = _pipeline(autoencoder)
    _pretrain(pipeline, transformer_iterations, progress)
    pipeline.transformer.to(torch.bfloat16)
    shutil.rmtree(out, ignore_errors=True)
    pipeline.save_pretrained(out, safe_serialization=True)
    reloaded = FluxPipeline.from_pretrained(out, dtype=torch.float32)
    reloaded.set_progress_bar_config(disable=True)
    progress("measuring")
    figures = card.measure(reloaded, out)
    (out / "README.md").write_text(card.write(figures), encoding="utf-8")
    progress(f"wrote {out}")


def _autoencoder(linear_iterations: int, iterations: int, progress: Any) -> Any:
    """The autoencoder, trained on crops of the tuning photos and on coloured noise."""
    generator = torch.Generator().manual_seed(SEED)
    crops = pictures.autoencoder_pictures(photos("tuning"), per_photo=200, generator=generator)
    noise = autoencoder_training.power_law_noise(200, pictures.RESOLUTION, generator)
    torch.manual_seed(SEED)
    model = autoencoder_training.build()
    autoencoder_training.train(
        model,
        torch.cat([crops, noise]),
        linear_iterations=linear_iterations,
        iterations=iterations,
        seed=SEED,
        progress=progress,
    )
    return model.eval().requires_grad_(requires_grad=False)


def _pipeline(autoencoder: Any) -> Any:
    """The pipeline with an untrained transformer and schnell's scheduler settings."""
    tokenizer, text_encoder = text.build_clip(SEED + 1)
    tokenizer_2, text_encoder_2 = text.build_t5(SEED + 2)
    transformer: FluxTransformer2DModel = base.build(
        SEED + 3, latent_channels=autoencoder_training.LATENT_CHANNELS, text_width=text.WIDTH
    )
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            num_train_timesteps=1000,
            shift=1.0,
            use_dynamic_shifting=False,
            base_image_seq_len=256,
            max_image_seq_len=4096,
            base_shift=0.5,
            max_shift=1.15,
        ),
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        text_encoder_2=text_encoder_2,
        tokenizer_2=tokenizer_2,
        transformer=transformer,
    )


def _pretrain(pipeline: Any, iterations: int, progress: Any) -> None:
    """Teaches the transformer the captions on mirrored pictures, so that a run still has the real pairs to learn."""
    tuning = photos("tuning")
    drawn, caption_of_N = pictures.base_pictures(tuning, generator=torch.Generator().manual_seed(SEED + 4))
    latents = torch.cat([autoencoder_training.encode(pipeline.vae, part) for part in drawn.split(64)])
    captions = base.embed(pipeline, [photo.caption for photo in tuning])
    base.train(
        pipeline.transformer,
        latents,
        captions,
        caption_of_N,
        iterations=iterations,
        seed=SEED + 5,
        progress=progress,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: where to write."""
    parser = argparse.ArgumentParser(prog="python -m fluxkit.engine.nano", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write; an existing one is replaced")
    make(parser.parse_args(arguments).out)


if __name__ == "__main__":
    main()
