"""What a plan expects of memory and time, where it is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluxkit.devices import flops_per_second, peaks_of

if TYPE_CHECKING:
    from fluxkit.spec import InferencePrecision, RunSpec


def expected_peak_bytes(spec: RunSpec, peaks: tuple[int, int]) -> int | None:
    """Peak bytes of the tensors of all processes, of the `peaks` of one; None where those are a lower bound only."""
    if spec.tune.method == "full" and spec.execution.precision == "bfloat16":
        return None
    return max(peaks) * spec.execution.processes


def expected_seconds(spec: RunSpec, device_name: str, flops: int) -> float | None:
    """Seconds of `tune.iterations` steps of `flops` each; None on a device, or for work, without known efficiency."""
    device = peaks_of(device_name)
    rate = flops_per_second(device, spec.model.family, "tuning", tuning_precision(spec)) if device else None
    return spec.tune.iterations * flops / (rate * devices_at_work(spec)) if rate else None


def devices_at_work(spec: RunSpec) -> int:
    """One for each process of a GPU run; the processes of a CPU run share one."""
    return spec.execution.processes if spec.execution.device == "cuda" else 1


def tuning_precision(spec: RunSpec) -> InferencePrecision:
    """The precision of tuning under the name that tells TF32 and IEEE apart; tuning never uses TF32."""
    return "ieee_float32" if spec.execution.precision == "float32" else "bfloat16"
