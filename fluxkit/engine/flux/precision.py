"""What FP32 means: sets the precision of every backend's products and reads back what is in force.

Source: PyTorch `torch.backends.*.fp32_precision`. cuDNN convolutions default to TF32, and the older
`set_float32_matmul_precision` also lowers CPU products to bfloat16, so only the per-backend switches are used.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from diffusers import FluxTransformer2DModel

Mode = Literal["ieee", "tf32"]
_BACKENDS: dict[str, Any] = {
    "cuda.matmul": torch.backends.cuda.matmul,
    "cudnn.conv": torch.backends.cudnn.conv,  # type: ignore[attr-defined]  # made at run time
    "cudnn.rnn": torch.backends.cudnn.rnn,
    "mkldnn.matmul": torch.backends.mkldnn.matmul,  # type: ignore[attr-defined]
    "mkldnn.conv": torch.backends.mkldnn.conv,  # type: ignore[attr-defined]
}


def dtype_of(precision: str) -> torch.dtype:
    """The dtype of weights and activations of a precision named in the spec."""
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def set_fp32_products(mode: Mode) -> None:
    """FP32 products on every backend as IEEE, or as TF32 where the backend has it (a CPU stays IEEE)."""
    for name, backend in _BACKENDS.items():
        backend.fp32_precision = "ieee" if name.startswith("mkldnn") else mode


@contextmanager
def fp32_products(mode: Mode) -> Iterator[None]:
    """`set_fp32_products` for a while; IEEE afterwards."""
    set_fp32_products(mode)
    try:
        yield
    finally:
        set_fp32_products("ieee")


def switches_in_force(weights: str = "none") -> dict[str, str]:
    """The switches of FP32 products by backend, and how weights are stored if otherwise."""
    switches = {name: str(backend.fp32_precision) for name, backend in _BACKENDS.items()}
    return switches if weights == "none" else {**switches, "weights": weights}


@contextmanager
def observed_precision(transformer: FluxTransformer2DModel, weights: str = "none") -> Iterator[dict[str, str]]:
    """Gives what the first forward pass inside the block really computed in, filled by that pass.

    The dtype is that of the last block's output, whatever was asked; `autocast` is the dtype of autocast inside the
    model, or off. It is read in front of the layer after the blocks, which is never compiled.
    """
    facts: dict[str, str] = {}

    def read(_layer: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        kind = inputs[0].device.type
        autocast = str(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else "off"
        seen = {"dtype": str(inputs[0].dtype), "autocast": autocast}
        facts.update({key: word.removeprefix("torch.") for key, word in seen.items()}, **switches_in_force(weights))
        hook.remove()

    hook = transformer.norm_out.register_forward_pre_hook(read)
    try:
        yield facts
    finally:
        hook.remove()
