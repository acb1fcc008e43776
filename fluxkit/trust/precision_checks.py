"""Checks of the arithmetic: whether it was that of the precision which the result names."""

from collections.abc import Iterator

from fluxkit.record.agreement_facts import departures_of
from fluxkit.record.facts import TIMED_WORDS
from fluxkit.record.result import RunResult
from fluxkit.spec.precision_names import departures
from fluxkit.trust.finding import SPEED_SUBJECTS, SPEEDS, Finding, about

IEEE_ERROR = 1e-5
"""Far above the error of an IEEE float32 product (3e-7 for 192 terms), far below that of TF32 (3e-4)."""


def tuning_precision(result: RunResult) -> Iterator[Finding]:
    """The precision of tuning, as the ranks read it back, is the one the spec names."""
    precision = result.spec.execution.precision
    ranks = result.tuning.ranks if result.tuning else ()
    for rank in ranks:
        if wrong := departures(result.spec.execution.tuning_precision, rank.precision):
            evidence = f"Rank {rank.rank} was asked for {precision} but ran with {wrong}."
            yield from about(("training_speed", "quality"), "X", evidence)
            return
    unread = [str(rank.rank) for rank in ranks if "dtype" not in rank.precision]
    if unread or len(ranks) < result.plan.processes:
        who = f" by rank {', '.join(unread)}" if unread else " by every rank"
        if result.tuning and result.tuning.iteration_seconds:
            evidence = f"{precision} was asked for in tuning and not read back{who}."
            yield Finding("training_speed", "C", evidence)


def inference_precision(result: RunResult) -> Iterator[Finding]:
    """The precision of the inference speed, as read back, is the one the spec names."""
    if result.inference is None:
        return
    precision = result.spec.execution.inference_precision
    if not result.inference.precision:
        yield Finding("inference_speed", "C", f"{precision} was asked for and not read back.")
    elif wrong := departures(precision, result.inference.precision):
        yield Finding("inference_speed", "X", f"{precision} was asked for but {wrong} was in force.")


def agreement(result: RunResult) -> Iterator[Finding]:
    """A device that does not compute what the others compute gives numbers that mean something else."""
    for probe in result.agreement or ():
        if wrong := departures_of(probe):
            evidence = (
                f"This device does not compute what the others compute: rank {probe.rank} in {probe.precision} has "
                f"{'; '.join(wrong)} against the float64 reference."
            )
            yield from about((*SPEEDS, "quality"), "X", evidence)
            return


def canary_precision(result: RunResult) -> Iterator[Finding]:
    """The canary's product was too inexact for the precision that the phase claims."""
    for phase, subject in SPEED_SUBJECTS.items():
        errors = [
            canary.matmul_relative_error
            for canary in result.canary
            if canary.phase == phase and canary.precision == "ieee_float32" and canary.matmul_relative_error is not None
        ]
        if max(errors, default=0.0) > IEEE_ERROR:
            evidence = (
                f"A product beside {TIMED_WORDS[phase]} was wrong by {max(errors):.1g} of its size, which IEEE float32"
                " is not: a lower precision poses as FP32."
            )
            yield Finding(subject, "X", evidence)
