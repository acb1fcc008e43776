"""Who leads in a metric, by verdicts alone: the best mean of those that may be asked, and whether it is the best."""

from collections.abc import Sequence
from typing import Literal

from fluxkit.compare.comparison import Contrast, Row, Workload
from fluxkit.record.metrics import BY_KEY, Metric

STARS = {"best": "★", "leading": "☆", "": ""}
"""Filled: verdicts say that it leads all others. Hollow: the best mean, but the lead is not decided."""
RANKED_PRECISION = "FP32"
"""Of the inference speeds that are put in order, where any configuration has it."""
SAME_BITS = (RANKED_PRECISION, f"{RANKED_PRECISION}, bfloat16 weights")
"""Weights that were published in bfloat16 are the same numbers in FP32."""
UNSETTLED = ("equivalent", "inconclusive")


def ranked(workload: Workload, metric: Metric) -> list[Row]:
    """Rows with a usable number, the best mean first; of inference speeds those in FP32, where there are any."""
    usable = [row for row in workload.rows if row.usable(metric.key)]
    if metric.of_inference:
        usable = [row for row in usable if row.inference_precision in SAME_BITS] or usable
    sign = -1 if metric.better == "higher" else 1
    return sorted(usable, key=lambda row: (sign * (row.estimate(metric.key).mean or 0.0), row.number))


def standing(workload: Workload, row: Row, key: str) -> Literal["best", "leading", ""]:
    """Whether a row is best in a metric beyond doubt, has the best mean of those that it lies between, or neither."""
    metric = BY_KEY[key]
    rows = ranked(workload, metric)
    if not metric.better or len(rows) < 2 or rows[0].key != row.key:  # noqa: PLR2004 - a lead takes two
        return ""
    if rows[1].estimate(key).mean == row.estimate(key).mean:
        return ""
    if any(contrast.value is None for contrast in workload.contrasts if row.key in {contrast.first, contrast.second}):
        return ""  # it may not be compared with another machine, so it leads nobody
    verdicts = _verdicts(workload, BY_KEY[metric.same_verdict_as or key], rows)
    if "inconclusive" in verdicts:
        return "leading"
    return "" if "equivalent" in verdicts else "best"


def _verdicts(workload: Workload, metric: Metric, rows: Sequence[Row]) -> set[str]:
    """On the first row against each other one, which may be stored the other way round.

    By contrast alone: intervals that do not touch say nothing about a whole family of comparisons.
    """
    contrasts = [between(workload, metric, rows[0], rival)[0] for rival in rows[1:]]
    return {contrast.verdict if contrast else "inconclusive" for contrast in contrasts}


def between(workload: Workload, metric: Metric, first: Row, second: Row) -> tuple[Contrast | None, bool]:
    """The contrast of two rows, and whether it is stored the other way round."""
    for contrast in workload.contrasts:
        if contrast.quantity == metric.quantity and {contrast.first, contrast.second} == {first.key, second.key}:
            return contrast, contrast.first == second.key
    return None, False


def decided_leader(workload: Workload, metric: Metric, among: list[Row]) -> Row | None:
    """Of some rows the one that verdicts put before each other one of them."""
    keys = {row.key for row in among}
    rows = [row for row in ranked(workload, metric) if row.key in keys]
    if len(rows) < len(among) or len(rows) < 2:  # noqa: PLR2004 - a lead takes two
        return None
    return None if _verdicts(workload, metric, rows).intersection(UNSETTLED) else rows[0]
