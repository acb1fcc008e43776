"""Whether a process computes where the plan put it: a run must not name a device that it never used."""

import torch

from fluxkit.errors import MachineError
from fluxkit.plan.plan import Plan


def check_device(plan: Plan, device: torch.device, local_rank: int) -> None:
    """Compares the device that torch took with the planned one; `local_rank` counts the processes of this machine.

    Raises:
        MachineError: it is of another kind, or another GPU.
    """
    if device.type != plan.device:
        raise MachineError(
            f"The plan asks for {plan.device_names[0]}, but torch {torch.__version__} can only use the {device.type} "
            "here; install a torch that was built for this machine's driver, or see what `fluxkit doctor` says of it."
        )
    # The plan is the first machine's; further ones have UUIDs of their own.
    if device.type == "cuda" and plan.nodes == 1 and local_rank < len(plan.device_uuids):
        _check_uuid(str(torch.cuda.get_device_properties(device).uuid), plan.device_uuids[local_rank], local_rank)


def _check_uuid(actual: str, planned: str, local_rank: int) -> None:
    if not same_uuid(actual, planned):
        raise MachineError(
            f"The plan puts process {local_rank} on {planned}, "
            f"but torch computes on {actual}; CUDA_VISIBLE_DEVICES was changed on the way to the engine."
        )


def same_uuid(actual: str, planned: str) -> bool:
    """Whether two names of a GPU are one: torch leaves the prefix out, and names the GPU of a MIG slice or the slice.

    Source: NVIDIA MIG user guide: `MIG-<UUID>` since driver 470; `MIG-GPU-<UUID>/...` before.
    """
    if planned.startswith("MIG-"):
        return True
    return actual.removeprefix("GPU-").lower() == planned.removeprefix("GPU-").lower()
