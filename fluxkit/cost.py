"""What a run costs: the price of the whole instance times measured seconds. Never stored in a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fluxkit.marks import time_mark

if TYPE_CHECKING:
    from fluxkit.record import RunResult

SECONDS_PER_HOUR = 3600.0
NO_PRICE = "no price given: set hardware.usd_per_hour"


class Cost(NamedTuple):
    """US dollars, or the reason why there are none."""

    usd: float | None
    reason: str | None = None


def usd(seconds: float, usd_per_hour: float) -> float:
    """US dollars of so many seconds of the instance."""
    return seconds * usd_per_hour / SECONDS_PER_HOUR


def costs(result: RunResult, usd_per_hour: float) -> dict[str, Cost]:
    """Cost figures of one completed run at a price of its whole instance, by name."""
    if usd_per_hour <= 0:
        return dict.fromkeys(
            ("usd_per_1000_iterations", "usd_per_adapter", "usd_per_1000_images"), Cost(None, NO_PRICE)
        )
    return {
        "usd_per_1000_iterations": _per_1000_iterations(result, usd_per_hour),
        "usd_per_adapter": _per_adapter(result, usd_per_hour),
        "usd_per_1000_images": _per_1000_images(result, usd_per_hour),
    }


def _per_1000_iterations(result: RunResult, usd_per_hour: float) -> Cost:
    """1,000 optimiser steps at the training speed of the constant-iteration protocol."""
    speed = result.summary.training_iterations_per_second
    return Cost(usd(1000 / speed, usd_per_hour)) if speed else Cost(None, "no training speed was measured")


def _per_adapter(result: RunResult, usd_per_hour: float) -> Cost:
    """The tuning seconds of the constant-time protocol: loading, preparation and evaluation are not in it."""
    mark = time_mark(result)
    return Cost(usd(mark.seconds, usd_per_hour)) if mark else Cost(None, "the time budget was not reached")


def _per_1000_images(result: RunResult, usd_per_hour: float) -> Cost:
    """1,000 images of `num_inference_steps` denoising steps at the measured image-steps rate."""
    speed, steps = result.summary.inference_image_steps_per_second, result.spec.inference.num_inference_steps
    return Cost(usd(1000 * steps / speed, usd_per_hour)) if speed else Cost(None, "no inference speed was measured")
