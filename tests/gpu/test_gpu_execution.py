"""How the work is done on a GPU: kernels by precision, compiled blocks, FP32 from narrow weights."""

from __future__ import annotations

import pytest
import torch
from real_engine import run_engine, small_spec
from torch.nn.functional import scaled_dot_product_attention

from fluxkit.engine.flux.attention import HOPPER, attention_backends, observed_kernels

GPU = {"device": "cuda", "threads": 0}
BFLOAT16 = {"precision": "bfloat16", "inference_precision": "bfloat16"}


def half_kernel():
    """The attention kernel that bfloat16 takes on this GPU."""
    return "cudnn_attention" if torch.cuda.get_device_capability()[0] == HOPPER else "flash_attention"


def attend(cuda, dtype):
    """Attention of as many tokens, heads and channels as schnell has at 256 x 256 pixels."""
    query = torch.randn(1, 24, 512, 128, device=cuda, dtype=dtype, requires_grad=True)
    return scaled_dot_product_attention(query, query, query)


@pytest.mark.parametrize(
    ("precision", "dtype", "kernel"),
    [
        ("ieee_float32", torch.float32, "efficient_attention"),
        ("tf32", torch.float32, "efficient_attention"),
        ("bfloat16", torch.bfloat16, None),
    ],
)
def test_the_kernel_fits_the_precision(cuda, precision, dtype, kernel):
    """FP32 never meets a half-precision kernel, bfloat16 never the plain products."""
    with attention_backends(cuda, precision, "auto"):
        assert observed_kernels(lambda: attend(cuda, dtype)) == (kernel or half_kernel())


def test_cudnn_attention_runs_where_it_is_asked_for(cuda):
    """The kernel that is asked for is the one that ran."""
    with attention_backends(cuda, "bfloat16", "cudnn"):
        assert observed_kernels(lambda: attend(cuda, torch.bfloat16)) == "cudnn_attention"


def test_a_compiled_run_completes(tmp_path):
    """Blocks are compiled off the budget, and the losses stay those of uncompiled steps but for rounding."""
    compiled = run_engine(tmp_path / "compiled", small_spec(execution=GPU | {"compile": True}))
    plain = run_engine(tmp_path / "plain", small_spec(execution=GPU))
    assert compiled.code == 0, compiled.output
    assert compiled.losses()[:12] == pytest.approx(plain.losses()[:12], rel=1e-3)
    assert compiled.events("tuning_setting")[0].compile_seconds > 0


def test_fp32_from_narrow_weights(tmp_path):
    """FP32 is computed from weights in bfloat16, and the result says so."""
    run = run_engine(tmp_path / "run", small_spec(execution=GPU | {"inference_weights": "bfloat16"}))
    assert run.code == 0, run.output
    (setting,) = run.events("inference_setting")
    assert setting.precision["dtype"] == "float32"
    assert setting.precision["weights"].startswith("bfloat16")


def test_bfloat16_tunes_with_the_fastest_attention(tmp_path):
    """A whole run in bfloat16 names the kernel in tuning and in inference."""
    run = run_engine(tmp_path / "run", small_spec(execution=GPU | BFLOAT16))
    assert run.code == 0, run.output
    assert run.events("tuning_setting")[0].attention == half_kernel()
    assert run.events("inference_setting")[0].attention == half_kernel()
