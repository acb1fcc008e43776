"""Where the processes of a run are put: one device for each, by name and not by number, on one machine or several."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fluxkit.errors import MachineError
from fluxkit.machine.cuda_check import gpu_not_there, no_gpu

if TYPE_CHECKING:
    from fluxkit.machine.readings import Device
    from fluxkit.machine.system import System
    from fluxkit.spec.run_spec import RunSpec

RENDEZVOUS = "PET_RDZV_ENDPOINT"
"""Of torchrun: where the machines of a run meet."""


def devices_for(spec: RunSpec, system: System) -> tuple[Device, ...]:
    """One device for each process; every process of a CPU run shares the CPU. Other machines are taken to be alike.

    Raises:
        MachineError: there are fewer devices than processes.
    """
    nodes, kind = spec.execution.nodes, spec.execution.device
    here, seen = spec.execution.processes // nodes, system.devices_of(kind)
    if kind == "cpu":
        return seen[:1] * spec.execution.processes
    if not seen:
        raise MachineError(no_gpu(spec, system))
    if here > len(seen):
        why = f" ({lacking})" if (lacking := gpu_not_there(system)) else ""
        raise MachineError(
            f"{spec.name} asks for {here} processes on this machine, one per GPU, but it shows {len(seen)}{why}; "
            f"set execution.processes to {len(seen) * nodes} or less, or make more GPUs visible."
        )
    return seen[:here] * nodes


def uuids(spec: RunSpec, system: System) -> tuple[str, ...]:
    """Of the devices of this machine's processes, in order; none on a CPU, or where one of them is not known."""
    if spec.execution.device == "cpu":
        return ()
    devices = system.devices_of("cuda")[: spec.execution.processes // spec.execution.nodes]
    known = tuple(device.uuid for device in devices if device.uuid)
    return known if len(known) == len(devices) else ()


def check_meeting(spec: RunSpec, notes: list[str], *, to_run: bool) -> None:
    """Whether torchrun knows where several machines meet.

    Raises:
        MachineError: it does not, and the plan is to be run.
    """
    nodes = spec.execution.nodes
    if nodes == 1 or RENDEZVOUS in os.environ:
        return
    sentence = (
        f"execution.nodes = {nodes} needs {RENDEZVOUS}=HOST:PORT in the environment of every machine, where HOST is "
        "the first one and PORT is free; torchrun reads it."
    )
    if to_run:
        raise MachineError(sentence)
    notes.append(sentence)
