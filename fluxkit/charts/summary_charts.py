"""Charts of one workload: what is charted, how it is read, and the charted numbers as a table."""

from collections.abc import Sequence
from typing import Any

from fluxkit.charts.svg import svg
from fluxkit.charts.ticks import CurveAxis, round_places, ticks
from fluxkit.charts.vega_specs import bar_layers, curve_layers, phase_layers
from fluxkit.compare.comparison import Anchor, CurvePoint, Row, Workload
from fluxkit.compare.ranking import between, ranked
from fluxkit.record.metrics import BY_KEY, Metric
from fluxkit.record.phase_seconds import part_place
from fluxkit.stats import Interval
from fluxkit.text.number_format import MISSING, PLAIN_DIGITS, plain, round_text, turned, verdict_words
from fluxkit.trust.estimate import NOT_MEASURED
from fluxkit.values import Frozen

MOST_RUNS = 20
"""Of a configuration that are drawn one by one beside its mean."""


class Chart(Frozen):
    """A chart with its words and its numbers."""

    title: str
    how_to_read: str
    svg: str
    columns: tuple[str, ...]
    table: tuple[tuple[str, ...], ...]
    """The charted numbers, a tuple per line."""
    note: str = ""
    """What could not be drawn and would be missed, in a sentence."""


def marked(row: Row, words: str) -> str:
    """What a mark of a configuration is called: its number, for a page that filters, then its name and words."""
    return f"{row.number}|{row.name}{words}"


def interval_ends(interval: Interval | None) -> dict[str, float]:
    """What a whisker is drawn from; nothing where there is no interval."""
    return {"low": interval.low, "high": interval.high} if interval else {}


def interval_cell(interval: Interval | None, digits: int = PLAIN_DIGITS, missing: str = MISSING) -> str:
    """An interval in a table of charted numbers."""
    return f"[{plain(interval.low, digits)}, {plain(interval.high, digits)}]" if interval else missing


def curve(workload: Workload, key: str, score: str, over: str) -> Chart | None:
    """Quality (a key of `metrics.CURVES`) over `seconds` or `iteration`; None without two marks."""
    metric = BY_KEY[score]
    title, unit = metric.curve_title or metric.title, metric.unit
    marked = [(row, point) for row in workload.rows for point in row.curve]
    points = [(row, point) for row, point in marked if point.score(score).mean is not None]
    marks = {point.mark for _, point in points}
    if len(marks) < 2:  # noqa: PLR2004 - a curve takes two points
        return None
    values = [_curve_value(row, point, score, over) for row, point in points]
    levels = [] if metric.scored and metric.scored.held_out else _levels(workload.anchors, score)
    axis = _curve_axis(workload, values, over)
    quantity = f"{title} ({unit})" if unit else title
    return Chart(
        title=f"{title} over {'tuning time' if over == 'seconds' else 'iterations'}",
        how_to_read=(
            f"Each point is the quality reached {'after that time' if over == 'seconds' else 'by then'}: the mean over "
            f"runs at one of {len(marks)} evaluation points, with its 95 % interval from three runs on as a band. Log "
            "scale; the dotted line is the budget. "
            + ("Lower is better." if metric.better == "lower" else "Higher is better; dashed lines need no tuning.")
        ),
        svg=svg(curve_layers(workload.rows, values, levels, axis, quantity), key),
        columns=("Configuration", axis.title, quantity, "95 % interval", "Runs", "Grade"),
        table=tuple(
            _curve_line(row, point, score, over)
            for row, point in marked
            if point.score(score).mean is not None or point.score(score).reason
        ),
        note=_not_drawn(marked, score, over),
    )


def bars(workload: Workload, key: str, metric: Metric, title: str) -> Chart | None:
    """One bar per configuration with its interval, best first, every run as a point, and its share of the best."""
    sign = -1 if metric.better == "higher" else 1
    rows = [row for row in workload.rows if row.estimate(metric.key).mean is not None]
    rows.sort(key=lambda row: (sign * (row.estimate(metric.key).mean or 0.0), row.number))
    leader = next(iter(ranked(workload, metric)), None)
    if not rows:
        return None
    values, dots, table = [], [], []
    more = any(len(row.estimate(metric.key).values) > MOST_RUNS for row in rows)
    for row in rows:
        estimate = row.estimate(metric.key)
        mean, ends = plain(estimate.mean, 4), interval_ends(estimate.interval)
        drawn = estimate.values[:MOST_RUNS]
        runs = [plain(value, 4) for value in drawn]
        share, ratio = _share_of(workload, metric, row, leader) if leader and row != leader else ("", ())
        if metric.of_inference and leader and row.inference_precision != leader.inference_precision:
            share += f" in {row.inference_precision}"
        text = f"{plain(estimate.mean)}{share}"
        label = marked(row, f": {mean} {metric.unit}{share}")
        values.append({"name": row.name, "x": estimate.mean, "label": label, "text": text, **ends})
        dots += [
            {"name": row.name, "x": value, "label": marked(row, f", one run: {run} {metric.unit}")}
            for value, run in zip(drawn, runs, strict=True)
        ]
        runs += [f"and {len(estimate.values) - MOST_RUNS} more"] if len(estimate.values) > MOST_RUNS else []
        held = interval_cell(estimate.interval, 4, "— (fewer than 3 runs)")
        table.append((row.name, mean, held, ", ".join(runs), *(ratio or (MISSING, MISSING, MISSING))))
    share_words = f" In brackets: the share of “{leader.name}”." if leader and len(rows) > 1 else ""
    return Chart(
        title=title,
        how_to_read=(
            "A bar is the mean, its whisker the 95 % interval over runs, each point one run"
            f"{f', of more than {MOST_RUNS} the first' if more else ''}.{share_words}"
        ),
        svg=svg(bar_layers(rows, values, dots, metric.unit), key),
        columns=("Configuration", metric.unit, "95 % interval", "Single runs", "Share", "Its interval", "Verdict"),
        table=tuple(table),
    )


def _share_of(workload: Workload, metric: Metric, row: Row, leader: Row) -> tuple[str, tuple[str, str, str] | None]:
    """A configuration as a share of the leader, behind its bar and in the table."""
    contrast, flip = between(workload, metric, row, leader)
    if contrast is None or contrast.value is None:
        return "", None
    value, interval = turned(contrast) if flip else (contrast.value, contrast.interval)
    held = f"[{interval.low:.3f}, {interval.high:.3f}]" if interval else "— (too few runs)"
    return f" ({100 * value:.0f} %)", (f"{value:.3f}", held, verdict_words(contrast, flipped=flip))


def phases(workload: Workload, key: str) -> Chart | None:
    """Time per phase, stacked in the order of a run; None where no phase ended."""
    rows = [row for row in workload.rows if row.phases]
    if not rows:
        return None
    names = sorted({name for row in rows for name in row.phases}, key=lambda name: (part_place(name), name))
    titles = {name: name.replace("_", " ") for name in names}
    values = [
        {
            "name": row.name,
            "phase": titles[name],
            "place": place,
            "x": row.phases[name].mean or 0.0,
            "label": marked(row, f", {titles[name]}: {plain(row.phases[name].mean)} s"),
        }
        for row in rows
        for place, name in enumerate(names)
        if name in row.phases
    ]
    return Chart(
        title="Time per phase, mean over runs",
        how_to_read=(
            "Mean seconds on the first process, in the order of a run. Compiling is told apart from the warm-up and "
            "the inference that it was in, checkpoints from tuning. Only tuning itself is on the budget's clock."
        ),
        svg=svg(phase_layers(rows, values, titles), key),
        columns=("Configuration", *(f"{title} (s)" for title in titles.values())),
        table=tuple(
            (row.name, *(plain(row.phases[name].mean) if name in row.phases else MISSING for name in names))
            for row in rows
        ),
    )


def _curve_axis(workload: Workload, values: Sequence[dict[str, Any]], over: str) -> CurveAxis:
    """Time has ticks at its evaluation points, iterations at round numbers; both at their budget."""
    tune = workload.tables["tune"]
    constant = min((value["x"] for value in values if value["x"] > 0), default=1.0)
    if over == "iteration":
        budget = float(tune["iterations"] or 0)
        places = round_places(max(value["x"] for value in values))
        return CurveAxis("Tuning iterations", constant, ticks(places, constant, [budget, 0.0]), budget)
    set_seconds = {point.target_seconds or 0.0 for row in workload.rows for point in row.curve}
    budget = float(tune["seconds"] or 0.0)
    return CurveAxis("Tuning time (s)", constant, ticks(set_seconds, constant, [budget]), budget)


def _place_of(point: CurvePoint, over: str) -> float:
    """Where an evaluation point stands on the axis: at the time that was given, not at the last step within it."""
    return (point.target_seconds or point.seconds) if over == "seconds" else point.iteration


def _where(point: CurvePoint, over: str) -> str:
    return f"{round_text(_place_of(point, over))} {'s' if over == 'seconds' else 'iterations'}"


def _not_drawn(marked: Sequence[tuple[Row, CurvePoint]], score: str, over: str) -> str:
    """Where a configuration has no point, and why: a curve that ends early would look like a good one."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row, point in marked:
        estimate = point.score(score)
        if estimate.mean is None and estimate.reason != NOT_MEASURED:
            reasons.setdefault((row.name, estimate.reason or ""), []).append(_where(point, over))
    words = [f"“{name}” has no point at {', '.join(places)} ({why})" for (name, why), places in reasons.items()]
    return f"{'; '.join(words)}." if words else ""


def _curve_value(row: Row, point: CurvePoint, score: str, over: str) -> dict[str, Any]:
    estimate, x, where = point.score(score), _place_of(point, over), _where(point, over)
    ends = interval_ends(estimate.interval) or dict.fromkeys(("low", "high"), estimate.mean)
    label = marked(row, f" at {where}: {plain(estimate.mean, 4)}")
    return {"name": row.name, "x": x, "y": estimate.mean, "label": label, **ends}


def _curve_line(row: Row, point: CurvePoint, score: str, over: str) -> tuple[str, ...]:
    estimate = point.score(score)
    mean = estimate.reason or MISSING if estimate.mean is None else plain(estimate.mean, 4)
    interval, runs = interval_cell(estimate.interval, 4), str(len(estimate.values))
    return (row.name, round_text(_place_of(point, over)), mean, interval, runs, estimate.grade or MISSING)


def _levels(anchors: Sequence[Anchor], score: str) -> list[dict[str, Any]]:
    names = {"untuned": "untuned", "autoencoder_reconstruction": "autoencoder", "flat_colour": "flat colour"}
    means: dict[tuple[str, str], float] = {}
    for anchor in anchors:
        mean, name = getattr(anchor, score).mean, names.get(anchor.name, anchor.name)
        if mean is not None:  # untuned in two precisions is mostly one line
            means.setdefault((plain(mean), name), mean)
    present = sorted((mean, name) for (_, name), mean in means.items())
    return [
        {"level": mean, "text": name, "label": f"{name}: {plain(mean)}", "below": place == 0 and len(present) > 1}
        for place, (mean, name) in enumerate(present)
    ]
