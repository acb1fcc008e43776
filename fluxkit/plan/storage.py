"""What a run writes, the disk and host memory that takes, and how long the processes wait for it.

Checkpoints and marks hold what is tuned, whole, in FP32. The first process gathers it in the host's memory and writes
it while the others wait.
"""

from typing import NamedTuple

from fluxkit.errors import MachineError
from fluxkit.machine.system import System
from fluxkit.model.memory_formula import FLOAT32, MOMENTS
from fluxkit.plan.sizes import Sizes
from fluxkit.spec.run_spec import RunSpec
from fluxkit.units import GIGABYTE, size_text, span

MOST_MARKS = 8
"""States that are kept until they are graded: untuned, six by time, and the iteration budget."""
HOST_PROCESS_BYTES = 2 * GIGABYTE
"""Of the host's memory, for a process whose tensors are on a GPU: Python, torch and CUDA. Assumed, not measured."""
DISK_BYTES_PER_SECOND = 5e8
"""Assumed of a disk that is local."""
SLOW_BYTES_PER_SECOND = 5e7
"""Assumed of a network's disk that others use too: nobody is to be ended for waiting on it."""
CHECKPOINT_SHARE = 0.1
"""Of a run's time, the most that is planned for writing checkpoints."""
WORTH_A_NOTE_BYTES = 10 * GIGABYTE
LEAST_PATIENCE_SECONDS = 600.0
"""That processes wait for each other before they give up: what torch's NCCL does by itself."""
LEAST_GRACE_SECONDS = 60.0
"""That an engine gets to write a checkpoint after it was told to stop."""
STEPS_OF_GRACE = 3
"""Optimiser steps that it gets beside: the one it is in, and the time of a picture of four denoising steps."""
SLURM_SECONDS, DOCKER_SECONDS = 30, 10
"""What Slurm (KillWait) and docker stop wait by themselves between telling a process to stop and ending it."""


class Written(NamedTuple):
    """Bytes of what a run writes."""

    checkpoint: int
    """Weights, moments and averages."""
    mark: int
    """Weights alone."""

    @property
    def on_disk(self) -> int:
        """The most at one time: a checkpoint stays until the next one is whole."""
        return 2 * self.checkpoint + MOST_MARKS * self.mark


def written(spec: RunSpec, trainable_parameters: int) -> Written:
    """What a run writes of so many parameters that are tuned."""
    mark = FLOAT32 * trainable_parameters
    return Written(mark * (1 + MOMENTS + (spec.tune.ema_decay > 0)), mark)


def checkpoint_interval_seconds(spec: RunSpec, trainable_parameters: int) -> float:
    """Tuning seconds between checkpoints: as asked, or more where writing one would take more than its share.

    Every process computes it from the plan, so that all of them stop at the same step.
    """
    writing = written(spec, trainable_parameters).checkpoint / DISK_BYTES_PER_SECOND
    return max(spec.execution.checkpoint_seconds, writing / CHECKPOINT_SHARE)


def grace_seconds(spec: RunSpec, trainable_parameters: int, step_seconds: float = 0.0) -> float:
    """What an engine gets to stop after it was told to, even on a slow disk.

    It ends the step that it is in, or the picture, which takes less than two steps more, and writes a checkpoint.
    """
    writing = written(spec, trainable_parameters).checkpoint / SLOW_BYTES_PER_SECOND
    return LEAST_GRACE_SECONDS + STEPS_OF_GRACE * step_seconds + writing


def patience_seconds(spec: RunSpec, parameters: int, trainable_parameters: int) -> float:
    """How long processes wait for the first one: it writes a checkpoint, or reads all weights for their hash."""
    longest = max(written(spec, trainable_parameters).checkpoint, FLOAT32 * parameters)
    return LEAST_PATIENCE_SECONDS + longest / SLOW_BYTES_PER_SECOND


def check_storage(spec: RunSpec, sizes: Sizes, system: System) -> list[str]:
    """What to know about the disk and the host's memory, in notes; what a machine does not tell is not checked.

    Raises:
        MachineError: one of them does not suffice.
    """
    writes = written(spec, sizes.cost.trainable_parameters)
    points = f"{MOST_MARKS} evaluation points of {size_text(writes.mark)}"
    parts = f"two checkpoints of {size_text(writes.checkpoint)} and {points}"
    free = system.number("disk_free_bytes")
    if free is not None and writes.on_disk > free:
        raise MachineError(
            f"{spec.name} writes up to {size_text(writes.on_disk)} at a time ({parts}), but the disk has "
            f"{size_text(int(free))} free; make room, or name a folder on another disk with --out."
        )
    _check_host(spec, sizes, system, writes)
    if writes.on_disk < WORTH_A_NOTE_BYTES:
        return []
    interval = span(checkpoint_interval_seconds(spec, sizes.cost.trainable_parameters))
    writing, slow = (writes.checkpoint / rate for rate in (DISK_BYTES_PER_SECOND, SLOW_BYTES_PER_SECOND))
    return [
        f"On disk it takes up to {size_text(writes.on_disk)} at a time: {parts}.",
        (
            f"A checkpoint comes every {interval} of tuning. Writing it takes about {span(writing)}, on a slow disk up"
            f" to {span(slow)}."
        ),
    ]


def stop_note(spec: RunSpec, sizes: Sizes, step_seconds: float, micro_batch: int) -> str:
    """How long a stop takes, where that is longer than `docker stop` waits by itself; else nothing.

    Args:
        spec: what is asked.
        sizes: of its model.
        step_seconds: of an optimiser step, as predicted; 0 where it is not.
        micro_batch: samples of a pass on each process; between two passes a step may be dropped.
    """
    parameters = sizes.cost.trainable_parameters
    samples = spec.tune.global_batch_size // spec.execution.processes
    seconds = step_seconds * micro_batch / samples + written(spec, parameters).checkpoint / DISK_BYTES_PER_SECOND
    if seconds < DOCKER_SECONDS:
        return ""
    grace = round(grace_seconds(spec, parameters, step_seconds))
    sooner = " (sooner with execution.micro_batch_size = 1)" if micro_batch > 1 else ""
    return (
        f"Told to stop while it tunes, it ends its micro-batch and writes a checkpoint, in about {span(seconds)}"
        f"{sooner}. It is given {grace} s; let a job be told so long before its end (Slurm: --signal=B:USR1@{grace},"
        f" docker stop --time {grace}). By themselves Slurm waits {SLURM_SECONDS} s (KillWait) and docker stop"
        f" {DOCKER_SECONDS}, and then what was tuned since the last checkpoint is lost."
    )


def _check_host(spec: RunSpec, sizes: Sizes, system: System, writes: Written) -> None:
    """Whether the host's memory suffices where the tensors are on GPUs; on a CPU it is the device's own."""
    cpu = next(iter(system.devices_of("cpu")), None)
    if spec.execution.device == "cpu" or cpu is None or cpu.memory_bytes is None:
        return
    processes = spec.execution.processes // spec.execution.nodes
    loading = processes * _loaded_bytes(spec, sizes.cost.parameters)
    need = host_bytes(spec, sizes.cost.parameters, sizes.cost.trainable_parameters)
    if need <= cpu.memory_bytes:
        return
    if loading > writes.checkpoint:
        why, mend = (
            f"each of {processes} processes loads the weights there first",
            "use fewer processes on each machine",
        )
    else:
        why, mend = "the first process gathers each checkpoint there", 'use tune.method = "lora"'
    raise MachineError(
        f"{spec.name} needs about {size_text(need)} of the host's memory ({why}), but this machine, or this job of it, "
        f"has {size_text(cpu.memory_bytes)}; {mend}, or one with more."
    )


def host_bytes(spec: RunSpec, parameters: int, trainable_parameters: int) -> int:
    """Of each machine's own memory, where the tensors are on GPUs."""
    processes = spec.execution.processes // spec.execution.nodes
    loading = processes * _loaded_bytes(spec, parameters)
    return max(loading, written(spec, trainable_parameters).checkpoint) + processes * HOST_PROCESS_BYTES


def _loaded_bytes(spec: RunSpec, parameters: int) -> int:
    """Of one process's host, while it loads: weights in bfloat16 stay pages of their file, others are made of them."""
    if not spec.model.can_draw:
        return 0  # they are made on the device
    if spec.execution.quantization == "int8":
        return parameters
    return 0 if spec.tune.method == "lora" and spec.execution.precision == "bfloat16" else FLOAT32 * parameters
