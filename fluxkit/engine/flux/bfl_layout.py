"""A transformer in the layout of Black Forest Labs, tensor by tensor as diffusers wants it.

diffusers' own converter knows schnell's width alone, and holds the whole model twice.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from diffusers import FluxTransformer2DModel
from safetensors import safe_open
from torch import Tensor

from fluxkit.model.single_file import PREFIX, transformer_config
from fluxkit.model.tensor_names import SWAPPED, bfl_modules, module_shapes
from fluxkit.model.transformer_size import Transformer


def load_bfl_transformer(file: Path, folder: Path, dtype: torch.dtype) -> FluxTransformer2DModel:
    """The transformer of a single file, on the CPU; `folder` holds the other parts of its pipeline."""
    config = transformer_config(file, folder)
    with torch.device("meta"):
        model = FluxTransformer2DModel.from_config(config)
    with safe_open(file, "pt") as tensors:
        prefix = PREFIX if any(name.startswith(PREFIX) for name in tensors.keys()) else ""  # noqa: SIM118 - no mapping
        stored = as_diffusers(
            lambda name: tensors.get_tensor(prefix + name), Transformer.from_config(config, str(file))
        )
        state = {name: value.to(dtype, copy=True) for name, value in stored}
    model.load_state_dict(state, assign=True)
    return model.eval()


def as_diffusers(tensor: Callable[[str], Tensor], sizes: Transformer) -> Iterator[tuple[str, Tensor]]:
    """Every tensor under diffusers' name; `tensor` gives one by BFL's."""
    shapes = module_shapes(sizes)
    for module, parts in bfl_modules(sizes).items():
        kinds = {"scale": "weight"} if len(shapes[parts[0]]) == 1 else {"weight": "weight", "bias": "bias"}
        for stored, kind in kinds.items():
            rows = rows_of_parts(tensor(f"{module}.{stored}"), [(part, shapes[part][0]) for part in parts], module)
            yield from ((f"{part}.{kind}", value) for part, value in rows)


def rows_of_parts(value: Tensor, parts: list[tuple[str, int]], module: str) -> Iterator[tuple[str, Tensor]]:
    """The rows of one of BFL's tensors that belong to each of diffusers' modules, of which `parts` says how many."""
    for (name, _), rows in zip(parts, value.split([count for _, count in parts]), strict=True):
        yield name, torch.cat(rows.chunk(2)[::-1]) if module == SWAPPED else rows
