"""Captioned images -> reference pixels, cached latents and embeddings, keyed by content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from fluxkit.dataset.picture_loader import load_pairs
from fluxkit.engine.data.images import to_tensor
from fluxkit.engine.data.tensor_cache import cached
from fluxkit.engine.data.weights_hash import component_sha256
from fluxkit.engine.flux.random_weights import random_caption, random_latents
from fluxkit.engine.flux.transformer import Autoencoder, Embeddings, encode_captions
from fluxkit.model.pipeline_files import pipeline_folder
from fluxkit.values import canonical_sha256

if TYPE_CHECKING:
    from torch import Tensor

    from fluxkit.dataset.photos import Split
    from fluxkit.dataset.picture_folder import Problem
    from fluxkit.dataset.picture_loader import Pair
    from fluxkit.spec.run_spec import RunSpec


@dataclass(frozen=True)
class Prepared:
    """Everything that tuning and evaluation read: nothing is encoded twice."""

    pairs: tuple[Pair, ...]
    skipped: tuple[Problem, ...]
    """Files of the folder that were left out."""
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


def prepare(spec: RunSpec, autoencoder: Autoencoder | None, device: torch.device) -> Prepared:
    """Loads the images, then encodes them and their captions once; what the cache holds is not encoded again.

    Without an autoencoder there are no encoders at all: latents and states of the right shapes are drawn, seeded by
    the content of each picture and caption.

    Raises:
        MachineError: an image or caption can't be used.
    """
    pairs = load_pairs(spec.data, enlarge=not spec.model.can_draw)
    rows = list(range(len(pairs.used)))
    captions = [*(pair.caption for pair in pairs.used), ""]
    encoded = _captions(spec, captions, device) if autoencoder else _drawn_captions(spec, captions)
    latents = _latents(spec, pairs.used, autoencoder) if autoencoder else _drawn_latents(spec, pairs.used)
    return Prepared(pairs.used, pairs.skipped, latents, encoded.of(rows), encoded.of([len(rows)]))


def _latents(spec: RunSpec, pairs: tuple[Pair, ...], autoencoder: Autoencoder) -> Tensor:
    encoder = component_sha256(spec.model, ("vae",))
    keys = [_key(encoder, pair.pixels_sha256) for pair in pairs]

    def make(places: list[int]) -> list[dict[str, Tensor]]:
        return [{"latents": autoencoder.encode(to_tensor([pairs[place].image]))} for place in places]

    return torch.cat([each["latents"] for each in cached("latents", keys, make)])


def _captions(spec: RunSpec, captions: list[str], device: torch.device) -> Embeddings:
    encoder = component_sha256(spec.model, ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    keys = [_key(encoder, str(spec.evaluate.max_sequence_length), device.type, caption) for caption in captions]

    def make(places: list[int]) -> list[dict[str, Tensor]]:
        made = encode_captions(spec, [captions[place] for place in places], device)
        return [
            {"prompt": made.prompt_NTE[row].clone(), "pooled": made.pooled_NP[row].clone()}
            for row in range(len(places))
        ]

    entries = cached("captions", keys, make)
    return Embeddings(
        torch.stack([each["prompt"] for each in entries]).float(),
        torch.stack([each["pooled"] for each in entries]).float(),
    )


def _drawn_latents(spec: RunSpec, pairs: tuple[Pair, ...]) -> Tensor:
    folder = pipeline_folder(spec.model)
    return torch.stack([random_latents(folder, spec.data.resolution, pair.pixels_sha256) for pair in pairs])


def _drawn_captions(spec: RunSpec, captions: list[str]) -> Embeddings:
    folder, tokens = pipeline_folder(spec.model), spec.evaluate.max_sequence_length
    prompts, pooled = zip(*(random_caption(folder, tokens, caption) for caption in captions), strict=True)
    return Embeddings(torch.stack(prompts), torch.stack(pooled))


def _key(*parts: str) -> str:
    return hashlib.sha256("|".join(("1", *parts)).encode()).hexdigest()
