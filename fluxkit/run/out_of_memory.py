"""Whether a run ended because memory ran out, and the smaller micro-batches of its next try.

The global batch never changes: what a pass no longer holds is accumulated.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fluxkit.fold.replay import IN_TUNING
from fluxkit.machine.readings import ROOT, control_groups, read_counters
from fluxkit.model.pipeline_files import pipeline_folder
from fluxkit.plan.micro_batches import Batches, expected_peak_bytes, largest_divisor
from fluxkit.plan.plan import Plan
from fluxkit.plan.sizes import sizes_of
from fluxkit.record.facts import OUT_OF_MEMORY, RunFailure
from fluxkit.record.result import Attempt, FinalStatus
from fluxkit.spec.run_spec import RunSpec
from fluxkit.units import counted

MAX_HALVINGS = 4
KINDS = frozenset({"OutOfMemoryError", "MemoryError"})
"""Classes of torch's error on a GPU and of Python's own."""
IN_INFERENCE = frozenset({"evaluate", "inference"})
"""Phases whose memory depends on the micro-batch of inference."""


def killed_for_memory(root: Path = ROOT) -> int:
    """How often a process of this control group was ended for lack of memory: the innermost that memory is counted in.

    Those around it count its ends too, and the machine's counter everybody's. Source: the kernel's documentation of
    cgroup v2 (`memory.events`) and v1 (`memory.oom_control`): the counter `oom_kill`.
    """
    folders: list[Path] = []
    with suppress(OSError, ValueError):
        folders = control_groups("memory", root)
    files = (folder / name for folder in reversed(folders) for name in ("memory.events", "memory.oom_control"))
    counters = (events["oom_kill"] for events in map(read_counters, files) if "oom_kill" in events)
    return next(counters, 0)


def evidence(error: RunFailure | None, kills: int) -> str | None:
    """Why a failure was one of memory, in a sentence; None where nothing says so.

    A kill alone proves nothing: it counts where the kernel ended a process of this control group for memory while the
    engine ran.
    """
    if error is None:
        return None
    if error.kind in KINDS or OUT_OF_MEMORY.search(error.message):
        return error.message
    if error.kind == "Killed" and kills > 0:
        return f"{error.message} The kernel counted {counted(kills, 'such end')} while it ran."
    return None


def attempt_of(plan: Plan, status: FinalStatus, error: RunFailure | None, kills: int) -> Attempt:
    """One start of the engine and how it ended."""
    why = evidence(error, kills) if status == "failed" else None
    return Attempt(
        micro_batch_size=plan.micro_batch_size,
        inference_micro_batch_size=plan.inference_micro_batch_size,
        outcome="out_of_memory" if why else status,
        phase=error.phase if error else None,
        evidence=why,
    )


def smaller(spec: RunSpec, plan: Plan, attempts: Sequence[Attempt]) -> Plan | None:
    """The plan of the next try after the last of `attempts`; None where none is due or nothing smaller is left."""
    last, tried = attempts[-1], sum(attempt.outcome == "out_of_memory" for attempt in attempts)
    if last.outcome != "out_of_memory" or tried > MAX_HALVINGS:
        return None
    tuning, inference = plan.micro_batch_size, plan.inference_micro_batch_size
    if last.phase in IN_TUNING and tuning > 1:
        batches = Batches(largest_divisor(spec.tune.global_batch_size // plan.processes, tuning // 2), inference)
        change = f"tuning from {tuning} became {batches.tuning}"
    elif last.phase in IN_INFERENCE and inference > 1:
        batches = Batches(tuning, largest_divisor(spec.inference.batch_size // plan.processes, inference // 2))
        change = f"inference from {inference} became {batches.inference}"
    else:
        return None
    known = plan.predicted_peak_bytes is not None
    peak = expected_peak_bytes(spec, sizes_of(spec, pipeline_folder(spec.model)), batches) if known else None
    return plan.model_copy(
        update={
            "micro_batch_size": batches.tuning,
            "accumulation_steps": spec.tune.global_batch_size // (plan.processes * batches.tuning),
            "inference_micro_batch_size": batches.inference,
            "predicted_peak_bytes": peak,
            "notes": (*plan.notes, f"Memory ran out, so the micro-batch of {change}."),
        }
    )
