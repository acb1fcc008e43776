"""Who leads in a metric: in a question or a cost by its verdicts, in what is descriptive by the means."""

from collections.abc import Iterable
from typing import Literal

from fluxkit.compare.comparison import Contrast, Row, Workload
from fluxkit.record.metrics import BY_KEY, Metric

STARS = {"best": "★", "leading": "☆", "": ""}
"""Filled: verdicts say that it leads all others. Hollow: ahead, but not settled, or of what has no verdict."""
RANKED_PRECISION = "FP32"
"""Of the inference speeds that are put in order, where any configuration has it."""
SAME_BITS = (RANKED_PRECISION, f"{RANKED_PRECISION}, bfloat16 weights")
"""Weights that were published in bfloat16 are the same numbers in FP32."""


def order(usable: Iterable[Row], metric: Metric) -> list[Row]:
    """Rows, the best mean first; of inference speeds those in FP32, where there are any."""
    rows = list(usable)
    if metric.of_inference:
        rows = [row for row in rows if row.inference_precision in SAME_BITS] or rows
    sign = -1 if metric.better == "higher" else 1
    return sorted(rows, key=lambda row: (sign * (row.estimate(metric.key).mean or 0.0), row.number))


def ranked(workload: Workload, metric: Metric) -> list[Row]:
    """Rows with a usable number: the leader first where the metric has verdicts, then by their means."""
    rows = order((row for row in workload.rows if row.usable(metric.key)), metric)
    judgement = workload.judgement(metric.quantity)
    return sorted(rows, key=lambda row: judgement is None or row.key != judgement.leader)


def standing(workload: Workload, row: Row, key: str) -> Literal["best", "leading", ""]:
    """Whether a row leads all others by verdicts, is ahead of those that it lies between, or neither."""
    metric = BY_KEY[key]
    deciding = BY_KEY[metric.same_verdict_as or key]
    rows = ranked(workload, deciding)
    if not metric.better or len(rows) < 2 or rows[0].key != row.key:  # noqa: PLR2004 - a lead takes two
        return ""
    if rows[1].estimate(deciding.key).mean == row.estimate(deciding.key).mean:
        return ""
    if any(contrast.value is None for contrast in workload.contrasts if row.key in {contrast.first, contrast.second}):
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
    return rows[0] if all(ahead(workload, metric, rows[0], rival) for rival in rows[1:]) else None
