"""The shortest runs that go through every phase, on the CPU and on made-up cards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from real_engine import small_spec

from fluxkit.model.pipeline_files import SCHNELL_FOLDER

if TYPE_CHECKING:
    from pathlib import Path

STEPS = 4
SHORT: dict[str, dict[str, Any]] = {
    # All marks of time fall into the first step, so two states are graded: the untuned one and the last.
    "tune": {"seconds": 0.01, "iterations": STEPS},
    "evaluate": {"num_inference_steps": 1, "sigmas": 1},
    "inference": {"batch_size": 4, "num_inference_steps": 1, "min_seconds": 0.01},
}
SHRUNK = {
    "num_layers": 2, "num_single_layers": 3, "attention_head_dim": 32, "num_attention_heads": 4, "axes_dims_rope":
    [8, 12, 12], "joint_attention_dim": 64, "pooled_projection_dim": 48, "in_channels": 64, "guidance_embeds": False,
    "patch_size": 1,
}  # fmt: skip
"""Sizes of a transformer in schnell's layout."""
EXTRAS = {"ema_decay": 0.9, "caption_dropout": 0.5}
FULL = {"method": "full", "learning_rate": 1e-3, "max_grad_norm": 0.05}
"""The norm of the gradient is above its bound at every step, so that clipping counts."""
BFLOAT16 = {"precision": "bfloat16", "inference_precision": "bfloat16"}


def short_spec(**tables: dict[str, Any]) -> Any:
    """`SHORT`, with single keys changed."""
    return small_spec(**{name: {**SHORT.get(name, {}), **tables.get(name, {})} for name in {*SHORT, *tables}})


def shrunk_schnell(folder: Path, sizes: dict[str, Any] = SHRUNK) -> Path:
    """Configuration files like schnell's, of a small transformer and without weights."""
    for name in ("model_index.json", "vae/config.json", "tokenizer_2/tokenizer_config.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text((SCHNELL_FOLDER / name).read_text())
    (folder / "transformer").mkdir(exist_ok=True)
    (folder / "transformer" / "config.json").write_text(json.dumps(sizes))
    return folder
