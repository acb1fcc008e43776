"""What the recipe of `nano` learns from: crops and mirrored copies of the tuning photos, never the exact pairs.

N pictures, FP32 (N, 3, 64, 64) in [-1, 1].
"""

import torch
from PIL import Image, ImageOps
from torch import Tensor

from fluxkit.dataset.photos import Photo, photo_path
from fluxkit.dataset.picture_loader import load_image, pixel_sha256
from fluxkit.engine.data.images import to_tensor

RESOLUTION = 64

CROPS, MIRRORED_COPIES = 3, 9
"""Per photo that the transformer is pre-trained on. More crops would make the untuned drawings a blur of them all."""


def crops(
    photo: Photo, *, count: int, smallest: float, mirrored: float, generator: torch.Generator
) -> list[Image.Image]:
    """Random square crops of a photo at 64 px, none of them equal to its exact pair.

    Args:
        photo: what is cropped.
        count: of crops.
        smallest: lower end of the crop's side as a share of the photo's shorter side, in (0, 1].
        mirrored: share of the crops that are mirrored left to right.
        generator: of places, sizes and mirroring.
    """
    with Image.open(photo_path(photo)) as opened:
        rgba = opened.convert("RGBA")
    whole = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    exact_pair = pixel_sha256(load_image(photo_path(photo), RESOLUTION))
    pictures: list[Image.Image] = []
    while len(pictures) < count:
        scale, across, down, side = torch.rand(4, generator=generator).tolist()
        size = max(RESOLUTION, round(min(whole.size) * (smallest + (1 - smallest) * scale)))
        left, top = round(across * (whole.width - size)), round(down * (whole.height - size))
        box = (left, top, left + size, top + size)
        picture = whole.resize((RESOLUTION, RESOLUTION), Image.Resampling.LANCZOS, box=box)
        if side < mirrored:
            picture = ImageOps.mirror(picture)
        if pixel_sha256(picture) != exact_pair:
            pictures.append(picture)
    return pictures


def autoencoder_pictures(tuning: tuple[Photo, ...], *, per_photo: int, generator: torch.Generator) -> Tensor:
    """Crops from the whole photo down to 64 of its own pixels, half of them mirrored."""
    cropped = [crops(photo, count=per_photo, smallest=0.3, mirrored=0.5, generator=generator) for photo in tuning]
    return to_tensor([picture for pictures in cropped for picture in pictures])


def transformer_pictures(tuning: tuple[Photo, ...], *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mirrored copies, and mirrored crops of most of the photo; for each the index of its photo in `tuning` (N,)."""
    pictures: list[Image.Image] = []
    for photo in tuning:
        pictures += [ImageOps.mirror(load_image(photo_path(photo), RESOLUTION))] * MIRRORED_COPIES
        pictures += crops(photo, count=CROPS, smallest=0.85, mirrored=1.0, generator=generator)
    return to_tensor(pictures), torch.arange(len(tuning)).repeat_interleave(MIRRORED_COPIES + CROPS)
