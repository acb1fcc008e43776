"""What is measured beside the work itself: canaries, telemetry, energy, and how good the prediction was."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from fluxkit.spec.execution import InferencePrecision
from fluxkit.values import FROZEN

TimedPhase = Literal["tune", "inference"]
When = Literal["before", "after"]
Ended = Literal["completed", "failed", "interrupted"]


class Canary(BaseModel):
    """Event: the same small work before and after a timed phase, so that a machine that changed is seen."""

    model_config = FROZEN
    event: Literal["canary"] = "canary"
    at_seconds: float
    phase: TimedPhase
    when: When
    precision: InferencePrecision
    """Precision the spec names for the phase; the switches in force were those of the phase."""
    matmul_size: int
    """n of the product of two n x n matrices."""
    matmul_flops_per_second: float
    """2 n^3 / seconds of the fastest repetition."""
    matmul_relative_error: float | None = None
    """Relative L2 error of a small product against float64: about 1e-7 in IEEE float32, 3e-4 in TF32."""
    copy_bytes_per_second: float
    """Bytes read and written by a copy in memory / seconds of the fastest repetition."""


class CanaryRate(BaseModel):
    """What one rank's canary did."""

    model_config = FROZEN
    phase: TimedPhase
    when: When
    rank: int = 0
    attempt: int = 0
    precision: InferencePrecision
    matmul_size: int
    matmul_flops_per_second: float
    matmul_relative_error: float | None = None
    copy_bytes_per_second: float


class PhaseTelemetry(BaseModel):
    """What the sampler saw during one timed phase; null where it can't be read."""

    model_config = FROZEN
    phase: TimedPhase
    samples: int
    engine_cores: float | None
    """Cores that the engine's processes kept busy, on average."""
    foreign_cores: float | None
    """Cores that others kept busy: the whole system without the engine and its launcher."""
    stolen_cores: float | None
    """Cores that the hypervisor gave to other machines."""
    logical_cores: int | None
    power_capped_share: float | None = None
    """Share of the samples in which a GPU was at its power limit, which is usual under load."""
    throttle_reasons: tuple[str, ...] = ()
    """Reasons for which a GPU lowered its clocks, as the driver names them; idling and set clocks are none."""


class Telemetry(BaseModel):
    """What the launcher's sampler saw in one attempt, decimated; and what looking cost."""

    model_config = FROZEN
    attempt: int
    interval_seconds: float
    """Between samples."""
    samples: int
    sampler_cpu_seconds: float
    """Processor time of the sampler itself."""
    wall_seconds: float
    series: dict[str, tuple[float | None, ...]]
    """Means over equal groups of samples, by name with unit; `at_seconds` counts from the engine's start."""
    phases: tuple[PhaseTelemetry, ...] = ()


class PhaseEnergy(BaseModel):
    """Energy of one timed phase."""

    model_config = FROZEN
    phase: TimedPhase
    joules_gross: float
    joules_net: float | None
    """Less what the idle device would have used in the same time."""
    seconds: float
    reason: str | None = None
    """Why these joules are not to be used: over too short a time they say little."""


class Energy(BaseModel):
    """Energy of the devices that did the work, from the engine's start to its end."""

    model_config = ConfigDict(**FROZEN, populate_by_name=True)
    class_: Literal["measured", "estimated", "unavailable"] = Field(alias="class")
    """`measured`: by the device's own energy counter. `estimated`: sampled power times time."""
    joules_gross: float | None = None
    joules_net: float | None = None
    """Less what the idle devices would have used in the same time."""
    idle_watts: float | None = None
    """Measured right before the engine started."""
    source: str | None = None
    reason: str | None = None
    """Why there is no value, or why not a better one."""
    seconds: float | None = None
    phases: tuple[PhaseEnergy, ...] = ()


class Attempt(BaseModel):
    """One start of the engine: what it took in one pass, and how it ended."""

    model_config = FROZEN
    micro_batch_size: int
    """Samples per forward pass of tuning; the global batch is the same in every attempt."""
    inference_micro_batch_size: int
    outcome: Ended | Literal["out_of_memory"]
    phase: str | None = None
    """Where it ended, if it did not complete."""
    evidence: str | None = None
    """What showed that memory ran out."""


class PredictedOverMeasured(BaseModel):
    """How far the plan was from the run: 1 is exact, 2 means half of what was predicted; null where either lacks."""

    model_config = FROZEN
    peak_memory: float | None = None
    """Peak bytes: of tensors over allocated ones on a GPU, of all that is resident on a CPU."""
    seconds: float | None = None
    """Seconds of the iterations of the constant-iteration protocol."""
