"""A training adapter that stays out of the result: fused into the base before tuning, taken out for sampling.

Tuning a step-distilled model directly breaks its few-step sampling. An adapter trained on images of the same model
absorbs that: with it in the base the user's adapter learns the subject, and without it the distillation is whole.
Source: ostris/ai-toolkit, issue 104, where the method for schnell is described.

R rank, I inputs and O outputs of a linear layer.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from peft.utils.other import get_pattern_key
from safetensors import safe_open
from torch import Tensor

from fluxkit.engine.flux.bfl_layout import rows_of_parts
from fluxkit.engine.process.error_message import reading
from fluxkit.errors import MachineError
from fluxkit.model.adapter_file import AdapterFile, read_adapter
from fluxkit.model.tensor_names import parts_of
from fluxkit.model.transformer_size import MLP_RATIO


class Assistant:
    """The weight changes of a LoRA adapter on the transformer, by module.

    Raises:
        MachineError: something in the file is not understood.
    """

    def __init__(self, path: str) -> None:
        adapter = read_adapter(path)
        self._factors: dict[str, tuple[Tensor, Tensor, float]] = {}
        with reading(adapter.file), safe_open(adapter.file, "pt") as tensors:
            for name, layer in adapter.layers.items():
                down_RI, up_OR = tensors.get_tensor(layer.down), tensors.get_tensor(layer.up)
                alpha = float(tensors.get_tensor(layer.alpha)) if layer.alpha else None
                scale = _scale(adapter, name, down_RI.shape[0], alpha)
                for module, rows_OR in _modules(name, up_OR):
                    self._factors[module] = (down_RI, rows_OR, scale)

    @torch.no_grad()
    def add(self, transformer: Any, sign: float) -> None:
        """Adds `sign` times the adapter to the base weights; +1 then -1 restores them to rounding.

        Raises:
            MachineError: the adapter belongs to another architecture.
        """
        modules = dict(transformer.named_modules())
        for name, (down_RI, up_OR, scale) in self._factors.items():
            module = modules.get(f"{name}.base_layer", modules.get(name))
            if module is None or module.weight.shape != (up_OR.shape[0], down_RI.shape[1]):
                raise MachineError(
                    f"The assistant adapter changes {name}, which this transformer has not in that size."
                )
            device = module.weight.device
            change_OI = up_OR.to(device, torch.float32) @ down_RI.to(device, torch.float32)
            module.weight.copy_(module.weight.float() + sign * scale * change_OI)


def _scale(adapter: AdapterFile, layer: str, rank: int, alpha: float | None) -> float:
    """What the product of a layer's matrices is multiplied by: alpha / rank, or alpha / sqrt(rank) of an rsLoRA.

    A tensor `alpha` is the layer's own. Without any alpha it is the rank, as in diffusers and ComfyUI.
    """
    config = adapter.config
    patterns = config.get("alpha_pattern") or {}
    stated = patterns.get(get_pattern_key(patterns.keys(), layer), config.get("lora_alpha"))
    divisor = rank**0.5 if config.get("use_rslora") else rank
    if alpha is not None and stated is not None and abs(alpha / rank - stated / divisor) > 1e-6 * abs(alpha / rank):
        raise MachineError(
            f"{adapter.file} says two things about the strength of {layer}: alpha {alpha:g} beside the weights and "
            f"{stated:g} in its configuration. Remove one of them."
        )
    if alpha is not None:
        if not math.isfinite(alpha):
            raise MachineError(f"{adapter.file} has {alpha} as the alpha of {layer}, which is no number.")
        return alpha / rank
    return 1.0 if stated is None else stated / divisor


def _modules(layer: str, up_OR: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The modules of diffusers that a layer is made of, each with its rows."""
    parts = parts_of(layer)
    shares = [MLP_RATIO if part.endswith("proj_mlp") else 1 for part in parts] if len(parts) > 1 else [1]
    unit, rest = divmod(up_OR.shape[0], sum(shares))
    if rest:
        raise MachineError(f"The assistant adapter changes {layer}, whose {up_OR.shape[0]} rows are those of no FLUX.")
    return rows_of_parts(up_OR, [(part, unit * share) for part, share in zip(parts, shares, strict=True)], layer)
