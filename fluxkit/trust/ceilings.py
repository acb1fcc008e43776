"""Holds what was achieved against what the machine can do: its own canary, published peaks, and the plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fluxkit.machine.device_peaks import peaks_of
from fluxkit.record.facts import PredictedOverMeasured
from fluxkit.record.result import Check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fluxkit.record.facts import CanaryRate, TimedPhase, When
    from fluxkit.record.result import RunResult

    Finder = Callable[[RunResult], Iterator[Check]]

SUBJECTS: dict[TimedPhase, str] = {"tune": "training_speed", "inference": "inference_speed"}
PHASE_WORDS = {"tune": "tuning", "inference": "inference"}
MOVED = {"cuda": 0.02, "cpu": 0.05}
"""A canary that changed by more than this share during a phase puts the phase in doubt."""
IEEE_ERROR = 1e-5
"""Far above the error of an IEEE float32 product (3e-7 for 192 terms), far below that of TF32 (3e-4)."""
OVER_PEAK = 1.1
"""A GPU may clock a little above the boost clock that its published peak assumes; TF32 is five times float32."""
LITTLE_OF_PEAK = 0.5


class Moment(NamedTuple):
    """The canaries of all ranks at one moment, together: they run at the same time."""

    attempt: int
    when: When
    precision: str
    matmul_flops_per_second: float
    copy_bytes_per_second: float


def moments(result: RunResult, phase: TimedPhase) -> list[Moment]:
    """Each moment of a phase at which every rank has measured."""
    groups: dict[tuple[int, When], list[CanaryRate]] = {}
    for each in result.canary:
        if each.phase == phase:
            groups.setdefault((each.attempt, each.when), []).append(each)
    return [
        Moment(
            attempt, when, ranks[0].precision,
            sum(rank.matmul_flops_per_second for rank in ranks), sum(rank.copy_bytes_per_second for rank in ranks),
        )
        for (attempt, when), ranks in groups.items()
        if len(ranks) == result.plan.processes
    ]  # fmt: skip


def before_and_after(result: RunResult, phase: TimedPhase) -> list[tuple[Moment, Moment]]:
    """Of each attempt that has both, what the machine did before a phase and after it."""
    seen = {(moment.attempt, moment.when): moment for moment in moments(result, phase)}
    return [
        (before, seen[attempt, "after"])
        for (attempt, when), before in seen.items()
        if when == "before" and (attempt, "after") in seen
    ]


def ceiling(result: RunResult, phase: TimedPhase) -> float | None:
    """FLOP/s of matrix products that this machine did in the phase's precision: its fastest moment in the whole run.

    A canary that somebody disturbed says less than the machine can do. Of several moments the fastest was disturbed
    least, and what the machine did beside one phase it can do in another.
    """
    named = {moment.precision for moment in moments(result, phase)}
    seen = [moment for other in SUBJECTS for moment in moments(result, other) if moment.precision in named]
    return max((moment.matmul_flops_per_second for moment in seen), default=None)


def share(result: RunResult, phase: TimedPhase, flops_per_second: float | None) -> float | None:
    """Achieved FLOP/s / the machine's own ceiling; over 1 is not possible."""
    limit = ceiling(result, phase)
    return flops_per_second / limit if flops_per_second is not None and limit else None


def predicted_over_measured(result: RunResult) -> PredictedOverMeasured:
    """How far the plan's memory and seconds were from what was measured."""
    plan, speed = result.plan, result.summary.training_iterations_per_second
    memory = _measured_peak(result)
    seconds = result.spec.tune.iterations / speed if speed else None
    return PredictedOverMeasured(
        peak_memory=_ratio(plan.predicted_peak_bytes, memory),
        seconds=_ratio(plan.predicted_seconds, seconds),
    )


def _measured_peak(result: RunResult) -> float | None:
    """Largest phase, summed over ranks: allocated by tensors on a GPU, resident on a CPU."""
    kind = "cuda_allocated" if result.plan.device == "cuda" else "resident"
    phases: dict[str, int] = {}
    for rank in result.tuning.ranks if result.tuning else ():
        for phase, peaks in rank.peak_memory_bytes.items():
            phases[phase] = phases.get(phase, 0) + peaks.get(kind, 0)
    return max(phases.values(), default=0) or None


def _ratio(predicted: float | None, measured: float | None) -> float | None:
    return predicted / measured if predicted is not None and measured else None


def over_the_ceiling(result: RunResult) -> Iterator[Check]:
    """More FLOPs in a second than this machine can do: a claim of precision is broken, or a clock lies."""
    shares: dict[TimedPhase, float | None] = {
        "tune": result.summary.training_flops_share,
        "inference": result.summary.inference_flops_share,
    }
    for phase, found in shares.items():
        if found is not None and found > 1:
            evidence = (
                f"{PHASE_WORDS[phase].capitalize()} achieved {found:.0%} of the rate at which this machine multiplies"
                " matrices in the same precision: a claim of precision is broken, or a clock lies."
            )
            yield Check(id="over_the_ceiling", subject=SUBJECTS[phase], grade="X", evidence=evidence)


def canary_moved(result: RunResult) -> Iterator[Check]:
    """The machine was faster or slower after a phase than before it."""
    limit = MOVED[result.plan.device]
    for phase, subject in SUBJECTS.items():
        for before, after in before_and_after(result, phase):
            moves = (
                ("matrix products", after.matmul_flops_per_second / before.matmul_flops_per_second - 1),
                ("copies in memory", after.copy_bytes_per_second / before.copy_bytes_per_second - 1),
            )
            words = [f"{what} by {change:+.1%}" for what, change in moves if abs(change) > limit]
            if words:
                evidence = f"During {PHASE_WORDS[phase]} the machine's own rate changed: {' and '.join(words)}."
                yield Check(id="canary_moved", subject=subject, grade="C", evidence=evidence)


def canary_precision(result: RunResult) -> Iterator[Check]:
    """The canary's product was too inexact for the precision that the phase claims."""
    for phase, subject in SUBJECTS.items():
        errors = [
            each.matmul_relative_error
            for each in result.canary
            if each.phase == phase and each.precision == "ieee_float32" and each.matmul_relative_error is not None
        ]
        if max(errors, default=0.0) > IEEE_ERROR:
            evidence = (
                f"A product beside {PHASE_WORDS[phase]} was wrong by {max(errors):.1g} of its size, which IEEE float32"
                " is not: a lower precision poses as FP32."
            )
            yield Check(id="canary_precision", subject=subject, grade="X", evidence=evidence)


def canary_against_peak(result: RunResult) -> Iterator[Check]:
    """The canary of a known GPU is held against the peak that its maker publishes."""
    names = {rank.rank: rank.device_name for rank in result.tuning.ranks} if result.tuning else {}
    for phase, subject in SUBJECTS.items():
        for each in result.canary:
            device = peaks_of(names.get(each.rank, "")) if result.plan.device == "cuda" else None
            peak = device.peak_flops_per_second(each.precision) if device else None
            if each.phase != phase or device is None or peak is None:
                continue
            found = each.matmul_flops_per_second / peak
            if LITTLE_OF_PEAK <= found <= OVER_PEAK:
                continue
            seen = (
                f"Beside {PHASE_WORDS[phase]} {device.title} multiplied matrices at {found:.0%} of its published peak"
            )
            over = found > OVER_PEAK
            evidence = seen + (
                f" in {each.precision}: a claim of precision is broken, or a clock lies." if over
                else f" in {each.precision}: it is slowed down or shared, or this is not the whole of it."
            )  # fmt: skip
            yield Check(id="canary_against_peak", subject=subject, grade="X" if over else "B", evidence=evidence)
            break


CEILING_CHECKS: tuple[Finder, ...] = (
    over_the_ceiling,
    canary_moved,
    canary_precision,
    canary_against_peak,
)
