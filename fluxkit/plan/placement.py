"""Where the processes of a run are put: one device for each, by name and not by number, on one machine or several."""

import os
from collections.abc import Sequence
from typing import NamedTuple

from fluxkit.errors import MachineError
from fluxkit.machine.cuda_check import closed_gpus, gpu_not_there, no_gpu
from fluxkit.machine.readings import Device, PlacedDevice
from fluxkit.machine.system import System
from fluxkit.spec.run_spec import RunSpec

RENDEZVOUS = "PET_RDZV_ENDPOINT"
"""Of torchrun: where the machines of a run meet."""


class Placement(NamedTuple):
    """On which devices a run is put."""

    devices: tuple[PlacedDevice, ...]
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
    visible = _visible(system, kind)
    if kind == "cpu":
        devices = visible[:1] * spec.execution.processes
    elif not visible:
        raise MachineError(no_gpu(spec, system))
    elif here > len(visible):
        why = f" ({lacking})" if (lacking := gpu_not_there(system) or closed_gpus(system)) else ""
        raise MachineError(
            f"{spec.name} asks for {here} processes on this machine, one per GPU, but it shows {len(visible)}{why}; "
            f"set execution.processes to {len(visible) * nodes} or less, or make more GPUs visible."
        )
    else:
        devices = visible[:here] * nodes
    names, notes = () if kind == "cpu" else _known_uuids(visible[:here]), _notes(system) if kind == "cuda" else ()
    if nodes == 1 or RENDEZVOUS in os.environ:
        return Placement(devices, names, notes)
    sentence = (
        f"execution.nodes = {nodes} needs {RENDEZVOUS}=HOST:PORT in the environment of every machine, where HOST is "
        "the first one and PORT is free; torchrun reads it."
    )
    if to_run:
        raise MachineError(sentence)
    return Placement(devices, names, (*notes, sentence))


def _visible(system: System, kind: str) -> tuple[PlacedDevice, ...]:
    """The devices of a kind that a process may use, each GPU with its readings."""
    devices = [device for device in system.devices if device.kind == kind]

    def number(place: int, name: str) -> float | None:
        reading = system.readings.get(f"gpu_{place}_{name}") if kind == "cuda" else None
        return reading.value if reading and isinstance(reading.value, int | float) else None

    return tuple(
        PlacedDevice(
            device.name,
            device.memory_bytes,
            device.uuid,
            int(number(place, "memory_reserved_bytes") or 0),
            number(place, "compute_capability"),
        )
        for place, device in enumerate(devices)
    )


def _notes(system: System) -> tuple[str, ...]:
    """What of this machine's GPUs the run can't have, and how those are told apart that differ."""
    notes = [f"{closed}."] if (closed := closed_gpus(system)) else []
    if order := system.readings.get("gpu_order"):
        cards = ", ".join(f"{device.name} ({device.uuid})" for device in system.devices_of("cuda"))
        notes.append(
            f"The GPUs of this machine differ. Their order is {order.value}: {cards}. The run takes the first ones, by"
            " UUID; CUDA_VISIBLE_DEVICES may name others by theirs."
        )
    return tuple(notes)


def uuids(spec: RunSpec, system: System) -> tuple[str, ...]:
    """Of the devices of this machine's processes, in order; none on a CPU, or where one of them is not known."""
    if spec.execution.device == "cpu":
        return ()
    return _known_uuids(system.devices_of("cuda")[: spec.execution.processes // spec.execution.nodes])


def _known_uuids(devices: Sequence[Device | PlacedDevice]) -> tuple[str, ...]:
    known = tuple(device.uuid for device in devices if device.uuid)
    return known if len(known) == len(devices) else ()
