"""A process that does not compute where the plan put it ends before it measures anything."""

from __future__ import annotations

import pytest
import torch
from real_engine import run_engine, small_spec

from fluxkit.engine.process.device_check import check_device, same_uuid
from fluxkit.errors import MachineError
from fluxkit.machine.system import probe
from fluxkit.plan.plan import make_plan

CPU = torch.device("cpu")


def test_a_run_for_a_gpu_never_computes_on_the_cpu():
    """Where torch sees no GPU a run that is planned for one is refused, and not signed with the GPU's name."""
    plan = make_plan(small_spec(), probe()).model_copy(update={"device": "cuda", "device_names": ("NVIDIA H200",)})
    with pytest.raises(MachineError, match=r"asks for NVIDIA H200, but torch .* can only use the cpu"):
        check_device(plan, CPU, 0)


def test_a_run_for_the_cpu_is_where_it_belongs(tmp_path):
    """A plan for this processor passes, and the engine goes on."""
    check_device(make_plan(small_spec(), probe()), CPU, 0)
    run = run_engine(tmp_path / "run", small_spec(tune={"seconds": 0.1, "iterations": 1}))
    assert run.code == 0, run.output


@pytest.mark.parametrize(
    ("found", "planned", "same"),
    [
        ("1b8-c", "GPU-1b8-c", True), ("GPU-1B8-C", "GPU-1b8-c", True), ("1b8-d", "GPU-1b8-c", False),
        ("anything", "MIG-77", True),
    ],
)  # fmt: skip
def test_a_gpu_is_known_by_its_uuid(found, planned, same):
    """torch leaves the prefix out, and may name the whole GPU of a slice."""
    assert same_uuid(found, planned) == same
