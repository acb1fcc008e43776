"""How a number is written for a reader: as many digits as its spread supports, its unit once, a reason if missing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fluxkit.compare.cost import unit_of
from fluxkit.stats import LEVEL, LOSS_MARGIN, PSNR_MARGIN_DB, SPEED_MARGIN, SSIM_MARGIN
from fluxkit.units import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fluxkit.compare.comparison import Contrast, Metric, Row, Scaling, Workload
    from fluxkit.stats import Interval
    from fluxkit.trust.estimate import Estimate, TimeToTarget

MISSING = "—"
SMALLEST_P = 0.001
"""Below it the assumptions of a test matter more than the number."""
MOST_NAMES = 3
"""In a sentence; of the others it says how many."""
PLAIN_DIGITS = 3
"""Significant digits of a number without an interval."""
MOST_DECIMALS = 6
SMALLEST_PLAIN = 1e-4
ROUNDING = 1e-9
"""An interval that is narrower than this share of its value is that of equal numbers."""
PERCENT = 95
BANDS = {
    "psnr_db": f"{PSNR_MARGIN_DB:g} dB",
    "ssim": f"{SSIM_MARGIN:g}",
    "psnr_db_at_iterations": f"{PSNR_MARGIN_DB:g} dB",
    "ssim_at_iterations": f"{SSIM_MARGIN:g}",
    "validation_loss": f"{100 * LOSS_MARGIN:g} %",
}
"""Bands of equivalence; that of every other quantity is the speeds'."""
OPPOSITES = {
    "faster": "slower",
    "slower": "faster",
    "better": "worse",
    "worse": "better",
    "smaller": "larger",
    "larger": "smaller",
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
    if half > ROUNDING * abs(value):
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


def p_text(value: float | None) -> str:
    """A p value; what is very small is not more precise for that."""
    return f"< {SMALLEST_P:g}" if value is not None and value < SMALLEST_P else plain(value, 2)


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


def quoted(name: str) -> str:
    """A configuration's name inside a sentence: it may hold commas and brackets of its own."""
    return f"“{name}”"


def listed(texts: Sequence[str]) -> str:
    """Texts as “a, b and c”, or as “a, b, c and 17 more”: what is longer nobody reads."""
    more = len(texts) - MOST_NAMES
    parts = [*texts[:MOST_NAMES], *([f"{more} more"] if more > 0 else [])]
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if parts[1:] else parts[0]


def footing(estimate: Estimate) -> str:
    """What a number rests on: runs, grade, and what is missing of it."""
    words = [f"n = {len(estimate.values)}", f"grade {estimate.grade}" if estimate.grade else "", estimate.reason or ""]
    return ", ".join(word for word in words if word)


def contrast_text(contrast: Contrast, *, flipped: bool = False) -> str:
    """The ratio as “1.72 times”, or the difference with its sign; with its interval, named where it is not at 95 %."""
    if contrast.value is None:
        return MISSING
    value, interval = turned(contrast) if flipped else (contrast.value, contrast.interval)
    decimals = decimals_of(value, interval)
    held = f" [{number(interval.low, decimals)}, {number(interval.high, decimals)}]" if interval else ""
    if interval and interval.level != LEVEL:
        held += f" ({100 * interval.level:g} % interval)"
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


def further_runs_text(contrast: Contrast) -> str:
    """How many runs more would decide, if they come out like those there are."""
    count = contrast.further_runs
    return f"about {counted(count, 'more run')} of each" if count else ""


def target_text(found: TimeToTarget | None) -> str:
    """Time to the target as “15.0 to 30.0 s”; a miss as “> 60 s”, with how many runs missed; or a dash."""
    if found is None:
        return MISSING
    missed = sum(value is None for value in found.values)
    runs = f"n = {len(found.values)}" + (f", {missed} missed it" if missed else "")
    grade = f", grade {found.grade}" if found.grade else ""
    bound = "" if found.bounded else ", by the mean"
    if found.seconds is None:
        return f"> {plain(found.looked_seconds)} s ({runs}{grade}{bound})"
    return f"{bracket_text(found)} s ({runs}{grade}{bound})"


def bracket_text(found: TimeToTarget) -> str:
    """Between which marks the target was reached: “15.0 to 30.0”, or “up to 15.0” at the first one."""
    if not found.since_seconds:
        return f"up to {plain(found.seconds)}"
    return f"{plain(found.since_seconds)} to {plain(found.seconds)}"


def agreement_text(row: Row) -> str:
    """Whether the row's devices compute what the others compute, with what is outside of a band."""
    if row.agreement is None:
        return f"{MISSING} (no certificate)"
    if row.agreement:
        return "passed"
    return "failed: " + "; ".join(
        f"{each.precision}: {', '.join(each.departures)}" for each in row.certificates if not each.passed
    )


def energy_text(row: Row) -> str:
    """How the energy was found, or why it is not known."""
    if row.energy.class_ == "unavailable":
        return f"{MISSING} ({row.energy.reason})"
    idle = row.energy.idle_watts.mean
    beside = f", idle {plain(idle)} W" if idle is not None else ""
    return f"{row.energy.class_}: {row.energy.source}{beside}"


def price_text(row: Row) -> str:
    """What a row is priced at."""
    prices = ((row.usd_per_hour, "USD/h"), (row.usd_per_kwh, "USD/kWh"))
    return " + ".join(f"{price:g} {unit}" for price, unit in prices if price) or MISSING


def prediction_text(row: Row, name: str) -> str:
    """What the plan said over what was measured, as “1.04 (n = 3, grade A)”, or a dash with the reason."""
    found = row.predicted_over_measured.get(name)
    if found is None or found.mean is None:
        return f"{MISSING} ({found.reason if found else 'not predicted'})"
    return " ".join(text for text in (value_text(found), interval_text(found), f"({footing(found)})") if text)


def scaling_text(scaling: Scaling, rows: Mapping[str, Row]) -> str:
    """How well N devices do the work of one, as a sentence with the formula."""
    several, what = rows[scaling.several].name, scaling.subject.replace("_", " ")
    if scaling.efficiency is None:
        return f"{scaling.kind.capitalize()} scaling of {several}, {what}: {MISSING} ({scaling.reason})"
    interval = scaling.interval
    decimals = decimals_of(scaling.efficiency, interval)
    held = f" [{number(interval.low, decimals)}, {number(interval.high, decimals)}]" if interval else ""
    grade = f", grade {scaling.grade}" if scaling.grade else ""
    single = f" against {rows[scaling.single].name}" if scaling.single else ""
    efficiency = number(scaling.efficiency, decimals)
    return (
        f"{scaling.kind.capitalize()} scaling of {several}{single}, {what}: efficiency {efficiency}{held}{grade} "
        f"= {scaling.formula}"
    )


def header(metric: Metric, workload: Workload | None = None) -> str:
    """Title and unit of a column; the inference columns say at which batch size."""
    title = metric.title
    if metric.subject == "inference_speed" and metric.key.startswith("inference") and workload:
        title = f"{title} at batch size {workload.tables['inference']['batch_size']}"
    if metric.key == "usd_per_adapter" and workload:
        # Without what is included, which the methods say.
        unit = unit_of(metric.key, int(workload.tables["tune"]["iterations"] or 0))
        title = f"Cost per {unit.partition(', ')[0]}"
    return f"{title} ({metric.unit})" if metric.unit != "1" else title
