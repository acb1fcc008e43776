"""What FP32 means: sets the precision of every backend's products and reads back what is in force.

Source: PyTorch `torch.backends.*.fp32_precision`. cuDNN convolutions default to TF32, and the older
`set_float32_matmul_precision` also lowers CPU products to bfloat16, so only the per-backend switches are used.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

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


def precision_in_force(dtype: torch.dtype, weights: str = "none") -> dict[str, str]:
    """The dtype in use, the switches in force by backend, and how weights are stored if otherwise."""
    switches = {name: str(backend.fp32_precision) for name, backend in _BACKENDS.items()}
    stored = {} if weights == "none" else {"weights": weights}
    return {"dtype": str(dtype).removeprefix("torch."), **switches, **stored}
