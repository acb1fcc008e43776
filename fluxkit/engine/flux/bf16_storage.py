"""FP32 computed from weights that are stored in bfloat16: half their memory, and not a bit of difference.

Weights that were published in bfloat16 lose nothing when they are stored in it, and each product widens its own
matrix for as long as it takes. A matrix's own values tell whether it is such. An adapter fused into it would change
them, so adapters stay beside the base.
"""

import torch
from torch import Tensor
from torch.nn.functional import linear


class WideningLinear(torch.nn.Linear):
    """A linear layer in bfloat16 whose product is computed in the precision of what comes in."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """The product, with weight and bias widened for it."""
        bias = None if self.bias is None else self.bias.to(input.dtype)
        return linear(input, self.weight.to(input.dtype), bias)


@torch.no_grad()
def store_as_bf16(transformer: torch.nn.Module) -> float:
    """Stores every matrix that survives it in bfloat16 and all else in FP32; gives the share of numbers in bfloat16."""
    narrow = {
        name: module for name, module in transformer.named_modules()
        if type(module) is torch.nn.Linear and "lora_" not in name
        and all(torch.equal(value.bfloat16().to(value.dtype), value) for value in module.parameters())
    }  # fmt: skip
    for module in narrow.values():
        module.__class__ = WideningLinear
        module.bfloat16()
    kept = {id(parameter) for module in narrow.values() for parameter in module.parameters()}
    for parameter in transformer.parameters():
        if id(parameter) not in kept:
            parameter.data = parameter.data.float()
    sizes = [(parameter.numel(), id(parameter) in kept) for parameter in transformer.parameters()]
    return sum(count for count, is_narrow in sizes if is_narrow) / sum(count for count, _ in sizes)
