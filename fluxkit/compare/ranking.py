"""Who leads in a metric: in a question or a cost by its verdicts, in what is descriptive by the means."""

from collections.abc import Iterable, Sequence
from typing import Literal

from fluxkit.compare.comparison import Contrast, Row, Workload
from fluxkit.record.metrics import BY_KEY, Metric
from fluxkit.units import counted

HOW_MANY = {1: "It ends", 2: "Both end", 3: "All three end", 4: "All four end", 5: "All five end"}
"""Configurations, as a sentence begins."""
STARS = {"best": "★", "leading": "☆", "": ""}
"""Filled: verdicts say that it leads all others. Hollow: ahead, but not settled, or of what has no verdict."""
RANKED_PRECISION = "FP32"
"""Of the inference speeds that are put in order, where any configuration has it."""
SAME_BITS = (RANKED_PRECISION, f"{RANKED_PRECISION}, bfloat16 weights")
"""Weights that were published in bfloat16 are the same numbers in FP32."""


def order(usable: Iterable[Row], metric: Metric) -> list[Row]:
    """Rows, the best mean first; of inference speeds those in FP32, where there are any.

    A score that tuning made worse is in no order: the least tuned would lead.
    """
    rows = [row for row in usable if not worse_than_untuned(row, metric)]
    if metric.of_inference:
        rows = [row for row in rows if row.inference_precision in SAME_BITS] or rows
    sign = -1 if metric.better == "higher" else 1
    return sorted(rows, key=lambda row: (sign * (row.estimate(metric.key).mean or 0.0), row.number))


def ranked(workload: Workload, metric: Metric) -> list[Row]:
    """Rows with a usable number: the leader first where the metric has verdicts, then by their means."""
    if metric.key not in workload.rankings:  # it is asked for each cell of a table
        rows = order((row for row in workload.rows if row.usable(metric.key)), metric)
        judgement = workload.judgement(metric.quantity)
        rows.sort(key=lambda row: judgement is None or row.key != judgement.leader)
        workload.rankings[metric.key] = rows
    return workload.rankings[metric.key]


def best_first(workload: Workload) -> list[Row]:
    """All rows as a reader meets them: the fastest to tune first, those without that number last."""
    rows = ranked(workload, BY_KEY["training_iterations_per_second"])
    known = {row.key for row in rows}
    return [*rows, *(row for row in workload.rows if row.key not in known)]


def worse_than_untuned(row: Row, metric: Metric) -> bool:
    """Whether tuning made a score worse, as far as the mean says."""
    tuned, untuned = row.estimate(metric.key).mean, row.estimate(metric.untuned or "").mean
    if tuned is None or untuned is None:
        return False
    return tuned < untuned if metric.better == "higher" else tuned > untuned


def all_worse(workload: Workload, metric: Metric) -> tuple[str, str] | None:
    """Where tuning made the usable score of every row worse: what that means, and with which numbers; otherwise None.

    Held-out photos are done worse by a model that learnt the others by heart, so the tuning went on for too long.
    """
    rows = [row for row in workload.rows if row.usable(metric.key)]
    if not rows or not metric.scored or not all(worse_than_untuned(row, metric) for row in rows):
        return None
    tune, timed = workload.tables["tune"], metric.scored.mark == "time"
    budget = f"{tune['seconds']:g} s" if timed else f"{tune['iterations']:,} iterations"
    tuned, untuned = (_span(rows, key, metric.unit) for key in (metric.key, metric.untuned or ""))
    title = f"{metric.title[0].lower()}{metric.title[1:]}" if metric.title[1].islower() else metric.title
    numbers = f"{title} is {tuned}, {untuned} untuned{_best_point(rows, metric)}"
    ends = f"{HOW_MANY.get(len(rows), f'All {len(rows)} end')} worse than the untuned model"
    if not metric.scored.held_out:
        return f"{ends} after {budget}", numbers
    return f"{ends}: {budget} is too long for {counted(workload.tuned_pairs, 'photo')}", numbers


def _span(rows: Sequence[Row], key: str, unit: str) -> str:
    """The means of some rows, from the lowest to the highest."""
    ends = dict.fromkeys(f"{end([row.estimate(key).mean or 0.0 for row in rows]):.3g}" for end in (min, max))
    return f"{' to '.join(ends)} {unit}".rstrip()


def _best_point(rows: Sequence[Row], metric: Metric) -> str:
    """When a score was best, and how good, where it has a curve and that was after tuning began."""
    if not metric.curve_title:
        return ""
    sign = -1 if metric.better == "higher" else 1
    marks = [(sign * mean, point) for row in rows for point in row.curve if (mean := point.score(metric.key).mean)]
    score, point = min(marks, key=lambda mark: mark[0], default=(0.0, None))
    if not point or not point.seconds:
        return ""
    return f"; it was best, {abs(score):.3g}, after {point.target_seconds or point.seconds:.3g} s"


def standing(workload: Workload, row: Row, key: str) -> Literal["best", "leading", ""]:
    """Whether a row leads all others by verdicts, is ahead of those that it lies between, or neither."""
    metric = BY_KEY[key]
    deciding = BY_KEY[metric.same_verdict_as or key]
    rows = ranked(workload, deciding)
    if not metric.better or len(rows) < 2 or rows[0].key != row.key:  # noqa: PLR2004 - a lead takes two
        return ""
    if rows[1].estimate(deciding.key).mean == row.estimate(deciding.key).mean:
        return ""
    if row.key in workload.uncertified_rows:
        return ""  # it may not be compared with another machine, so it leads nobody
    judgement = workload.judgement(deciding.quantity)
    if judgement is None or not judgement.decided:
        return "leading"
    return "best" if all(ahead(workload, deciding, row, rival) for rival in rows[1:]) else ""


def ahead(workload: Workload, metric: Metric, row: Row, rival: Row) -> bool:
    """Whether a verdict puts the row before the other one."""
    contrast, flipped = between(workload, metric, row, rival)
    best_words = (metric.verdicts or ("", ""))[:: 1 if metric.better == "higher" else -1]
    return contrast is not None and contrast.verdict == best_words[flipped]


def between(workload: Workload, metric: Metric, first: Row, second: Row) -> tuple[Contrast | None, bool]:
    """The contrast of two rows, and whether it is stored the other way round."""
    contrast = workload.contrast(metric.quantity, first.key, second.key)
    return contrast, contrast is not None and contrast.first == second.key


def decided_leader(workload: Workload, metric: Metric, among: list[Row]) -> Row | None:
    """Of some rows the one that verdicts put before each other one of them."""
    keys = {row.key for row in among}
    rows = [row for row in ranked(workload, metric) if row.key in keys]
    if len(rows) < len(among) or len(rows) < 2:  # noqa: PLR2004 - a lead takes two
        return None
    return rows[0] if all(ahead(workload, metric, rows[0], rival) for rival in rows[1:]) else None
