"""Compiled blocks: timed compiled, graded uncompiled, and their compilation off the budget."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from real_engine import run_engine, small_spec

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
