"""A training adapter that stays out of the result: fused into the base before tuning, taken out for sampling.

Tuning a step-distilled model directly breaks its few-step sampling. An adapter trained on images of the same model
absorbs that: with it in the base the user's adapter learns the subject, and without it the distillation is whole.
Source: ostris/ai-toolkit, issue 104, where the method for schnell is described.

R rank, I inputs and O outputs of a linear layer.
"""

from typing import Any

import torch
from diffusers import FluxPipeline
from torch import Tensor

from fluxkit.errors import MachineError

PREFIX = "transformer."
DOWN, UP = ".lora_A.weight", ".lora_B.weight"


class Assistant:
    """The weight changes of a LoRA adapter on the transformer, by module."""

    def __init__(self, path: str) -> None:
        state, alphas, metadata = FluxPipeline.lora_state_dict(
            path, return_alphas=True, return_lora_metadata=True, local_files_only=True, use_safetensors=True
        )
        self._factors: dict[str, tuple[Tensor, Tensor, float]] = {}
        for key in state:
            if key.startswith(PREFIX) and key.endswith(DOWN):
                name = key.removesuffix(DOWN)
                down_RI, up_OR = state[key], state[name + UP]
                rank = down_RI.shape[0]
                alpha = (alphas or {}).get(f"{name}.alpha", (metadata or {}).get(f"{PREFIX}lora_alpha", rank))
                self._factors[name.removeprefix(PREFIX)] = (down_RI, up_OR, float(alpha) / rank)
        if not self._factors:
            raise MachineError(f"{path} holds no LoRA for a FLUX transformer, so it can't assist the tuning of one.")

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
