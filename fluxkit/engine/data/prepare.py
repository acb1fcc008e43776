"""Captioned images become reference pixels, latents and embeddings; what the cache holds is not encoded again.

N images or captions, C latent channels, H and W latent height and width, T tokens, E and P widths of their states.
"""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from fluxkit.dataset.folder_walk import Problem
from fluxkit.dataset.photos import Split
from fluxkit.dataset.picture_loader import Pair, load_pairs
from fluxkit.engine.data.images import to_tensor
from fluxkit.engine.data.tensor_cache import cached_tensors, computed_here
from fluxkit.engine.data.weights_hash import component_sha256
from fluxkit.engine.flux.autoencoder import Autoencoder
from fluxkit.engine.flux.captions import Embeddings, encode_captions
from fluxkit.engine.flux.random_weights import random_caption, random_latents
from fluxkit.model.pipeline_files import pipeline_folder
from fluxkit.spec.run_spec import RunSpec
from fluxkit.stop_requests import check_stop
from fluxkit.values import canonical_sha256


@dataclass(frozen=True)
class Prepared:
    """Everything that tuning and evaluation read."""

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


def prepare_data(spec: RunSpec, autoencoder: Autoencoder | None, device: torch.device) -> Prepared:
    """Loads the images, then encodes them and their captions.

    Without an autoencoder there are no encoders at all. Latents and states of the right shapes are then drawn, seeded
    by the content of each picture and caption.

    Raises:
        MachineError: an image or caption can't be used.
    """
    pairs = load_pairs(spec.data, enlarge=not spec.model.can_draw)
    rows = list(range(len(pairs.used)))
    captions = [*(pair.caption for pair in pairs.used), ""]
    if autoencoder:
        encoded = _encoded_captions(spec, captions, device)
        latents_NCHW = _encoded_images(spec, pairs.used, autoencoder)
    else:
        folder, tokens = pipeline_folder(spec.model), spec.evaluate.max_sequence_length
        states, pooled = zip(*(random_caption(folder, tokens, caption) for caption in captions), strict=True)
        encoded = Embeddings(torch.stack(states), torch.stack(pooled))
        latents_NCHW = torch.stack(
            [random_latents(folder, spec.data.resolution, pair.pixels_sha256) for pair in pairs.used]
        )
    return Prepared(pairs.used, pairs.skipped, latents_NCHW, encoded.of(rows), encoded.of([len(rows)]))


def _encoded_images(spec: RunSpec, pairs: tuple[Pair, ...], autoencoder: Autoencoder) -> Tensor:
    encoder, here = component_sha256(spec.model, ("vae",)), computed_here(autoencoder.device)
    keys = [_cache_key(encoder, here, pair.pixels_sha256) for pair in pairs]

    def encoded(place: int) -> dict[str, Tensor]:
        check_stop()
        return {"latents": autoencoder.encode(to_tensor([pairs[place].image]))}

    def make(places: list[int]) -> list[dict[str, Tensor]]:
        return [encoded(place) for place in places]

    return torch.cat([entry["latents"] for entry in cached_tensors("latents", keys, make)])


def _encoded_captions(spec: RunSpec, captions: list[str], device: torch.device) -> Embeddings:
    encoder = component_sha256(spec.model, ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    here, length = computed_here(device), str(spec.evaluate.max_sequence_length)
    keys = [_cache_key(encoder, here, length, caption) for caption in captions]

    def make(places: list[int]) -> list[dict[str, Tensor]]:
        encoded = encode_captions(spec, [captions[place] for place in places], device)
        # Each row is stored in a file of its own, so it must not be a view of them all.
        rows = zip(encoded.prompt_NTE, encoded.pooled_NP, strict=True)
        return [{"prompt": prompt_TE.clone(), "pooled": pooled_P.clone()} for prompt_TE, pooled_P in rows]

    entries = cached_tensors("captions", keys, make)
    return Embeddings(
        torch.stack([entry["prompt"] for entry in entries]).float(),
        torch.stack([entry["pooled"] for entry in entries]).float(),
    )


def _cache_key(*parts: str) -> str:
    return hashlib.sha256("|".join(("2", *parts)).encode()).hexdigest()
