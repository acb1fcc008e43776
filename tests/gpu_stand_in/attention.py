"""Attention on made-up devices: the kernel that CUDA would take, by priority, dtype and compute capability.

Whichever it is, the numbers are those of the CPU's kernel. Like a fused one it keeps query, key, value and output for
the way back, and no number for each pair of tokens.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.attention import SDPBackend

from gpu_stand_in.tensor import CudaTensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

on_host = torch.nn.functional.scaled_dot_product_attention
OPERATORS = {
    SDPBackend.MATH: "attention_math",
    SDPBackend.FLASH_ATTENTION: "flash_attention",
    SDPBackend.EFFICIENT_ATTENTION: "efficient_attention",
    SDPBackend.CUDNN_ATTENTION: "cudnn_attention",
}
AMPERE = (8, 0)
HALF = (torch.float16, torch.bfloat16)
ran: Counter[str] = Counter()
"""Kernels with the dtype that they were given."""


def takes(kernel: SDPBackend, query: torch.Tensor, mask: torch.Tensor | None, capability: tuple[int, int]) -> bool:
    """Whether a kernel takes such operands. Source: PyTorch `sdp_utils.cpp`."""
    match kernel:
        case SDPBackend.FLASH_ATTENTION:
            return query.dtype in HALF and capability >= AMPERE and mask is None and query.shape[-1] <= 256
        case SDPBackend.CUDNN_ATTENTION:
            return query.dtype in HALF and capability >= AMPERE and query.shape[-1] <= 128
        case SDPBackend.EFFICIENT_ATTENTION:
            return query.dtype != torch.bfloat16 or capability >= AMPERE
    return True


def chosen(query: torch.Tensor, mask: torch.Tensor | None, capability: tuple[int, int]) -> SDPBackend:
    """The first enabled kernel that takes the operands.

    Raises: RuntimeError: there is none, in torch's words.
    """
    enabled = {
        SDPBackend.MATH: torch.backends.cuda.math_sdp_enabled(),
        SDPBackend.FLASH_ATTENTION: torch.backends.cuda.flash_sdp_enabled(),
        SDPBackend.EFFICIENT_ATTENTION: torch.backends.cuda.mem_efficient_sdp_enabled(),
        SDPBackend.CUDNN_ATTENTION: torch.backends.cuda.cudnn_sdp_enabled(),
    }
    for number in torch._C._get_sdp_priority_order():
        kernel = SDPBackend(int(number))
        if enabled.get(kernel) and takes(kernel, query, mask, capability):
            return kernel
    raise RuntimeError("No available kernel. Aborting execution.")


@contextmanager
def unseen() -> Iterator[None]:
    """The profiler does not see what the CPU does in a kernel's place."""
    torch._C._autograd._enable_record_function(False)
    yield
    torch._C._autograd._enable_record_function(True)


class Fused(torch.autograd.Function):
    """The CPU's kernel forward, and once more on the way back."""

    @staticmethod
    def forward(
        ctx: Any,
        query: CudaTensor,
        key: CudaTensor,
        value: CudaTensor,
        mask: CudaTensor | None,
        options: dict[str, Any],
    ) -> torch.Tensor:
        with torch.no_grad(), unseen():
            out = on_host(*(each.host.detach() for each in (query, key, value)), host_of(mask), **options)
        shell = CudaTensor(out, query.device.index)
        ctx.save_for_backward(query, key, value, shell)
        ctx.mask, ctx.options = mask, options
        return shell

    @staticmethod
    def backward(ctx: Any, gradient: CudaTensor) -> tuple[Any, ...]:
        query, key, value, _ = ctx.saved_tensors
        with torch.enable_grad(), unseen():
            operands = [each.host.detach().requires_grad_() for each in (query, key, value)]
            out = on_host(*operands, host_of(ctx.mask), **ctx.options)
        gradients = torch.autograd.grad(out, operands, gradient.host)
        return *(CudaTensor(each, query.device.index) for each in gradients), None, None


def host_of(mask: CudaTensor | None) -> torch.Tensor | None:
    return None if mask is None else mask.host


def attention_with(capability: tuple[int, int]) -> Callable[..., torch.Tensor]:
    """What takes the place of `scaled_dot_product_attention` where the devices have this compute capability."""

    def attend(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
    ) -> torch.Tensor:  # fmt: skip
        options = {"dropout_p": dropout_p, "is_causal": is_causal, "scale": scale, "enable_gqa": enable_gqa}
        if not isinstance(query, CudaTensor):
            return on_host(query, key, value, attn_mask, **options)
        operands = [query, key, value]
        if torch.is_autocast_enabled("cuda"):  # it is among the operators that autocast lowers
            operands = [each.to(torch.get_autocast_dtype("cuda")) for each in operands]
        if len({(each.dtype, each.device) for each in operands}) > 1:
            raise RuntimeError("Expected query, key, and value to have the same dtype and to be on the same device")
        name = OPERATORS[chosen(operands[0], attn_mask, capability)]
        ran[f"{name} {str(operands[0].dtype).removeprefix('torch.')}"] += 1
        with torch.profiler.record_function(f"aten::_scaled_dot_product_{name}"):
            return Fused.apply(*operands, attn_mask, options)

    return attend
