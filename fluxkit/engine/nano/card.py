"""Measures the embedded model `nano` and writes its model card; every figure on the card is computed here."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from fluxkit.dataset.photos import Photo, photo_path, photos
from fluxkit.dataset.picture_loader import load_image
from fluxkit.engine.data.images import to_tensor, to_uint8
from fluxkit.engine.nano import autoencoder_training, base, pictures

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    from torch import Tensor

SEEDS = 4
"""Noise seeds per caption of the untuned score."""


@dataclass(frozen=True)
class Score:
    """Mean PSNR and SSIM over pictures."""

    psnr_db: float
    ssim: float


@dataclass(frozen=True)
class Figures:
    """What the model card states, measured on the files as written."""

    parameters: dict[str, int]
    total_bytes: int
    file_bytes: dict[str, int]
    """Of each safetensors file, by its path inside the folder."""
    round_trip: dict[str, Score]
    """Autoencoder, by split."""
    untuned_real: Score
    """Pictures drawn from the captions against the real pairs."""
    untuned_mirrored: Score
    """The same pictures against the mirrored pairs, which the transformer was pre-trained on."""
    latent_mean: float
    latent_std: float


def score(drawn: npt.NDArray[np.uint8], real: npt.NDArray[np.uint8]) -> Score:
    """Mean over pairs of uint8 pictures (B, H, W, C) of scikit-image's PSNR in dB and SSIM (Gaussian, 11 taps)."""
    pairs = list(zip(drawn, real, strict=True))
    decibels = [peak_signal_noise_ratio(b, a, data_range=255) for a, b in pairs]
    settings: dict[str, Any] = {
        "data_range": 255,
        "channel_axis": -1,
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
    }
    similar = [structural_similarity(b, a, **settings) for a, b in pairs]
    return Score(float(np.mean(decibels)), float(np.mean(similar)))


@torch.no_grad()
def measure(pipeline: Any, folder: Path) -> Figures:
    """The figures of the pipeline in `folder`, loaded in FP32."""
    latents = autoencoder_training.encode(pipeline.vae, _pictures(photos("tuning")))
    drawn, real = _untuned(pipeline, latents.shape[-1])
    parts = ("transformer", "vae", "text_encoder", "text_encoder_2")
    files = sorted(folder.rglob("*.safetensors"))
    return Figures(
        parameters={part: sum(p.numel() for p in getattr(pipeline, part).parameters()) for part in parts},
        total_bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        file_bytes={path.relative_to(folder).as_posix(): path.stat().st_size for path in files},
        round_trip={split: _round_trip(pipeline.vae, photos(split)) for split in ("tuning", "held_out")},
        untuned_real=score(drawn, real),
        untuned_mirrored=score(drawn, real[:, :, ::-1]),
        latent_mean=latents.mean().item(),
        latent_std=latents.std().item(),
    )


def _pictures(chosen: tuple[Photo, ...]) -> Tensor:
    """The exact pairs' pictures, FP32 (B, 3, 64, 64) in [-1, 1]."""
    return to_tensor([load_image(photo_path(photo), pictures.RESOLUTION) for photo in chosen])


def _round_trip(autoencoder: Any, chosen: tuple[Photo, ...]) -> Score:
    """What the autoencoder alone keeps of the pictures: the ceiling of every score."""
    pictures = _pictures(chosen)
    decoded = autoencoder_training.decode(autoencoder, autoencoder_training.encode(autoencoder, pictures))
    return score(to_uint8(decoded), to_uint8(pictures))


def _untuned(pipeline: Any, side: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Pictures drawn by the untuned model, and the real ones beside them, `SEEDS` times."""
    tuning = photos("tuning")
    captions = base.embed(pipeline, [photo.caption for photo in tuning])
    drawn = [
        autoencoder_training.decode(pipeline.vae, base.sample(pipeline.transformer, captions, side=side, seed=seed))
        for seed in range(SEEDS)
    ]
    return to_uint8(torch.cat(drawn)), np.concatenate([to_uint8(_pictures(tuning))] * SEEDS)


def write(figures: Figures) -> str:
    """The model card in Markdown."""
    return "\n".join([_head(), _figures(figures), _training(), _limits(), ""])


def _head() -> str:
    """Front matter and the first words."""
    return """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
---

# nano

A FLUX-architecture text-to-image pipeline small enough to tune on two CPU cores in a minute. It exists to measure
tuning, not to make pictures: `FluxPipeline.from_pretrained(folder)` opens it, and everything that FLUX.1-schnell
does happens in it, in miniature. It was trained from nothing by `python -m fluxkit.engine.nano.recipe`, which also
measured and wrote this page.
"""


def _figures(figures: Figures) -> str:
    """The measured part."""
    rows = [f"| parameters, {part} | {count:,} |" for part, count in figures.parameters.items()]
    rows += [f"| bytes, {name} | {size:,} |" for name, size in figures.file_bytes.items()]
    rows.append(f"| bytes in all, without this page | {figures.total_bytes:,} |")
    for split, value in figures.round_trip.items():
        count = len(photos("tuning" if split == "tuning" else "held_out"))
        rows.append(
            f"| autoencoder round trip, {count} {split} photos | {value.psnr_db:.2f} dB, SSIM {value.ssim:.3f} |"
        )
    real, mirrored = figures.untuned_real, figures.untuned_mirrored
    rows.append(f"| untuned drawings against the real pairs | {real.psnr_db:.2f} dB, SSIM {real.ssim:.3f} |")
    rows.append(f"| the same against the mirrored pairs | {mirrored.psnr_db:.2f} dB, SSIM {mirrored.ssim:.3f} |")
    rows.append(f"| latents of the tuning photos | mean {figures.latent_mean:.3f}, sd {figures.latent_std:.3f} |")
    packages = ("torch", "diffusers", "transformers", "pillow", "scikit-image")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    table = "\n".join(["| what | measured |", "|---|---|", *rows])
    return (
        f"## Figures\n\n64x64 pixels, 8-bit RGB, FP32, {SEEDS} noise seeds per caption, 4 Euler steps; "
        f"made with {versions}.\n\n{table}\n"
    )


def _training() -> str:
    """How it was made, and from what."""
    lines = [f"| {photo.id} | {photo.caption} | {photo.licence} | {photo.source} |" for photo in photos("tuning")]
    table = "\n".join(["| photo | caption | licence | source |", "|---|---|---|---|", *lines])
    return f"""## How it was made

- **Autoencoder** (AutoencoderKL, 4x4 pixels to 16 channels): random crops of the photos below, mirrored half of the
  time and varied in colour, and synthetic coloured noise; loss ln MSE with noise on the latents.
- **Transformer** (FluxTransformer2DModel, 1 double and 2 single blocks, no guidance): rectified flow with the captions
  below on *mirrored* centre crops and mirrored crops of the same photos. The exact pairs that a run tunes on were
  never seen. Stored in bfloat16.
- **Text encoders**: random and frozen. They tell captions apart and know nothing about language; their vocabularies
  are fixed lists, not fitted to the captions.
- **Scheduler**: the settings of FLUX.1-schnell.

## Data and licences

The held-out photos of `fluxkit/data/photos.toml` entered no part of the training. The photos come with scikit-image.

{table}
"""


def _limits() -> str:
    """What not to use it for."""
    return """## Limits

It has seen nine photographs: it draws those, from their captions, and nothing else. Its speed says how a FLUX-shaped
network runs on a machine, not how fast FLUX.1-schnell would; its quality scores measure how well a tuning set was
learnt, never how well a model generalises.
"""
