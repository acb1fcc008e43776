"""What the recipe of `nano` learns from: crops and mirrored copies of the tuning photos, never the exact pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from PIL import Image, ImageOps

from fluxkit.dataset.photos import Photo, photo_path
from fluxkit.dataset.picture_loader import load_image, pixel_sha256
from fluxkit.engine.data.images import to_tensor

if TYPE_CHECKING:
    from torch import Tensor

RESOLUTION = 64

CROPS, MIRRORED = 3, 9
"""Per photo that the transformer is pre-trained on: random crops, and how often the mirrored copy stands beside them.

More crops would make the untuned drawings a blur of all of them.
"""


def upright(photo: Photo) -> Image.Image:
    """The whole photograph in RGB on white, at its own size (not square)."""
    with Image.open(photo_path(photo)) as opened:
        rgba = opened.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def crops(
    photo: Photo, *, count: int, smallest: float, mirrored: float, generator: torch.Generator
) -> list[Image.Image]:
    """Random square crops of a photo at 64 px, none of them equal to its exact pair.

    Args:
        photo: what to crop.
        count: how many crops.
        smallest: lower end of the crop's side as a share of the photo's shorter side, in (0, 1].
        mirrored: share of the crops that are mirrored left to right.
        generator: of places, sizes and mirroring.
    """
    whole = upright(photo)
    forbidden = pixel_sha256(load_image(photo_path(photo), RESOLUTION))
    shorter = min(whole.size)
    found: list[Image.Image] = []
    while len(found) < count:
        scale, across, down, side = torch.rand(4, generator=generator).tolist()
        size = max(RESOLUTION, round(shorter * (smallest + (1 - smallest) * scale)))
        left, top = round(across * (whole.width - size)), round(down * (whole.height - size))
        picture = whole.resize(
            (RESOLUTION, RESOLUTION), Image.Resampling.LANCZOS, box=(left, top, left + size, top + size)
        )
        if side < mirrored:
            picture = ImageOps.mirror(picture)
        if pixel_sha256(picture) != forbidden:
            found.append(picture)
    return found


def autoencoder_pictures(tuning: tuple[Photo, ...], *, per_photo: int, generator: torch.Generator) -> Tensor:
    """FP32 (B, 3, 64, 64) in [-1, 1]: crops from the whole photo down to 64 of its own pixels."""
    return to_tensor(
        [
            crop
            for photo in tuning
            for crop in crops(photo, count=per_photo, smallest=0.3, mirrored=0.5, generator=generator)
        ]
    )


def base_pictures(tuning: tuple[Photo, ...], *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """What the transformer is pre-trained on: mirrored copies, and mirrored crops of most of the photo.

    Returns:
        FP32 pictures (N, 3, 64, 64) in [-1, 1], and for each the index of its photo in `tuning` (N,).
    """
    pictures: list[Image.Image] = []
    owners: list[int] = []
    for index, photo in enumerate(tuning):
        mirror = ImageOps.mirror(load_image(photo_path(photo), RESOLUTION))
        found = crops(photo, count=CROPS, smallest=0.85, mirrored=1.0, generator=generator)
        pictures += [mirror] * MIRRORED + found
        owners += [index] * (MIRRORED + CROPS)
    return to_tensor(pictures), torch.tensor(owners)
