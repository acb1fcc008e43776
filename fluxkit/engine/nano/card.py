"""Measures the embedded model `nano` and writes its model card; every figure on the card is computed here.

B batch, C channels, H and W height and width.
"""

from collections.abc import Iterator
from importlib import resources
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from diffusers import FluxPipeline
from numpy.typing import NDArray
from torch import Tensor

from fluxkit.dataset.photos import Photo, photo_path, photos
from fluxkit.dataset.picture_loader import load_image
from fluxkit.engine.data.images import to_tensor, to_uint8
from fluxkit.engine.evaluate.psnr_ssim import score
from fluxkit.engine.flux import flow
from fluxkit.engine.flux.autoencoder import Autoencoder
from fluxkit.engine.flux.transformer import Flux
from fluxkit.engine.measure.sampling import denoise
from fluxkit.engine.nano.pictures import RESOLUTION
from fluxkit.engine.nano.pretraining import embed_captions

CPU = torch.device("cpu")
SEEDS = 4
"""Noise seeds per caption of the untuned score."""
COMPONENTS = ("transformer", "vae", "text_encoder", "text_encoder_2")
STATED_PACKAGES = ("torch", "diffusers", "transformers", "pillow", "scikit-image")


def model_card(pipeline: FluxPipeline, folder: Path) -> str:
    """The model card in Markdown, of the pipeline in `folder`, loaded in FP32."""
    lines = [f"| {photo.id} | {photo.caption} | {photo.licence} | {photo.source} |" for photo in photos("tuning")]
    card = resources.files("fluxkit.engine.nano").joinpath("card.md").read_text("utf-8") + "\n"
    return card.format(
        seeds=SEEDS,
        versions=", ".join(f"{name} {version(name)}" for name in STATED_PACKAGES),
        figures="\n".join([*_size_rows(pipeline, folder), *_score_rows(pipeline)]),
        photos="\n".join(lines),
    )


def _size_rows(pipeline: FluxPipeline, folder: Path) -> Iterator[str]:
    """Rows of the parameters and bytes, of the files as written."""
    for part in COMPONENTS:
        yield f"| parameters, {part} | {sum(value.numel() for value in getattr(pipeline, part).parameters()):,} |"
    for path in sorted(folder.rglob("*.safetensors")):
        yield f"| bytes, {path.relative_to(folder).as_posix()} | {path.stat().st_size:,} |"
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    yield f"| bytes in all, without this page | {total:,} |"


@torch.no_grad()
def _score_rows(pipeline: FluxPipeline) -> Iterator[str]:
    """Rows of what the autoencoder keeps, which is the ceiling of every score, and of what the untuned model draws."""
    autoencoder = Autoencoder(pipeline.vae, CPU)
    for split in ("tuning", "held_out"):
        pictures_BCHW = _exact_pictures(photos(split))
        decoded_BCHW = autoencoder.decode(autoencoder.encode(pictures_BCHW))
        kept = _mean_score(to_uint8(decoded_BCHW), to_uint8(pictures_BCHW))
        yield f"| autoencoder round trip, {len(pictures_BCHW)} {split} photos | {kept} |"
    pictures_BCHW = _exact_pictures(photos("tuning"))
    latents_BCHW = autoencoder.encode(pictures_BCHW)
    drawn = to_uint8(
        torch.cat([autoencoder.decode(part_BCHW) for part_BCHW in _untuned_latents(pipeline, latents_BCHW)])
    )
    real = np.concatenate([to_uint8(pictures_BCHW)] * SEEDS)
    yield f"| untuned drawings against the real pairs | {_mean_score(drawn, real)} |"
    yield f"| the same against the mirrored pairs | {_mean_score(drawn, real[:, :, ::-1])} |"
    mean, deviation = latents_BCHW.mean().item(), latents_BCHW.std().item()
    yield f"| latents of the tuning photos | mean {mean:.3f}, sd {deviation:.3f} |"


def _untuned_latents(pipeline: FluxPipeline, like_BCHW: Tensor) -> Iterator[Tensor]:
    """Latents drawn for each caption of the tuning photos, once for each seed."""
    count, channels, height, width = like_BCHW.shape
    captions = embed_captions(pipeline, [photo.caption for photo in photos("tuning")])
    shape = (height // 2 * (width // 2), 4 * channels)
    for seed in range(SEEDS):
        noise_BLD = torch.stack([flow.noise_of(shape, "nano", seed, row) for row in range(count)])
        yield denoise(Flux(pipeline.transformer, CPU), flow.unpack(noise_BLD, height, width), captions, 4)


def _exact_pictures(chosen: tuple[Photo, ...]) -> Tensor:
    """The exact pairs' pictures, FP32 (B, 3, 64, 64) in [-1, 1]."""
    return to_tensor([load_image(photo_path(photo), RESOLUTION) for photo in chosen])


def _mean_score(images_BHWC: NDArray[np.uint8], references_BHWC: NDArray[np.uint8]) -> str:
    """Means of PSNR in dB and SSIM over pairs of pictures, in words."""
    scores = [score(image, reference) for image, reference in zip(images_BHWC, references_BHWC, strict=True)]
    psnr_db = np.mean([pair.psnr_db for pair in scores if pair.psnr_db is not None])
    return f"{psnr_db:.2f} dB, SSIM {np.mean([pair.ssim for pair in scores]):.3f}"
