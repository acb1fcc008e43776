"""How a number is written for a reader: as many digits as its spread supports, its unit once, a reason if missing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fluxkit.stats import LOSS_MARGIN, PSNR_MARGIN_DB, SPEED_MARGIN, SSIM_MARGIN

if TYPE_CHECKING:
    from fluxkit.comparison import Contrast, Metric, Workload
    from fluxkit.measures import Estimate
    from fluxkit.stats import Interval

MISSING = "—"
PLAIN_DIGITS = 3
"""Significant digits of a number without an interval."""
MOST_DECIMALS = 6
SMALLEST_PLAIN = 1e-4
PERCENT = 95
BANDS = {
    "psnr_db": f"{PSNR_MARGIN_DB:g} dB",
    "ssim": f"{SSIM_MARGIN:g}",
    "validation_loss": f"{100 * LOSS_MARGIN:g} %",
}
"""Bands of equivalence; that of every other quantity is the speeds'."""
OPPOSITES = {
    "faster": "slower",
    "slower": "faster",
    "better": "worse",
    "worse": "better",
    "cheaper": "dearer",
    "dearer": "cheaper",
}


def number(value: float, decimals: int) -> str:
    """A value with fixed decimals and a comma every three digits; never a negative zero."""
    text = f"{value:,.{decimals}f}"
    return text.lstrip("-") if not text.strip("-0.,") else text


def decimals_of(value: float, interval: Interval | None) -> int:
    """Decimals worth printing: two digits of the half-width, or three significant digits where there is no interval."""
    half = (interval.high - interval.low) / 2 if interval else 0.0
    if half > 0:
        wanted = 1 - math.floor(math.log10(half))
        return max(0, min(wanted, _decimals(value, 5), MOST_DECIMALS))
    return min(_decimals(value, PLAIN_DIGITS), MOST_DECIMALS)


def _decimals(value: float, digits: int) -> int:
    return max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else digits - 1


def plain(value: float | None, digits: int = PLAIN_DIGITS) -> str:
    """A lone number to so many significant digits."""
    if value is None:
        return MISSING
    if 0 < abs(value) < SMALLEST_PLAIN:
        return f"{value:.{digits - 1}e}"
    return number(value, min(_decimals(value, digits), MOST_DECIMALS))


def scaled(interval: Interval | None, factor: float) -> Interval | None:
    """An interval in another unit."""
    if interval is None:
        return None
    return interval.model_copy(update={"low": interval.low * factor, "high": interval.high * factor})


def value_text(estimate: Estimate, factor: float = 1.0) -> str:
    """The mean alone, or a dash."""
    if estimate.mean is None:
        return MISSING
    value, interval = estimate.mean * factor, scaled(estimate.interval, factor)
    if 0 < abs(value) < SMALLEST_PLAIN:
        return plain(value)
    return number(value, decimals_of(value, interval))


def interval_text(estimate: Estimate, factor: float = 1.0) -> str:
    """The interval in brackets, or nothing."""
    interval = scaled(estimate.interval, factor)
    if estimate.mean is None or interval is None:
        return ""
    decimals = decimals_of(estimate.mean * factor, interval)
    return f"[{number(interval.low, decimals)}, {number(interval.high, decimals)}]"


def footing(estimate: Estimate) -> str:
    """What a number rests on: runs and grade."""
    runs = f"n = {len(estimate.values)}"
    return f"{runs}, grade {estimate.grade}" if estimate.grade else runs


def full_text(estimate: Estimate, metric: Metric) -> str:
    """Value, unit, interval, runs and grade in one phrase for a sentence."""
    if estimate.mean is None:
        return f"{MISSING} ({estimate.reason})"
    unit = f" {metric.unit}" if metric.unit != "1" else ""
    interval = interval_text(estimate, metric.factor)
    held = f"{PERCENT} % interval {interval}, " if interval else ""
    return f"{value_text(estimate, metric.factor)}{unit} ({held}{footing(estimate)})"


def contrast_text(contrast: Contrast, *, flipped: bool = False) -> str:
    """The ratio as “1.72 times”, or the difference with its sign; with the interval where there is one."""
    if contrast.value is None:
        return MISSING
    value, interval = turned(contrast) if flipped else (contrast.value, contrast.interval)
    decimals = decimals_of(value, interval)
    held = f" [{number(interval.low, decimals)}, {number(interval.high, decimals)}]" if interval else ""
    if contrast.scale == "ratio":
        return f"{number(value, decimals)} times{held}"
    return f"{'+' if value > 0 else ''}{number(value, decimals)}{held}"


def turned(contrast: Contrast) -> tuple[float, Interval | None]:
    """Value and interval of second to first instead of first to second."""
    value, interval = contrast.value or 0.0, contrast.interval
    if contrast.scale == "ratio":
        ends = (1 / interval.high, 1 / interval.low) if interval else None
        value = 1 / value if value else 0.0
    else:
        ends = (-interval.high, -interval.low) if interval else None
        value = -value
    if interval is None or ends is None:
        return value, None
    return value, interval.model_copy(update={"low": ends[0], "high": ends[1]})


def verdict_words(contrast: Contrast, *, flipped: bool = False) -> str:
    """The verdict about the first (flipped: the second), as a reader says it; equivalence names its band."""
    if contrast.verdict == "equivalent":
        return f"equivalent (within {BANDS.get(contrast.quantity, f'{100 * SPEED_MARGIN:g} %')})"
    if contrast.verdict == "inconclusive":
        return "not decided"
    return OPPOSITES[contrast.verdict] if flipped else contrast.verdict


def header(metric: Metric, workload: Workload | None = None) -> str:
    """Title and unit of a column; the inference columns say at which batch size."""
    title = metric.title
    if metric.subject == "inference_speed" and metric.key.startswith("inference") and workload:
        title = f"{title} at batch size {workload.tables['inference']['batch_size']}"
    return f"{title} ({metric.unit})" if metric.unit != "1" else title
