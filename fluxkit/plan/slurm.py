"""What to ask Slurm for so that a run is let in, has room and is not cut."""

import math
from typing import NamedTuple

from fluxkit.model.memory_formula import FLOAT32
from fluxkit.plan.storage import HOST_PROCESS_BYTES, host_bytes
from fluxkit.spec.run_spec import RunSpec
from fluxkit.units import GIGABYTE

TIME_FACTOR = 2.0
"""Times what is predicted: a machine may be busy, and grading is predicted by nobody."""
SETUP_MINUTES = 10
"""For loading, encoding and grading of each run."""
MEMORY_FACTOR = 1.25
MEMORY_STEP = 8
"""Memory is asked for in multiples of so many gigabytes, time in steps of five minutes."""
TIME_STEP = 5


class Need(NamedTuple):
    """What a run takes of each machine."""

    seconds: float
    """Of tuning and measuring."""
    threads: int
    memory_bytes: int


def need_of(spec: RunSpec, seconds: float, threads: int, parameters: tuple[int, int], peak_bytes: int | None) -> Need:
    """What a run of `spec` takes.

    Args:
        spec: what is asked.
        seconds: of tuning and measuring.
        threads: CPU threads of each process.
        parameters: of the transformer, and those of them that are tuned.
        peak_bytes: of all processes on a CPU, where it is known.
    """
    processes = spec.execution.processes // spec.execution.nodes
    if spec.execution.device == "cuda":
        # Weights that stay pages of their file are no memory of the process, but Slurm counts them while they are read.
        read = processes * (FLOAT32 * parameters[0] + HOST_PROCESS_BYTES)
        memory = max(read, host_bytes(spec, *parameters))
    else:
        memory = peak_bytes or FLOAT32 * parameters[0] + processes * HOST_PROCESS_BYTES
    return Need(seconds, threads * processes, memory)


def slurm_options(spec: RunSpec, need: Need) -> str:
    """Options of sbatch: GPUs or cores, memory and time, with room to spare."""
    processes = spec.execution.processes // spec.execution.nodes
    gigabytes = MEMORY_STEP * math.ceil(MEMORY_FACTOR * need.memory_bytes / GIGABYTE / MEMORY_STEP)
    gpus = f"--gpus-per-node={processes} " if spec.execution.device == "cuda" else ""
    nodes = f"--nodes={spec.execution.nodes} " if spec.execution.nodes > 1 else ""
    cores = f"--cpus-per-task={max(1, need.threads)}"
    return f"{nodes}{gpus}{cores} --mem={gigabytes}G {time_option(need.seconds, 1)}"


def time_option(seconds: float, runs: int) -> str:
    """The time to ask for, where runs tune and measure for so many seconds in all."""
    minutes = TIME_STEP * math.ceil((TIME_FACTOR * seconds / 60 + SETUP_MINUTES * runs) / TIME_STEP)
    return f"--time={minutes // 60:02d}:{minutes % 60:02d}:00"
