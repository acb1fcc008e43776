"""Captioned images -> reference pixels, cached latents and embeddings, keyed by content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from fluxkit.engine.images import load_image, pixel_sha256, to_tensor
from fluxkit.engine.model import Autoencoder, Embeddings, encode_captions
from fluxkit.engine.photos import photo_path, photos
from fluxkit.spec import canonical_sha256

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from fluxkit.engine.photos import Photo, Split
    from fluxkit.spec import DataSpec, RunSpec


@dataclass(frozen=True)
class Pair:
    """One captioned image at the resolution of the run."""

    id: str
    caption: str
    split: Split
    cluster: str
    image: Image.Image
    pixels_sha256: str


@dataclass(frozen=True)
class Prepared:
    """Everything that tuning and evaluation read: nothing is encoded twice."""

    pairs: tuple[Pair, ...]
    latents_NCHW: Tensor
    """Scaled latents of the references, FP32 on the CPU, in the order of `pairs`."""
    captions: Embeddings
    """Encoded captions, in the order of `pairs`."""
    empty: Embeddings
    """The encoded empty caption, one row."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the latents."""
        return self.latents_NCHW.shape[2], self.latents_NCHW.shape[3]

    def of_split(self, split: Split) -> list[int]:
        """Places of the pairs of a split."""
        return [place for place, pair in enumerate(self.pairs) if pair.split == split]

    def sha256(self) -> str:
        """Hash over ids, captions, splits and reference pixels."""
        return canonical_sha256([(pair.id, pair.caption, pair.split, pair.pixels_sha256) for pair in self.pairs])


def prepare(spec: RunSpec, autoencoder: Autoencoder, device: torch.device) -> Prepared:
    """Loads the images, then encodes them and their captions once."""
    pairs = load_pairs(spec.data)
    latents = [autoencoder.encode(to_tensor([pair.image])) for pair in pairs]
    encoded = encode_captions(spec, [*(pair.caption for pair in pairs), ""], device)
    rows = list(range(len(pairs)))
    return Prepared(pairs, torch.cat(latents), encoded.of(rows), encoded.of([len(pairs)]))


def load_pairs(spec: DataSpec) -> tuple[Pair, ...]:
    """The embedded photos at the asked resolution, in the order of `photos.toml`.

    Raises:
        MachineError: a photo is missing, or not the one that its hash names.
    """
    return tuple(_load_pair(photo, spec.resolution) for photo in photos())


def _load_pair(photo: Photo, resolution: int) -> Pair:
    image = load_image(photo_path(photo), resolution)
    return Pair(photo.id, photo.caption, photo.split, photo.id, image, pixel_sha256(image))
