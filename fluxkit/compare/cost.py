"""What a run costs: the price of the whole instance and of the devices' energy, times what was measured.

Prices are the reader's: they come from the spec or the command line, are applied here and are stored in no result.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from fluxkit.record.protocol_marks import time_mark
from fluxkit.run.energy_meter import too_short
from fluxkit.spec.prices import Prices
from fluxkit.trust.estimate import CostBasis, EnergyUse, Estimate, estimate, grade_about, known, worst

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxkit.record.facts import TimedPhase
    from fluxkit.record.result import Energy, EnergyClass, Grade, RunResult
    from fluxkit.trust.estimate import Subject


NO_PRICE = "no price given"
SETUP = ("import", "prepare", "load", "warm_up")
"""Phases that a configuration goes through before it tunes, and pays for too."""
UNITS = {
    "usd_per_1000_iterations": "1,000 iterations",
    "usd_per_adapter": "adapter of {iterations} iterations, loading and warm-up included",
    "usd_per_1000_images": "1,000 images",
    "usd_per_db": "dB gained over untuned",
}
"""What each cost is of, in words."""


class Spent(NamedTuple):
    """What one unit of work took in one run, or the reason why that is not known."""

    seconds: float | None = None
    joules: float | None = None
    reason: str | None = None
    """Why there are no seconds."""
    no_joules: str | None = None
    """Why there are no joules."""


def spent(result: RunResult) -> dict[str, Spent]:
    """Seconds and gross joules of each unit of work of `UNITS`, of one completed run."""
    return {
        "usd_per_1000_iterations": _with_joules(result, "tune", *_iterations_seconds(result)),
        "usd_per_adapter": _adapter(result),
        "usd_per_1000_images": _with_joules(result, "inference", *_images_seconds(result)),
        "usd_per_db": _with_joules(result, "tune", *_db_seconds(result)),
    }


def unit_of(name: str, iterations: int) -> str:
    """What a cost is of, in words, where so many iterations are the constant of the protocol."""
    return UNITS[name].format(iterations=f"{iterations:,}")


def _iterations_seconds(result: RunResult) -> tuple[float | None, str | None]:
    """1,000 optimiser steps at the training speed of the constant-iteration protocol."""
    speed = result.summary.training_iterations_per_second
    return (1000 / speed, None) if speed else (None, "no training speed was measured")


def _adapter(result: RunResult) -> Spent:
    """Setting up once, then the first `tune.iterations` iterations: equal work for all, on whatever it is done.

    No phase of setting up has joules of its own: its power is taken for the mean of the whole run.
    """
    tuning, reason = _budget_seconds(result)
    setup, missing = setup_seconds(result)
    if tuning is None or setup is None:
        return Spent(reason=reason or missing, no_joules=reason or missing)
    watts, no_joules = phase_watts(result, "tune")
    idle = run_watts(result)
    joules = None if watts is None or idle is None else watts * tuning + idle * setup
    return Spent(setup + tuning, joules, None, no_joules)


def _budget_seconds(result: RunResult) -> tuple[float | None, str | None]:
    """The iterations of the constant-iteration protocol at their own speed, which is the slowest rank's."""
    asked, speed = result.spec.tune.iterations, result.summary.training_iterations_per_second
    done = len(result.tuning.iteration_seconds) if result.tuning else 0
    if speed and done >= asked:
        return asked / speed, None
    return None, f"{done:,} of {asked:,} iterations were done" if speed else "no training speed was measured"


def setup_seconds(result: RunResult) -> tuple[float | None, str | None]:
    """What import, preparation, loading and warm-up took when they were done last; a run may begin more than once."""
    took = {phase.name: phase.seconds for phase in result.phases if phase.name in SETUP}
    lost = [name for name in SETUP if name in took and took[name] is None]
    if lost or not took:
        return None, f"the time of {lost[0].replace('_', '-') if lost else 'loading and warm-up'} was not measured"
    return math.fsum(seconds for seconds in took.values() if seconds is not None), None


def _db_seconds(result: RunResult) -> tuple[float | None, str | None]:
    """The tuning seconds of the constant-time protocol by the PSNR that they gained; nothing else is in it."""
    mark, gain = time_mark(result), _gain_db(result)
    if mark is None:
        return None, "the time budget was not reached"
    if gain is None:
        return None, "no PSNR was measured before and after"
    return (mark.seconds / gain, None) if gain > 0 else (None, "tuning gained no PSNR")


def _images_seconds(result: RunResult) -> tuple[float | None, str | None]:
    """1,000 images of `num_inference_steps` denoising steps at the measured image-steps rate."""
    speed, steps = result.summary.inference_image_steps_per_second, result.spec.inference.num_inference_steps
    return (1000 * steps / speed, None) if speed else (None, "no inference speed was measured")


def _gain_db(result: RunResult) -> float | None:
    """Reconstruction PSNR at the constant-time mark, less that of the untuned model."""
    tuned, untuned = result.summary.psnr_db, result.summary.psnr_db_untuned
    return tuned - untuned if tuned is not None and untuned is not None else None


def _with_joules(result: RunResult, phase: TimedPhase, seconds: float | None, reason: str | None) -> Spent:
    """The seconds, with the joules that they take at the mean power of the phase they belong to."""
    if seconds is None:
        return Spent(reason=reason, no_joules=reason)
    watts, missing = phase_watts(result, phase)
    return Spent(seconds, None if watts is None else watts * seconds, None, missing)


def phase_watts(result: RunResult, phase: TimedPhase) -> tuple[float | None, str | None]:
    """Mean gross power of the devices in a phase, or the reason why it is not known."""
    energy = result.energy
    if energy is None or energy.class_ == "unavailable":
        return None, (energy.reason if energy else None) or "no energy was measured"
    found = next((each for each in energy.phases if each.phase == phase), None)
    if found is None:
        return None, f"no energy of phase {phase} was measured"
    if short := too_short(found.seconds, f" of phase {phase}"):
        return None, short
    return found.joules_gross / found.seconds, None


def run_watts(result: RunResult) -> float | None:
    """Mean gross power of the devices from the engine's start to its end."""
    energy = result.energy
    return (
        energy.joules_gross / energy.seconds if energy and energy.joules_gross is not None and energy.seconds else None
    )


SUBJECTS: dict[str, tuple[Subject, ...]] = {
    "usd_per_1000_iterations": ("training_speed",),
    "usd_per_adapter": ("training_speed",),
    "usd_per_1000_images": ("inference_speed",),
    "usd_per_db": ("quality", "training_speed"),
}
"""What a cost's seconds are a number about: the clock that made them is that of a speed."""
OF_ALL = ("usd_per_db",)
"""Costs that must come from all runs: those that gained something would flatter those that did not."""
PHASES: tuple[TimedPhase, ...] = ("tune", "inference")
STRENGTH: tuple[EnergyClass, ...] = ("measured", "estimated", "unavailable")


def spec_prices(result: RunResult) -> Prices:
    """The prices that a run's own spec names."""
    return Prices(result.spec.hardware.usd_per_hour, result.spec.hardware.usd_per_kwh)


def bases(results: Sequence[RunResult], iterations: int, missing: str | None) -> dict[str, CostBasis]:
    """What each cost is made of, by its name; `iterations` are the spec's, `missing` says why there is no run."""
    took = [spent(result) for result in results]
    found = {}
    for name in UNITS:
        each = [run[name] for run in took]
        reason = missing or next((one.reason for one in each if one.reason), None)
        no_joules = missing or next((one.no_joules for one in each if one.no_joules), None)
        seconds = known(one.seconds for one in each)
        if name in OF_ALL and len(seconds) < len(each):
            seconds = []
        joules = known(one.joules for one in each)
        found[name] = CostBasis(
            per=unit_of(name, iterations),
            seconds=estimate(seconds, grade_about(results, *SUBJECTS[name]), reason),
            # Part of the runs would make a mean that its seconds do not belong to.
            joules=estimate(
                joules if len(joules) == len(seconds) else (),
                grade_about(results, *SUBJECTS[name], "energy"),
                no_joules,
            ),
        )
    return found


def costs(basis: CostBasis, prices: Prices) -> Estimate:
    """US dollars of a unit of work; what part of it has no price or no measurement is said."""
    seconds, joules = basis.seconds, basis.joules
    if not any(prices):
        return Estimate(grade=seconds.grade, reason=NO_PRICE)
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
    seen = [result.energy for result in results if result.energy]
    classes: list[EnergyClass] = [each.class_ for each in seen if each.joules_gross is not None]
    grade = grade_about(results, "energy")
    first = next((each for each in seen if each.joules_gross is not None), seen[0] if seen else None)
    reason = missing or next((each.reason for each in seen if each.reason), None)
    if not classes and reason is None:
        reason = "no energy was measured"
    return EnergyUse(
        class_=max(classes, key=STRENGTH.index, default="unavailable"),
        source=first.source if first else None,
        reason=reason,
        idle_watts=estimate(known(each.idle_watts for each in seen), grade, reason),
        gross_joules=_joules(seen, grade, reason, net=False),
        net_joules=_joules(seen, grade, reason, net=True),
    )


def _joules(seen: Sequence[Energy], grade: Grade | None, reason: str | None, *, net: bool) -> dict[str, Estimate]:
    """By phase, and of the whole run; a phase that was too short in one of the runs has none."""
    whole = [each.joules_net if net else each.joules_gross for each in seen]
    found = {"run": estimate(known(whole), grade, reason)}
    for phase in PHASES:
        parts = [part for each in seen for part in each.phases if part.phase == phase]
        short = next((why for part in parts if (why := too_short(part.seconds))), None)
        values = [part.joules_net if net else part.joules_gross for part in parts]
        found[phase] = estimate(() if short else known(values), grade, short or reason)
    return found
