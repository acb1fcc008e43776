"""Sizes of FLUX, and a made-up pipeline folder: configuration files of a small one, weight files of headers."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

from fluxkit.errors import MachineError
from fluxkit.model.tensor_names import clip_tensors, t5_tensors, transformer_tensors, vae_tensors
from fluxkit.model.transformer_size import Transformer
from fluxkit.model.weight_files import COMPONENTS

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
    """The files of a diffusers pipeline, with weight files that are headers alone."""
    files: dict[str, dict[str, Any]] = {
        "model_index.json": {"_class_name": "FluxPipeline"}
        | {part: ["diffusers", kind or "Tokenizer"] for part, kind in COMPONENTS.items()},
        "transformer/config.json": transformer,
        "vae/config.json": {"block_out_channels": [32, 64, 64]},
        "text_encoder/config.json": {
            "num_hidden_layers": 1,
            "hidden_size": 8,
            "intermediate_size": 16,
            "vocab_size": 9,
            "max_position_embeddings": 7,
        },
        "text_encoder_2/config.json": {"num_layers": 1, "d_model": 8, "d_ff": 16, "num_heads": 2, "d_kv": 4},
        "tokenizer/tokenizer.json": {"model": {"vocab": {"a": 0}}},
        "tokenizer_2/tokenizer.json": {"model": {"vocab": [["a", 0]]}},
        "tokenizer/tokenizer_config.json": {"model_max_length": 77},
        "tokenizer_2/tokenizer_config.json": {"model_max_length": longest},
        "scheduler/scheduler_config.json": {},
    }
    for name, values in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(values))
    try:
        shapes = transformer_tensors(Transformer.from_config(transformer, "made up"))
    except MachineError:  # sizes that a test wants to be refused
        shapes = {}
    write_header(folder / "transformer" / "diffusion_pytorch_model.safetensors", shapes)
    shapes = dict.fromkeys(vae_tensors(files["vae/config.json"]), (1,))
    write_header(folder / "vae" / "diffusion_pytorch_model.safetensors", shapes)
    write_header(folder / "text_encoder" / "model.safetensors", clip_tensors(files["text_encoder/config.json"]))
    shapes = t5_tensors(files["text_encoder_2/config.json"]) | {"shared.weight": (9, 8)}
    write_header(folder / "text_encoder_2" / "model.safetensors", shapes)
    return folder


def write_header(file: Path, shapes: dict[str, tuple[int, ...]], dtype: str = "BF16", **metadata: str) -> None:
    """A safetensors file of these tensors, with a header only: it is as long as that says, but takes no disk."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * prod(shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(len(text).to_bytes(8, "little") + text)
    with file.open("r+b") as stream:
        stream.truncate(8 + len(text) + end)
