"""Precision switches as backends name them."""

from __future__ import annotations

import pytest

from fluxkit.spec.precision_names import departures


@pytest.mark.parametrize(
    ("wanted", "switches", "wrong"),
    [
        ("ieee_float32", {"dtype": "float32", "cudnn.conv": "ieee"}, ""),
        ("ieee_float32", {"dtype": "torch.float32", "matmul": "none"}, ""),
        ("ieee_float32", {"dtype": "bfloat16"}, "dtype = bfloat16"),
        ("ieee_float32", {"float32_matmul_precision": "high"}, "float32_matmul_precision = high"),
        ("ieee_float32", {"dtype": "float32", "weights": "bfloat16"}, ""),
        ("ieee_float32", {"allow_tf32": "True"}, "allow_tf32 = True"),
        ("ieee_float32", {"mkldnn.matmul": "bf16"}, "mkldnn.matmul = bf16"),
        ("tf32", {"dtype": "float32", "cuda.matmul": "tf32"}, ""),
        ("tf32", {"dtype": "float32", "cuda.matmul": "ieee"}, "no backend at tf32"),
        ("bfloat16", {"dtype": "bfloat16", "cuda.matmul": "ieee"}, ""),
        ("bfloat16", {"dtype": "float32"}, "dtype = float32"),
    ],
)
def test_precision_switches_are_read(wanted, switches, wrong):
    """Each switch that contradicts the precision asked for is named."""
    assert departures(wanted, switches) == wrong
