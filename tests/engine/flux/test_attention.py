"""Which attention kernels may run, and which one is said to have run."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend
from torch.nn.functional import scaled_dot_product_attention

from fluxkit.engine.flux.attention import allowed_backends, attention_backends, observed_kernels

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
FUSED, PLAIN = "flash_attention_for_cpu", "attention_math"


def attend() -> torch.Tensor:
    """Attention of a few tokens."""
    query = torch.ones(1, 2, 8, 16, requires_grad=True)
    return scaled_dot_product_attention(query, query, query)


def test_what_ran_is_read_back() -> None:
    """The operator that torch dispatched to is named, and another one when another one is asked for."""
    assert observed_kernels(attend) == FUSED
    with attention_backends(CPU, "float32", "math"):
        assert observed_kernels(attend) == PLAIN
    assert observed_kernels(attend) == FUSED


def test_the_way_back_is_not_named() -> None:
    """Backward operators say nothing that the forward ones do not."""
    assert observed_kernels(lambda: attend().sum().backward()) == FUSED
    assert observed_kernels(lambda: torch.ones(2) + 1) == "none"


@pytest.mark.parametrize("precision", ["float32", "ieee_float32", "tf32"])
def test_fp32_never_meets_a_half_precision_kernel(precision: str) -> None:
    """On a GPU FP32 goes to the memory-efficient kernel, else to plain products."""
    assert allowed_backends(CUDA, precision, "auto") == (SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)


@pytest.mark.parametrize(
    ("capability", "first"),
    [
        ((7, 5), SDPBackend.FLASH_ATTENTION),
        ((8, 0), SDPBackend.FLASH_ATTENTION),
        ((8, 6), SDPBackend.FLASH_ATTENTION),
        ((8, 9), SDPBackend.FLASH_ATTENTION),
        ((9, 0), SDPBackend.CUDNN_ATTENTION),
        ((10, 0), SDPBackend.FLASH_ATTENTION),
        ((12, 0), SDPBackend.FLASH_ATTENTION),
    ],
)
def test_bfloat16_takes_the_fastest_kernel_of_its_card(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], first: SDPBackend
) -> None:
    """cuDNN first on Hopper and flash elsewhere, the other behind it, and never one that keeps all pairs of tokens."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    backends = allowed_backends(CUDA, "bfloat16", "auto")
    assert backends[0] == first
    assert {*backends[:2]} == {SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION}
    assert SDPBackend.MATH not in backends
    assert allowed_backends(CUDA, "bfloat16", "math") == (SDPBackend.MATH,)


def test_a_cpu_keeps_torchs_choice() -> None:
    """On a CPU nothing is named, so torch takes its fused kernel."""
    assert allowed_backends(CPU, "bfloat16", "auto") == allowed_backends(CPU, "float32", "auto") == ()
