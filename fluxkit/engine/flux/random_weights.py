"""Schnell's whole architecture with random weights, built on the device that runs it; and inputs of the right shapes.

The model begins without storage and gets it tensor by tensor in its final dtype, so that it never exists twice; with
8-bit weights no more than one block ever exists in 16 bits. Speed, memory and energy do not depend on the values, as
long as they are finite and not zeros: those are multiplied 11 % faster on a CPU.

Recipe: matrices are normal with variance 1/inputs, so that every layer keeps the size of its input; weights of norms
are 1, biases 0. Twelve thousand million normal numbers would take a CPU a minute, so the numbers of one tile are used
again and again: 1,000,003 of them, a prime, so that no two rows of a matrix begin at the same place of it, and from
another place for every tensor. Everything follows from names: the weights are the same in each repeat and on each
machine. A measured product of a 12288 x 3072 matrix took as long with a tile's numbers as with its own.

C latent channels, H and W latent height and width, T tokens, E and P widths of the caption states.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor, nn

from fluxkit.engine.flux import flow
from fluxkit.errors import MachineError
from fluxkit.model.pipeline_files import read_sizes
from fluxkit.model.transformer_size import Transformer
from fluxkit.values import canonical_sha256

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
OWN_PAGES_BYTES = 1 << 16
"""While building, everything larger has pages of its own, which go back to the system at once."""
SETTLED_BYTES = 1 << 25
"""Afterwards glibc's own upper limit of what the heap keeps: pages that are used again are not asked for again."""


@contextmanager
def compact_heap() -> Iterator[None]:
    """Freed memory goes back to the system inside the block, and what the heap still holds when it is left."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt") or not hasattr(libc, "malloc_trim"):
        yield
        return
    libc.mallopt(M_MMAP_THRESHOLD, OWN_PAGES_BYTES)
    try:
        yield
    finally:
        libc.mallopt(M_MMAP_THRESHOLD, SETTLED_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, 2 * SETTLED_BYTES)
        libc.malloc_trim(0)


RECIPE = "fluxkit random weights 2: normal, variance 1/inputs, one tile of bfloat16 numbers; the same everywhere"
TILE = 1_000_003


def build_transformer(
    folder: Path, dtype: torch.dtype, device: torch.device, after_block: Callable[[nn.Module], Any] | None = None
) -> FluxTransformer2DModel:
    """The transformer of a configuration folder with random weights; `after_block` may shrink each block at once.

    Raises:
        MachineError: it has other parameters than the formulas of the plan say; nothing was allocated.
    """
    config = FluxTransformer2DModel.load_config(folder, subfolder="transformer", local_files_only=True)
    with torch.device("meta"):
        model = FluxTransformer2DModel.from_config(config)
    built = sum(parameter.numel() for parameter in model.parameters())
    stated = Transformer.from_config(dict(config), str(folder)).parameters
    if built != stated:
        raise MachineError(
            f"This diffusers builds a transformer of {built:,} parameters where the formulas say {stated:,}; "
            "install the versions that fluxkit was made for."
        )
    tile = _Tile(dtype, device)
    with compact_heap():
        for kind in ("transformer_blocks", "single_transformer_blocks"):
            for number, block in enumerate(getattr(model, kind)):
                _fill(f"{kind}.{number}", block, tile)
                if after_block:
                    after_block(block)
        _fill("", model, tile)
    return model


def _fill(prefix: str, root: nn.Module, tile: _Tile) -> None:
    """Gives every parameter that has no storage yet its values."""
    for path, module in root.named_modules(prefix=prefix):
        for key, parameter in list(module.named_parameters(recurse=False)):
            if parameter.is_meta:
                values = tile.values(f"{path}.{key}", key, parameter.shape)
                setattr(module, key, nn.Parameter(values, requires_grad=False))


class _Tile:
    """The numbers that all matrices share."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self._dtype, self._device = dtype, device
        self._normal = flow.noise_of((TILE,), RECIPE)
        self._scaled: dict[int, Tensor] = {}

    def values(self, name: str, key: str, shape: torch.Size) -> Tensor:
        """The values of one parameter, on the device."""
        if key == "bias":
            return torch.zeros(shape, dtype=self._dtype, device=self._device)
        if len(shape) == 1:
            return torch.ones(shape, dtype=self._dtype, device=self._device)
        start = flow.seed_of(RECIPE, name) % TILE
        window = self._of_inputs(shape[1])[start : start + TILE]
        filled = torch.empty(shape, dtype=self._dtype, device=self._device)
        whole = filled.numel() // TILE * TILE
        filled.view(-1)[:whole].view(-1, TILE).copy_(window.expand(whole // TILE, TILE))
        filled.view(-1)[whole:].copy_(window[: filled.numel() - whole])
        return filled

    def _of_inputs(self, inputs: int) -> Tensor:
        """The tile twice in a row, scaled for matrices of so many inputs."""
        if inputs not in self._scaled:
            # Published weights of schnell are bfloat16 numbers, and what is stored narrower depends on that.
            scaled = (self._normal / inputs**0.5).bfloat16().to(self._device, self._dtype)
            self._scaled[inputs] = torch.cat([scaled, scaled])
        return self._scaled[inputs]


def random_latents(folder: Path, resolution: int, pixels_sha256: str) -> Tensor:
    """Latents (C, H, W) of a picture whose pixels have this hash: normal, as scaled latents nearly are."""
    sizes = read_sizes(folder)
    side = resolution // sizes.vae_factor
    return flow.noise_of((sizes.transformer.in_channels // 4, side, side), "random latents", pixels_sha256)


def random_caption(folder: Path, max_sequence_length: int, caption: str) -> tuple[Tensor, Tensor]:
    """Sequence (T, E) and pooled (P) states of a caption, in the shapes of T5 and CLIP: normal, no encoder needed."""
    sizes = read_sizes(folder)
    tokens, model = min(max_sequence_length, sizes.max_text_tokens or max_sequence_length), sizes.transformer
    states = flow.noise_of((tokens, model.joint_attention_dim), "random caption", tokens, caption)
    return states, flow.noise_of((model.pooled_projection_dim,), "random pooled caption", caption)


def recipe_sha256(folder: Path) -> str:
    """SHA-256 of the architecture and the recipe: equal on every machine that builds the same weights."""
    sizes = read_sizes(folder)
    shape = [sizes.transformer.model_dump(mode="json"), sizes.vae_factor, sizes.max_text_tokens]
    return canonical_sha256([RECIPE, TILE, shape])
