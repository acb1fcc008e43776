"""Completed runs of one configuration -> what a unit of work took of time and energy, and what that costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fluxkit.cost import NO_PRICE, UNITS, spent, unit_of
from fluxkit.energy import too_short
from fluxkit.measures import CostBasis, EnergyUse, Estimate, estimate, grade_about, known, worst
from fluxkit.prices import Prices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxkit.measures import EnergyClass, Subject
    from fluxkit.record import Grade, RunResult
    from fluxkit.witness import Energy, TimedPhase

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
