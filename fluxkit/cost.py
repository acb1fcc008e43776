"""What a run costs: the price of the whole instance and of the devices' energy, times what was measured.

Prices are the reader's: they come from the spec or the command line, are applied here and are stored in no result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fluxkit.marks import time_mark

if TYPE_CHECKING:
    from fluxkit.record import RunResult
    from fluxkit.witness import TimedPhase

SECONDS_PER_HOUR = 3600.0
JOULES_PER_KWH = 3.6e6
LEAST_SECONDS = {"measured": 5.0, "estimated": 60.0}
"""Of a phase whose power is to be known: a counter that moves ten times a second is then off by 2 % at most."""
NO_PRICE = "no price given: set hardware.usd_per_hour, hardware.usd_per_kwh or both"
UNITS = {
    "usd_per_1000_iterations": "1,000 iterations",
    "usd_per_adapter": "tuned adapter",
    "usd_per_1000_images": "1,000 images",
    "usd_per_db": "dB gained over untuned",
}
"""What each cost is of, in words."""


class Prices(NamedTuple):
    """What the reader pays; 0: not given."""

    usd_per_hour: float = 0.0
    """Of the whole instance."""
    usd_per_kwh: float = 0.0
    """Of the energy that its devices use."""

    def usd(self, seconds: float, joules: float | None = None) -> float:
        """US dollars of so many seconds of the instance and so many joules of its devices."""
        energy = self.usd_per_kwh * joules / JOULES_PER_KWH if joules is not None else 0.0
        return self.usd_per_hour * seconds / SECONDS_PER_HOUR + energy


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
    adapter, reason = _adapter_seconds(result)
    gain = _gain_db(result)
    lost = "tuning gained no PSNR" if gain is not None else "no PSNR was measured before and after"
    per_db = (adapter / gain, None) if adapter is not None and gain and gain > 0 else (None, reason or lost)
    return {
        "usd_per_1000_iterations": _with_joules(result, "tune", *_iterations_seconds(result)),
        "usd_per_adapter": _with_joules(result, "tune", adapter, reason),
        "usd_per_1000_images": _with_joules(result, "inference", *_images_seconds(result)),
        "usd_per_db": _with_joules(result, "tune", *per_db),
    }


def _iterations_seconds(result: RunResult) -> tuple[float | None, str | None]:
    """1,000 optimiser steps at the training speed of the constant-iteration protocol."""
    speed = result.summary.training_iterations_per_second
    return (1000 / speed, None) if speed else (None, "no training speed was measured")


def _adapter_seconds(result: RunResult) -> tuple[float | None, str | None]:
    """The tuning seconds of the constant-time protocol: loading, preparation and evaluation are not in it."""
    mark = time_mark(result)
    return (mark.seconds, None) if mark else (None, "the time budget was not reached")


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
    least = LEAST_SECONDS[energy.class_]
    if found is None:
        return None, f"no energy of phase {phase} was measured"
    if found.seconds < least:
        return None, f"too short: {found.seconds:.0f} s of phase {phase}; {least:.0f} s are wanted"
    return found.joules_gross / found.seconds, None
