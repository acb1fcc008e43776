"""How processes that tune one model meet."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the engine extra is not installed")

from fluxkit.engine.flux.distributed import process_group
from fluxkit.plan.plan import Job


def test_processes_wait_as_long_as_a_checkpoint_takes(small_spec, small_plan):
    """Ten minutes as NCCL does by itself, and for 143 GB through one process and a slow disk most of an hour more."""
    full = small_spec.model_copy(update={"tune": small_spec.tune.model_copy(update={"method": "full"})})
    large = small_plan.model_copy(update={"parameters": 11_891_178_560, "trainable_parameters": 11_891_178_560})
    seconds = [
        process_group(Job(spec=spec, plan=plan, seed=0)).timeout.total_seconds()
        for spec, plan in ((small_spec, small_plan), (full, large))
    ]
    assert seconds == [pytest.approx(600, abs=1), pytest.approx(600 + 12 * 11_891_178_560 / 5e7)]
