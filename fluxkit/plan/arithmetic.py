"""Whether the GPUs of a run have the arithmetic that its spec asks for."""

from collections.abc import Callable, Sequence

from fluxkit.errors import MachineError
from fluxkit.machine.readings import PlacedDevice
from fluxkit.spec.run_spec import RunSpec

FIRST = 8.0
"""Compute capability, Ampere, from which GPUs have bfloat16 and TF32. Source: NVIDIA, CUDA programming guide."""
INSTEAD = (
    ("precision", "bfloat16", "float32"),
    ("inference_precision", "bfloat16", "ieee_float32"),
    ("inference_precision", "tf32", "ieee_float32"),
    ("quantization", "int8", "none"),
)
"""Keys of [execution], the values that need it, and what an older GPU can do. 8-bit weights compute in bfloat16."""


def lacking(spec: RunSpec, devices: Sequence[PlacedDevice]) -> list[tuple[str, object]]:
    """Settings that would do without what the oldest of these GPUs lacks; none where it lacks nothing."""
    if all(device.compute_capability is None or device.compute_capability >= FIRST for device in devices):
        return []
    return [(f"execution.{key}", other) for key, value, other in INSTEAD if getattr(spec.execution, key) == value]


def check_arithmetic(spec: RunSpec, devices: Sequence[PlacedDevice], fits: Callable[[RunSpec], bool]) -> None:
    """Whether the GPUs have what the spec computes in; `fits` says whether another spec has room on them.

    Raises:
        MachineError: one has not; with the settings that would run, if any do.
    """
    settings = lacking(spec, devices)
    if not settings:
        return
    old = min(devices, key=lambda device: device.compute_capability or FIRST)
    keys = [key.removeprefix("execution.") for key, _ in settings]
    asked = " and ".join(f"execution.{key} = {getattr(spec.execution, key)}" for key in keys)
    changed = spec.changed(settings)
    options = " ".join(f"--set {key}={value}" for key, value in settings)
    mend = f"it would run with {options}" if changed and fits(changed) else "use a newer GPU"
    raise MachineError(
        f"{spec.name} asks for {asked}, which needs compute capability {FIRST} (Ampere) or newer, but {old.name} has "
        f"{old.compute_capability}; {mend}."
    )
