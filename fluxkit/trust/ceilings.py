"""Holds what was achieved against what the machine can do: its own canary, published peaks, and the plan."""

from collections.abc import Iterator
from typing import NamedTuple

from fluxkit.machine.device_peaks import peaks_of
from fluxkit.record.facts import TIMED_WORDS, HostTime, TimedPhase, When
from fluxkit.record.result import CanaryRate, PredictedOverMeasured, RunResult
from fluxkit.trust.finding import SPEED_SUBJECTS, Finding
from fluxkit.values import measurable

MOVED = {"cuda": 0.02, "cpu": 0.05}
"""A canary that changed by more than this share during a phase puts the phase in doubt."""
OVER_PEAK = 1.1
"""A GPU may clock a little above the boost clock that its published peak assumes; TF32 is five times float32."""
LITTLE_OF_PEAK = 0.5
HOST_BOUND = 0.98
"""Share of a pass's time on a GPU that its host spends to issue it, from which on the host decides the speed.

A host that is ahead leaves up to a thousand kernels in the driver's queue when it has issued a pass. Those of schnell
have 2,600 and, with gradients, 13,000 to 19,000, so they end 5 % or more of their time after their last is issued; of
a device that waits for its host the last kernel alone is left.
"""


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
    for canary in result.canary:
        if canary.phase == phase:
            groups.setdefault((canary.attempt, canary.when), []).append(canary)
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
    by_place = {(moment.attempt, moment.when): moment for moment in moments(result, phase)}
    return [
        (before, by_place[attempt, "after"])
        for (attempt, when), before in by_place.items()
        if when == "before" and (attempt, "after") in by_place
    ]


def flops_ceiling(result: RunResult, phase: TimedPhase) -> float | None:
    """FLOP/s of matrix products that this machine did in the phase's precision: its fastest moment in the whole run.

    A canary that somebody disturbed says less than the machine can do. Of several moments the fastest was disturbed
    least, and what the machine did beside one phase it can do in another.
    """
    precisions = {moment.precision for moment in moments(result, phase)}
    return max(
        (
            moment.matmul_flops_per_second
            for other in SPEED_SUBJECTS
            for moment in moments(result, other)
            if moment.precision in precisions
        ),
        default=None,
    )


def flops_share(result: RunResult, phase: TimedPhase, flops_per_second: float | None) -> float | None:
    """Achieved FLOP/s / the machine's own ceiling; over 1 is not possible."""
    return _ratio(flops_per_second, flops_ceiling(result, phase))


def predicted_over_measured(result: RunResult) -> PredictedOverMeasured:
    """How far the plan's memory and seconds were from what was measured."""
    plan, speed = result.plan, result.summary.training_iterations_per_second
    # What tensors took, which is what the plan predicts: a GPU's allocator reserves more.
    memory = peak_memory_bytes(result, "cuda_allocated" if plan.device == "cuda" else "resident")
    seconds = result.spec.tune.iterations / speed if speed else None
    return PredictedOverMeasured(
        peak_memory=_ratio(plan.predicted_peak_bytes, memory),
        seconds=_ratio(plan.predicted_seconds, seconds),
    )


def peak_memory_bytes(result: RunResult, kind: str) -> int | None:
    """Peak memory of one kind: the largest over the phases of the sum over ranks."""
    phases: dict[str, int] = {}
    for rank in result.tuning.ranks if result.tuning else ():
        for phase, peaks in rank.peak_memory_bytes.items():
            if kind in peaks:
                phases[phase] = phases.get(phase, 0) + peaks[kind]
    return measurable(max(phases.values(), default=None))


def _ratio(value: float | None, measure: float | None) -> float | None:
    return measurable(value / measure) if value is not None and measure else None


def over_the_ceiling(result: RunResult) -> Iterator[Finding]:
    """More FLOPs in a second than this machine can do: a claim of precision is broken, or a clock lies."""
    shares: dict[TimedPhase, float | None] = {
        "tune": result.summary.training_flops_share,
        "inference": result.summary.inference_flops_share,
    }
    for phase, share in shares.items():
        if share is not None and share > 1:
            evidence = (
                f"{TIMED_WORDS[phase].capitalize()} achieved {share:.0%} of the rate at which this machine multiplies"
                " matrices in the same precision: a claim of precision is broken, or a clock lies."
            )
            yield Finding(SPEED_SUBJECTS[phase], "X", evidence)


def canary_moved(result: RunResult) -> Iterator[Finding]:
    """The machine was faster or slower after a phase than before it."""
    limit = MOVED[result.plan.device]
    for phase, subject in SPEED_SUBJECTS.items():
        for before, after in before_and_after(result, phase):
            moves = (
                ("matrix products", after.matmul_flops_per_second / before.matmul_flops_per_second - 1),
                ("copies in memory", after.copy_bytes_per_second / before.copy_bytes_per_second - 1),
            )
            words = [f"{what} by {change:+.1%}" for what, change in moves if abs(change) > limit]
            if words:
                evidence = f"During {TIMED_WORDS[phase]} the machine's own rate changed: {' and '.join(words)}."
                yield Finding(subject, "C", evidence)


def host_bound(result: RunResult) -> Iterator[Finding]:
    """A GPU that waits for its host to tell it what to do shows the speed of that host."""
    hosts: dict[TimedPhase, HostTime | None] = {
        "tune": result.tuning.host if result.tuning else None,
        "inference": result.inference.host if result.inference else None,
    }
    for phase, host in hosts.items():
        if host and host.issue_seconds > HOST_BOUND * host.device_seconds:
            evidence = (
                f"In {TIMED_WORDS[phase]} the host needed {host.issue_seconds:.3g} s to issue a pass that the GPU had"
                f" done after {host.device_seconds:.3g} s: this is the speed of the host, not of the GPU."
            )
            yield Finding(SPEED_SUBJECTS[phase], "C", evidence)


def canary_against_peak(result: RunResult) -> Iterator[Finding]:
    """The canary of a known GPU is held against the peak that its maker publishes."""
    names = {rank.rank: rank.device_name for rank in result.tuning.ranks} if result.tuning else {}
    for phase, subject in SPEED_SUBJECTS.items():
        for canary in result.canary:
            device = peaks_of(names.get(canary.rank, "")) if result.plan.device == "cuda" else None
            peak = device.peak_flops_per_second(canary.precision) if device else None
            if canary.phase != phase or device is None or peak is None:
                continue
            share = canary.matmul_flops_per_second / peak
            if LITTLE_OF_PEAK <= share <= OVER_PEAK:
                continue
            over = share > OVER_PEAK
            why = (
                "a claim of precision is broken, or a clock lies"
                if over
                else "it is slowed down or shared, or this is not the whole of it"
            )
            evidence = (
                f"Beside {TIMED_WORDS[phase]} {device.title} multiplied matrices at {share:.0%} of its published peak"
                f" in {canary.precision}: {why}."
            )
            yield Finding(subject, "X" if over else "B", evidence)
            break
