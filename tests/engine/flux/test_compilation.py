"""Compiled blocks: timed compiled, graded uncompiled, and their compilation off the budget."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
import torch
from diffusers import FluxTransformer2DModel
from real_engine import run_engine, small_spec
from torch._dynamo.utils import counters

from fluxkit.engine.flux import compilation
from fluxkit.engine.flux.transformer import add_lora

if TYPE_CHECKING:
    from pathlib import Path

    from real_engine import EngineRun

pytestmark = pytest.mark.skipif(
    not (shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")),
    reason="no C++ compiler on PATH: torch.compile needs one to make kernels for a CPU",
)


@pytest.mark.slow
def test_compiled_steps_are_the_steps(short_run: EngineRun, tmp_path: Path) -> None:
    """Compiled tuning gives the losses of uncompiled tuning but for rounding, and says what compiling took."""
    compiled = run_engine(tmp_path / "compiled", small_spec(execution={"compile": True}))
    assert compiled.code == 0, compiled.output
    assert compiled.losses()[:12] == pytest.approx(short_run.losses()[:12], abs=1e-4)
    (tuning,) = compiled.events("tuning_setting")
    (inference,) = compiled.events("inference_setting")
    warm_up = next(event.seconds for event in compiled.events("phase_ended") if event.phase == "warm_up")
    assert 0 < tuning.compile_seconds < warm_up
    assert 0 < inference.compile_seconds < inference.warm_up_seconds
    assert max(second for block in compiled.events("iterations") for second in block.seconds) < tuning.compile_seconds
    assert tuning.attention == inference.attention == "flash_attention_for_cpu"


def test_what_is_not_compiled_says_so(short_run: EngineRun) -> None:
    """Without it there is no time of compiling, which is not the same as none spent."""
    assert short_run.events("tuning_setting")[0].compile_seconds is None
    assert short_run.events("inference_setting")[0].compile_seconds is None


def graphs_of(double, single):
    """How many graphs compiling makes of a tuned transformer with so many blocks of each kind."""
    torch.manual_seed(0)
    transformer = FluxTransformer2DModel(
        in_channels=16, num_layers=double, num_single_layers=single, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=(4, 6, 6),
    ).requires_grad_(False)  # fmt: skip
    add_lora(transformer, 4, 4.0, 0)
    compilation.compile_blocks(transformer.train())
    counters.clear()
    for _ in range(2):
        transformer(
            hidden_states=torch.randn(2, 16, 16), encoder_hidden_states=torch.randn(2, 8, 32), timestep=torch.rand(2),
            pooled_projections=torch.randn(2, 32), img_ids=torch.zeros(16, 3), txt_ids=torch.zeros(8, 3),
        ).sample.square().mean().backward()  # fmt: skip
    return counters["stats"]["unique_graphs"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's compiler, about itself
def test_a_deep_model_takes_no_more_compiling_than_a_shallow_one():
    """Each kind of block is compiled for the inputs it meets, first and later, and never again for its depth."""
    kinds, inputs = 2, 2
    assert graphs_of(double=3, single=3) == graphs_of(double=5, single=7) == kinds * inputs
