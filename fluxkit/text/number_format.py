"""How a number is written for a reader: as many digits as its spread supports, its unit once, a reason if missing."""

import math
from collections.abc import Iterable, Mapping, Sequence

from fluxkit.compare.comparison import Contrast, Row, Scaling, Workload
from fluxkit.record.metrics import BY_QUANTITY, Metric
from fluxkit.stats import LEVEL, Interval
from fluxkit.trust.estimate import Estimate, TimeToTarget
from fluxkit.units import counted

MISSING = "—"
MOST_NAMES = 3
"""In a sentence; of the others it says how many."""
PLAIN_DIGITS = 3
"""Significant digits of a number without an interval."""
LEAST_DIGITS = 2
"""Significant digits of the smallest number of a column."""
MOST_DECIMALS = 6
SMALLEST_PLAIN = 1e-4
CENT = 0.01
ROUNDING = 1e-9
"""An interval that is narrower than this share of its value is that of equal numbers."""


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


def round_text(value: float) -> str:
    """A number that somebody gave, as it was given: 60, 1.875 or 1,200, never 60.0."""
    return f"{float(f'{value:.4g}'):,.10g}"


def seconds_text(seconds: float) -> str:
    """A tuning time: one that was given as it was given, one that was measured to three digits."""
    given = float(f"{seconds:.4g}") == seconds
    return round_text(seconds) if given else plain(seconds)


def column_decimals(numbers: Iterable[tuple[float, Interval | None]]) -> int:
    """Decimals for all numbers of a column: what the widest spread supports, and two digits of the smallest number."""
    held = [(value, interval) for value, interval in numbers if value or interval]
    supported = min((decimals_of(value, interval) for value, interval in held), default=0)
    needed = max((_decimals(value, LEAST_DIGITS) for value, _ in held if value), default=0)
    return min(max(supported, needed), MOST_DECIMALS)


def written(value: float, interval: Interval | None, decimals: int | None = None) -> tuple[str, str]:
    """A value and its interval in brackets, to the decimals that it supports or those of its column."""
    decimals = decimals_of(value, interval) if decimals is None else decimals
    held = f"[{number(interval.low, decimals)}, {number(interval.high, decimals)}]" if interval else ""
    return number(value, decimals), held


def value_text(estimate: Estimate, factor: float = 1.0, decimals: int | None = None) -> str:
    """The mean alone in the unit that `factor` gives, or a dash."""
    return _in_unit(estimate, factor, decimals)[0]


def interval_text(estimate: Estimate, factor: float = 1.0, decimals: int | None = None) -> str:
    """The interval in brackets, or nothing."""
    return _in_unit(estimate, factor, decimals)[1]


def decimals_in(estimates: Iterable[Estimate], factor: float = 1.0) -> int:
    """Decimals for all estimates of a column, in the unit that `factor` gives."""
    return column_decimals(
        (estimate.mean * factor, estimate.interval and scaled(estimate.interval, factor))
        for estimate in estimates
        if estimate.mean is not None
    )


def scaled(interval: Interval, factor: float) -> Interval:
    """The same interval in another unit."""
    return interval.model_copy(update={"low": interval.low * factor, "high": interval.high * factor})


def _in_unit(estimate: Estimate, factor: float, decimals: int | None) -> tuple[str, str]:
    if estimate.mean is None:
        return MISSING, ""
    value = estimate.mean * factor
    interval = estimate.interval and scaled(estimate.interval, factor)
    if 0 < abs(value) < SMALLEST_PLAIN:
        return plain(value), f"[{plain(interval.low)}, {plain(interval.high)}]" if interval else ""
    return written(value, interval, decimals)


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
    text, held = written(value, interval)
    if interval and interval.level != LEVEL:
        held += f" ({level_text(interval.level)} interval)"
    text = f"{text} times" if contrast.scale == "ratio" else f"{'+' if value > 0 else ''}{text}"
    return f"{text} {held}".rstrip()


def turned(contrast: Contrast) -> tuple[float, Interval | None]:
    """Value and interval of second to first instead of first to second."""
    value, interval = contrast.value or 0.0, contrast.interval
    ratio = contrast.scale == "ratio"
    ends = None
    if interval:
        low, high = (1 / interval.high, 1 / interval.low) if ratio else (-interval.high, -interval.low)
        ends = interval.model_copy(update={"low": low, "high": high})
    if ratio:
        return 1 / value if value else 0.0, ends
    return -value, ends


def level_text(level: float) -> str:
    """The level of an interval, to the first digit that tells it from 100 %: 95 %, 99.5 %, 99.8 %, 99.98 %."""
    short = 100 * (1 - level)
    decimals = max(1, -math.floor(math.log10(short) + ROUNDING)) if short > 0 else 0
    return f"{float(f'{100 * level:.{decimals}f}'):.10g} %"


def verdict_words(contrast: Contrast, *, flipped: bool = False) -> str:
    """The verdict about the first (flipped: the second), as a reader says it; equivalence names its band."""
    metric = BY_QUANTITY[contrast.quantity]
    if contrast.verdict is None:
        return "no verdict" if metric.judged else "descriptive"
    if contrast.verdict == "equivalent":
        return f"equivalent (within {metric.margin_text})"
    above, below = metric.verdicts or ("", "")
    return {above: below, below: above}.get(contrast.verdict, contrast.verdict) if flipped else contrast.verdict


def change_text(contrast: Contrast, rival: str, *, flipped: bool = False) -> str:
    """The first (flipped: the second) against a rival: “14 % more iterations/s than “B” (-8 % to +42 %)”.

    A change that rounds to nothing reads “as many iterations/s as “B””: “0 % more” says neither more nor equal.
    """
    metric = BY_QUANTITY[contrast.quantity]
    change, interval = _change(contrast, flipped=flipped)
    decimals = decimals_of(change, interval)
    unit = " %" if contrast.scale == "ratio" else f" {metric.unit}".rstrip()
    noun = f" {metric.unit}" if contrast.scale == "ratio" and metric.unit.endswith("/s") else ""
    size = number(abs(change), decimals)
    how = f"{size}{unit} {'less' if change < 0 else 'more'}{noun} than"
    equal = f"as many{noun} as" if noun else "as much as"
    text = f"{how if size.strip('0.') else equal} {quoted(rival)}"
    if interval is None or interval.high - interval.low <= ROUNDING:
        return text
    low, high = (_signed(end, decimals) for end in (interval.low, interval.high))
    return f"{text} ({low}{unit if unit == ' %' else ''} to {high}{unit})"


def _signed(value: float, decimals: int) -> str:
    text = number(value, decimals)
    return f"\N{MINUS SIGN}{text[1:]}" if text.startswith("-") else f"+{text}"


def _change(contrast: Contrast, *, flipped: bool) -> tuple[float, Interval | None]:
    """A ratio in percent of the other one, a difference as it is."""
    value, interval = turned(contrast) if flipped else (contrast.value or 0.0, contrast.interval)
    if contrast.scale == "difference":
        return value, interval
    if interval:
        interval = Interval(low=100 * (interval.low - 1), high=100 * (interval.high - 1), level=interval.level)
    return 100 * (value - 1), interval


def further_runs_text(count: int | None) -> str:
    """How many runs more of each would settle it, if they come out like those there are."""
    return f"about {counted(count, 'more run')} each" if count else ""


def target_text(time: TimeToTarget | None) -> str:
    """Time to the target as “15.0 to 30.0 s”; a miss as “> 60 s”, with how many runs missed; or a dash."""
    if time is None:
        return MISSING
    missed = sum(value is None for value in time.values)
    runs = f"n = {len(time.values)}" + (f", {missed} missed it" if missed else "")
    grade = f", grade {time.grade}" if time.grade else ""
    bound = "" if time.bounded else ", by the mean"
    return f"{bracket_text(time)} s ({runs}{grade}{bound})"


def bracket_text(time: TimeToTarget) -> str:
    """Between which times the target was reached: “15 to 30”, “up to 15” at the first one, “> 60” where it was not."""
    if time.seconds is None:
        return f"> {seconds_text(time.looked_seconds)}"
    if not time.since_seconds:
        return f"up to {seconds_text(time.seconds)}"
    return f"{seconds_text(time.since_seconds)} to {seconds_text(time.seconds)}"


def agreement_text(row: Row) -> str:
    """Whether the row's devices compute what the others compute, with what is outside of a band."""
    if row.agreement is None:
        return f"{MISSING} (not checked)"
    if row.agreement:
        return "passed"
    return "failed: " + "; ".join(
        f"{certificate.precision}: {', '.join(certificate.departures)}"
        for certificate in row.certificates
        if not certificate.passed
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
    return str(row.prices) if row.prices.given else MISSING


def prediction_text(row: Row, name: str) -> str:
    """What the plan said over what was measured, as “1.04 (n = 3, grade A)”, or a dash with the reason."""
    ratio = row.predicted_over_measured.get(name)
    if ratio is None or ratio.mean is None:
        return f"{MISSING} ({ratio.reason if ratio else 'not predicted'})"
    return " ".join(text for text in (value_text(ratio), interval_text(ratio), f"({footing(ratio)})") if text)


def scaling_text(scaling: Scaling, rows: Mapping[str, Row]) -> str:
    """How well N devices do the work of one, as a sentence with the formula."""
    several, speed = rows[scaling.several].name, scaling.subject.replace("_", " ")
    if scaling.efficiency is None:
        return f"{scaling.kind.capitalize()} scaling of {several}, {speed}: {MISSING} ({scaling.reason})"
    efficiency = " ".join(written(scaling.efficiency, scaling.interval)).rstrip()
    grade = f", grade {scaling.grade}" if scaling.grade else ""
    single = f" against {rows[scaling.single].name}" if scaling.single else ""
    return (
        f"{scaling.kind.capitalize()} scaling of {several}{single}, {speed}: efficiency {efficiency}{grade} "
        f"= {scaling.formula}"
    )


def in_readable_unit(metric: Metric, workload: Workload) -> Metric:
    """The metric as a workload shows it: where a cost is less than a cent, a thousand units are priced."""
    means = [mean for row in workload.rows if (mean := row.estimate(metric.key).mean)]
    if not metric.per_thousand or not means or min(means) >= CENT:
        return metric
    return metric._replace(factor=1000.0, per=metric.per_thousand, title=f"Cost per {metric.per_thousand}")


def title_of(metric: Metric, workload: Workload) -> str:
    """What a metric is called in a workload: of inference with its batch size, a cost with the iterations it is of."""
    if metric.of_inference:
        return f"{metric.title} at batch size {workload.tables['inference']['batch_size']}"
    work = metric.unit_of_work(int(workload.tables["tune"]["iterations"] or 0))
    if work != (metric.per or ""):
        return f"Cost per {work.partition(', ')[0]}"  # without what is included, which the methods say
    return metric.title


def header(metric: Metric, workload: Workload) -> str:
    """Title and unit of a column."""
    return f"{title_of(metric, workload)} ({metric.unit})" if metric.unit else title_of(metric, workload)
