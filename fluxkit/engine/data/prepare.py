"""Captioned images become reference pixels, latents and embeddings; what the cache holds is not encoded again.

N images or captions, C latent channels, H and W latent height and width, T tokens, E and P widths of their states.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fluxkit.dataset.folder_walk import Problem
from fluxkit.dataset.opened_pictures import load_once
from fluxkit.dataset.photos import Split
from fluxkit.dataset.picture_loader import Pair, Watch, load_pairs
from fluxkit.engine.data.images import to_tensor
from fluxkit.engine.data.tensor_cache import cached_tensors, computed_here
from fluxkit.engine.data.weights_hash import component_sha256
from fluxkit.engine.flux.autoencoder import Autoencoder
from fluxkit.engine.flux.captions import Embeddings, encode_captions
from fluxkit.engine.flux.random_weights import random_caption, random_latents
from fluxkit.machine.stop_requests import check_stop
from fluxkit.model.pipeline_files import pipeline_folder
from fluxkit.spec.run_spec import RunSpec
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


def prepare_data(
    spec: RunSpec, autoencoder: Autoencoder | None, device: torch.device, watch: Watch = lambda items, _what: items
) -> Prepared:
    """Loads the images, then encodes them and their captions; `watch` is told how far it is.

    Without an autoencoder there are no encoders at all. Latents and states of the right shapes are then drawn, seeded
    by the content of each picture and caption.

    Raises:
        MachineError: an image or caption can't be used.
    """
    pairs = load_pairs(spec.data, enlarge=not spec.model.can_draw, load=load_once, watch=watch)
    rows = list(range(len(pairs.used)))
    captions = [*(pair.caption for pair in pairs.used), ""]
    if autoencoder:
        here = computed_here(device)
        encoded = _encoded_captions(spec, captions, device, here, watch)
        latents_NCHW = _encoded_images(spec, pairs.used, autoencoder, here, watch)
    else:
        folder, tokens = pipeline_folder(spec.model), spec.evaluate.max_sequence_length
        states, pooled = zip(*(random_caption(folder, tokens, caption) for caption in captions), strict=True)
        encoded = Embeddings(torch.stack(states), torch.stack(pooled))
        latents_NCHW = torch.stack(
            [random_latents(folder, spec.data.resolution, pair.pixels_sha256) for pair in pairs.used]
        )
    return Prepared(pairs.used, pairs.skipped, latents_NCHW, encoded.of(rows), encoded.of([len(rows)]))


def _encoded_images(
    spec: RunSpec, pairs: tuple[Pair, ...], autoencoder: Autoencoder, here: str, watch: Watch
) -> Tensor:
    encoder = component_sha256(spec.model, ("vae",))
    keys = [_cache_key(encoder, here, pair.pixels_sha256) for pair in pairs]

    def make(places: list[int]) -> Iterator[dict[str, Tensor]]:
        for place in watch(places, "encoded pictures"):
            check_stop()
            yield {"latents": autoencoder.encode(to_tensor([pairs[place].image]))}

    return torch.cat([entry["latents"] for entry in cached_tensors("latents", keys, make)])


def _encoded_captions(spec: RunSpec, captions: list[str], device: torch.device, here: str, watch: Watch) -> Embeddings:
    encoder = component_sha256(spec.model, ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    length = str(spec.evaluate.max_sequence_length)
    keys = [_cache_key(encoder, here, length, caption) for caption in captions]

    def make(places: list[int]) -> Iterator[dict[str, Tensor]]:
        wanted = (captions[place] for place in watch(places, "encoded captions"))
        for row in encode_captions(spec, wanted, device):
            yield {"prompt": row.prompt_NTE[0], "pooled": row.pooled_NP[0]}

    entries = cached_tensors("captions", keys, make)
    return Embeddings(
        torch.stack([entry["prompt"] for entry in entries]).float(),
        torch.stack([entry["pooled"] for entry in entries]).float(),
    )


def _cache_key(*parts: str) -> str:
    return hashlib.sha256("|".join(("2", *parts)).encode()).hexdigest()
