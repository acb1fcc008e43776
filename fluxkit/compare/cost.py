"""What a run costs: the price of the whole instance and of the devices' energy, times what was measured.

Prices are the reader's: they come from the spec or the command line, are applied here and are stored in no result.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from fluxkit.record.facts import TimedPhase
from fluxkit.record.metrics import COSTS
from fluxkit.record.protocol_marks import time_mark
from fluxkit.record.result import Energy, EnergyClass, Grade, RunResult
from fluxkit.run.energy_meter import too_short
from fluxkit.spec.prices import Prices
from fluxkit.trust.estimate import CostBasis, EnergyUse, Estimate, estimate, grade_about, grade_of, known, worst
from fluxkit.values import LEAST

SETUP = ("import", "prepare", "load", "warm_up")
"""Phases that a configuration goes through before it tunes, and pays for too."""
WHOLE_JOB = (*SETUP, "evaluate")
"""The same with the grading. The inference speed is measured for the comparison, and is no part of the job."""
PHASES: tuple[TimedPhase, ...] = ("tune", "inference")
STRENGTH: tuple[EnergyClass, ...] = ("measured", "estimated", "unavailable")


class Spent(NamedTuple):
    """What one unit of work took in one run, or the reason why that is not known."""

    seconds: float | None = None
    joules: float | None = None
    reason: str | None = None
    """Why there are no seconds."""
    no_joules: str | None = None
    """Why there are no joules."""


def spent(result: RunResult) -> dict[str, Spent]:
    """Seconds and gross joules of the unit of work of each of `metrics.COSTS`, of one completed run."""
    training, inference = result.summary.training_iterations_per_second, result.summary.inference_image_steps_per_second
    image_steps = 1000 * result.spec.inference.num_inference_steps
    images = _work_seconds(image_steps, inference, "inference")
    return {
        "usd_per_1000_iterations": _with_joules(result, "tune", *_work_seconds(1000, training, "training")),
        "usd_per_adapter": _adapter(result, SETUP),
        "usd_per_job": _adapter(result, WHOLE_JOB, result.tuning.checkpoint_seconds if result.tuning else None),
        "usd_per_1000_images": _with_joules(result, "inference", *images),
        "usd_per_db": _with_joules(result, "tune", *_db_seconds(result)),
    }


def _work_seconds(count: int, rate: float | None, which: str) -> tuple[float | None, str | None]:
    """So many steps at the measured rate, or why that is not known."""
    return (count / rate, None) if rate else (None, f"no {which} speed was measured")


def _adapter(result: RunResult, around: Sequence[str], checkpoint_seconds: float | None = None) -> Spent:
    """The phases around the tuning once, and the first `tune.iterations` iterations: equal work on any hardware.

    The iterations are taken at their own speed, which is the slowest rank's. No phase around them has joules of its
    own: its power is taken for the mean of the whole run.
    """
    budget, done = result.spec.tune.iterations, len(result.tuning.iteration_seconds) if result.tuning else 0
    tuning, reason = _work_seconds(budget, result.summary.training_iterations_per_second, "training")
    if tuning is not None and done < budget:
        tuning, reason = None, f"{done:,} of {budget:,} iterations were done"
    rest, missing = _seconds_around(result, around)
    if tuning is None or rest is None:
        return Spent(reason=reason or missing, no_joules=reason or missing)
    watts, no_joules = _phase_watts(result, "tune")
    run_watts = _run_watts(result.energy)
    rest += checkpoint_seconds or 0.0
    joules = None if watts is None or run_watts is None else watts * tuning + run_watts * rest
    return Spent(rest + tuning, joules, None, no_joules)


def _seconds_around(result: RunResult, names: Sequence[str]) -> tuple[float | None, str | None]:
    """What these phases took when they were done last; a run may begin more than once."""
    took = {phase.name: phase.seconds for phase in result.phases if phase.name in names}
    lost = [name for name in names if name in took and took[name] is None]
    if lost or not took:
        return None, f"the time of {lost[0].replace('_', '-') if lost else 'loading and warm-up'} was not measured"
    return math.fsum(known(took.values())), None


def _db_seconds(result: RunResult) -> tuple[float | None, str | None]:
    """The tuning seconds of the constant-time protocol by the PSNR that they gained; nothing else is in it."""
    mark, tuned, untuned = time_mark(result), result.summary.psnr_db, result.summary.psnr_db_untuned
    if mark is None:
        return None, "the time budget was not reached"
    if tuned is None or untuned is None:
        return None, "no PSNR was measured before and after"
    return (mark.seconds / (tuned - untuned), None) if tuned - untuned >= LEAST else (None, "tuning gained no PSNR")


def _with_joules(result: RunResult, phase: TimedPhase, seconds: float | None, reason: str | None) -> Spent:
    """The seconds, with the joules that they take at the mean power of the phase they belong to."""
    if seconds is None:
        return Spent(reason=reason, no_joules=reason)
    watts, missing = _phase_watts(result, phase)
    return Spent(seconds, None if watts is None else watts * seconds, None, missing)


def _run_watts(energy: Energy | None) -> float | None:
    """Mean gross power of the devices over a whole run."""
    if energy is None or energy.joules_gross is None or not energy.seconds or too_short(energy.seconds):
        return None
    return energy.joules_gross / energy.seconds


def _phase_watts(result: RunResult, phase: TimedPhase) -> tuple[float | None, str | None]:
    """Mean gross power of the devices in a phase, or the reason why it is not known."""
    energy = result.energy
    if energy is None or energy.class_ == "unavailable":
        return None, (energy.reason if energy else None) or "no energy was measured"
    metered = next((part for part in energy.phases if part.phase == phase), None)
    if metered is None:
        return None, f"no energy of phase {phase} was measured"
    if short := too_short(metered.seconds, f" of phase {phase}"):
        return None, short
    return metered.joules_gross / metered.seconds, None


def bases(results: Sequence[RunResult], iterations: int, missing: str | None) -> dict[str, CostBasis]:
    """What each cost is made of, by its name; `iterations` are the spec's, `missing` says why there is no run."""
    all_spent = [spent(result) for result in results]
    made = {}
    for cost in COSTS:
        runs = [run[cost.key] for run in all_spent]
        reason = missing or next((run.reason for run in runs if run.reason), None)
        no_joules = missing or next((run.no_joules for run in runs if run.no_joules), None)
        seconds, joules = known(run.seconds for run in runs), known(run.joules for run in runs)
        if cost.of_all_runs and len(seconds) < len(runs):
            seconds = []
        if len(joules) != len(seconds):  # part of the runs would make a mean that its seconds do not belong to
            joules = []
        made[cost.key] = CostBasis(
            per=cost.unit_of_work(iterations),
            seconds=estimate(seconds, grade_of(results, cost), reason),
            joules=estimate(joules, worst((grade_of(results, cost), grade_about(results, "energy"))), no_joules),
        )
    return made


def costs(basis: CostBasis, prices: Prices) -> Estimate:
    """US dollars of a unit of work; what part of it has no price or no measurement is said."""
    seconds, joules = basis.seconds, basis.joules
    if not prices.given:
        return Estimate(grade=seconds.grade, reason="no price given")
    if not seconds.values:
        return Estimate(grade=seconds.grade, reason=seconds.reason)
    metered = bool(prices.usd_per_kwh and joules.values)
    if prices.usd_per_kwh and not metered and not prices.usd_per_hour:
        return Estimate(grade=seconds.grade, reason=f"no price but the energy's, and no energy: {joules.reason}")
    energies = joules.values if metered else (None,) * len(seconds.values)
    usd = [prices.usd(one, energy) for one, energy in zip(seconds.values, energies, strict=True)]
    grade: Grade | None = worst((seconds.grade, joules.grade if metered else None))
    left_out = f"without its energy: {joules.reason}" if prices.usd_per_kwh and not metered else seconds.reason
    return estimate(usd, grade, left_out)


def energy_use(results: Sequence[RunResult], missing: str | None) -> EnergyUse:
    """Energy over the runs, with the weakest class among those that have a value."""
    energies = [result.energy for result in results if result.energy]
    measured = [energy for energy in energies if energy.joules_gross is not None]
    grade = grade_about(results, "energy")
    reason = missing or next((energy.reason for energy in energies if energy.reason), None)
    if not measured and reason is None:
        reason = "no energy was measured"
    first = next(iter((*measured, *energies)), None)
    return EnergyUse(
        class_=max((energy.class_ for energy in measured), key=STRENGTH.index, default="unavailable"),
        source=first.source if first else None,
        reason=reason,
        idle_watts=_of_all(known(energy.idle_watts for energy in energies), energies, grade, reason),
        gross_joules=_joules(energies, grade, reason, net=False),
        net_joules=_joules(energies, grade, reason, net=True),
    )


def _joules(energies: Sequence[Energy], grade: Grade | None, reason: str | None, *, net: bool) -> dict[str, Estimate]:
    """By phase, and of the whole run; a phase that was too short in one of the runs has none."""
    field = "joules_net" if net else "joules_gross"
    joules = {"run": _of_all(known(getattr(energy, field) for energy in energies), energies, grade, reason)}
    for phase in PHASES:
        parts = [part for energy in energies for part in energy.phases if part.phase == phase]
        short = next((why for part in parts if (why := too_short(part.seconds))), None)
        values = [] if short else known(getattr(part, field) for part in parts)
        joules[phase] = _of_all(values, energies, grade, short or reason)
    return joules


def _of_all(values: list[float], energies: Sequence[Energy], grade: Grade | None, reason: str | None) -> Estimate:
    """The mean over all runs that were metered at all; one over some of them would not belong beside the others."""
    metered = sum(energy.joules_gross is not None for energy in energies)
    if values and len(values) < metered:
        return Estimate(grade=grade, reason=f"{len(values)} of {metered} metered runs have it")
    return estimate(values, grade, reason)
