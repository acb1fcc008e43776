"""Spec x system -> what will be started; refuses what cannot work before anything is loaded."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from fluxkit.spec import FROZEN, RunSpec

JOB_FILE = "job.json"


class Plan(BaseModel):
    """How a spec runs on this machine."""

    model_config = FROZEN

    device: Literal["cpu", "cuda"]
    device_names: tuple[str, ...]
    """Name of each process's device."""
    processes: int
    threads_per_process: int
    micro_batch_size: int
    """Samples per forward pass of tuning on each process."""
    accumulation_steps: int
    """Forward passes per optimiser step: global batch / (processes x micro-batch)."""
    inference_micro_batch_size: int
    """Images per forward pass of the inference speed on each process."""
    parameters: int
    """Transformer parameters, by formula."""
    trainable_parameters: int
    """Parameters that the optimiser changes, by formula."""
    forward_flops_per_sample: int
    """FLOPs (2 per multiply-add, matrix products only) of one transformer forward pass of one sample."""
    train_flops_per_iteration: int
    """FLOPs of one optimiser step over the global batch."""
    notes: tuple[str, ...] = ()
    """What was decided and why, in sentences."""


class Job(BaseModel):
    """What `launch` hands to `python -m fluxkit.engine RUN_FOLDER`, as `job.json` inside that folder."""

    model_config = FROZEN

    spec: RunSpec
    plan: Plan
    seed: int
    """Of everything random in tuning: the spec's seed plus the repeat."""
    attempt: int = 0
    """0 at first, one more for every resume; a resumed attempt continues from `checkpoint/`."""
