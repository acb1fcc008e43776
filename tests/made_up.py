"""Sizes of FLUX, and a made-up pipeline folder: configuration files of a small one, weight files without tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fluxkit.model.transformer_size import Transformer
from fluxkit.model.weight_files import COMPONENTS, WEIGHTED

SCHNELL = Transformer(
    num_layers=19,
    num_single_layers=38,
    attention_head_dim=128,
    num_attention_heads=24,
    in_channels=64,
    joint_attention_dim=4096,
    pooled_projection_dim=768,
)
"""FLUX.1-schnell: 11,891,178,560 parameters. Source: `transformer/config.json` of its repository."""
NANO_SIZES = {
    "_class_name": "FluxTransformer2DModel",
    "num_layers": 1,
    "num_single_layers": 2,
    "attention_head_dim": 32,
    "num_attention_heads": 4,
    "in_channels": 64,
    "joint_attention_dim": 64,
    "pooled_projection_dim": 64,
    "guidance_embeds": False,
    "axes_dims_rope": [8, 12, 12],
}


def write_pipeline(folder: Path, transformer: dict[str, Any] = NANO_SIZES, *, longest: int = 20) -> Path:
    """The files of a diffusers pipeline, with weight files that hold no tensor."""
    files = {
        "model_index.json": {"_class_name": "FluxPipeline"}
        | {part: ["library", kind or "Tokenizer"] for part, kind in COMPONENTS.items()},
        "transformer/config.json": transformer,
        "vae/config.json": {"block_out_channels": [32, 64, 64]},
        "tokenizer_2/tokenizer_config.json": {"model_max_length": longest},
    }
    for name, values in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(values))
    for part in COMPONENTS:
        (folder / part).mkdir(exist_ok=True)
    for part in WEIGHTED:
        (folder / part / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return folder
