"""Where the processes of a run are put: one device for each, by name and not by number, on one machine or several."""

import os
from collections.abc import Sequence
from typing import NamedTuple

from fluxkit.errors import MachineError
from fluxkit.machine.cuda_check import gpu_not_there, no_gpu
from fluxkit.machine.readings import Device
from fluxkit.machine.system import System
from fluxkit.spec.run_spec import RunSpec

RENDEZVOUS = "PET_RDZV_ENDPOINT"
"""Of torchrun: where the machines of a run meet."""


class Placement(NamedTuple):
    """On which devices a run is put."""

    devices: tuple[Device, ...]
    """One for each process; every process of a CPU run shares the CPU. Other machines are taken to be alike."""
    uuids: tuple[str, ...]
    """Of the devices of this machine's processes, in order; none on a CPU, or where one of them is not known."""
    notes: tuple[str, ...]


def place(spec: RunSpec, system: System, *, to_run: bool) -> Placement:
    """Where the processes of a run are put.

    Raises:
        MachineError: there are fewer devices than processes, or a plan that is to be run does not say where several
            machines meet.
    """
    nodes, kind = spec.execution.nodes, spec.execution.device
    here = spec.execution.processes // nodes
    visible = tuple(device for device in system.devices if device.kind == kind)
    if kind == "cpu":
        devices = visible[:1] * spec.execution.processes
    elif not visible:
        raise MachineError(no_gpu(spec, system))
    elif here > len(visible):
        why = f" ({lacking})" if (lacking := gpu_not_there(system)) else ""
        raise MachineError(
            f"{spec.name} asks for {here} processes on this machine, one per GPU, but it shows {len(visible)}{why}; "
            f"set execution.processes to {len(visible) * nodes} or less, or make more GPUs visible."
        )
    else:
        devices = visible[:here] * nodes
    names = () if kind == "cpu" else _known_uuids(visible[:here])
    if nodes == 1 or RENDEZVOUS in os.environ:
        return Placement(devices, names, ())
    sentence = (
        f"execution.nodes = {nodes} needs {RENDEZVOUS}=HOST:PORT in the environment of every machine, where HOST is "
        "the first one and PORT is free; torchrun reads it."
    )
    if to_run:
        raise MachineError(sentence)
    return Placement(devices, names, (sentence,))


def uuids(spec: RunSpec, system: System) -> tuple[str, ...]:
    """Of the devices of this machine's processes, in order; none on a CPU, or where one of them is not known."""
    if spec.execution.device == "cpu":
        return ()
    return _known_uuids(system.devices_of("cuda")[: spec.execution.processes // spec.execution.nodes])


def _known_uuids(devices: Sequence[Device]) -> tuple[str, ...]:
    known = tuple(device.uuid for device in devices if device.uuid)
    return known if len(known) == len(devices) else ()
