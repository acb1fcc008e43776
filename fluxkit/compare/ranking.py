"""Who leads in a metric, by verdicts alone: the best mean of those that may be asked, and whether it is the best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from fluxkit.compare.comparison import COLUMNS, Quantity
from fluxkit.compare.contrasts import key_of

if TYPE_CHECKING:
    from fluxkit.compare.comparison import Contrast, Metric, Row, VerdictWord, Workload

SAME = {
    "training_images_per_second": "training_iterations_per_second",
    "inference_batch_steps_per_second": "inference_image_steps_per_second",
}
"""Speeds in another unit: inside a workload the batch is the same, so the verdict is."""
STARS = {"best": "★", "leading": "☆", "": ""}
"""Filled: verdicts say that it leads all others. Hollow: the best mean, but the lead is not decided."""
ASKED_PRECISION = "FP32"
"""Of the inference speeds that are put in order, where any configuration has it."""
SAME_BITS = (ASKED_PRECISION, f"{ASKED_PRECISION}, bfloat16 weights")
"""Weights that were published in bfloat16 are the same numbers in FP32."""
UNSETTLED = ("equivalent", "inconclusive")


def column_of(key: str) -> Metric:
    """The column of that name."""
    return next(column for column in COLUMNS if column.key == key)


def metric_of(quantity: Quantity) -> Metric:
    """The column that a quantity compares."""
    return column_of(key_of(quantity))


def ranked(workload: Workload, key: str) -> list[Row]:
    """Rows with a usable number, the best mean first; of inference speeds those in FP32, where there are any."""
    usable = [row for row in workload.rows if row.estimate(key).mean is not None and row.estimate(key).grade != "X"]
    if key in {key_of("inference_speed"), *SAME}:
        usable = [row for row in usable if _asked(key, row)] or usable
    sign = -1 if column_of(key).better == "higher" else 1
    return sorted(usable, key=lambda row: (sign * (row.estimate(key).mean or 0.0), row.number))


def _asked(key: str, row: Row) -> bool:
    return SAME.get(key, key) != key_of("inference_speed") or row.inference_precision in SAME_BITS


def best_row(workload: Workload, key: str) -> Row | None:
    """The row with the best mean of a metric; None where nothing is better or worse."""
    found = ranked(workload, key)
    return found[0] if found and column_of(key).better else None


def standing(workload: Workload, row: Row, key: str) -> Literal["best", "leading", ""]:
    """Whether a row is best in a metric beyond doubt, has the best mean of those that it lies between, or neither."""
    leader, rivals = best_row(workload, key), ranked(workload, key)[1:]
    if leader is None or leader.key != row.key or not rivals or rivals[0].estimate(key).mean == row.estimate(key).mean:
        return ""
    if any(contrast.value is None for contrast in workload.contrasts if row.key in {contrast.first, contrast.second}):
        return ""  # it may not be compared with another machine, so it leads nobody
    verdicts = {_verdict(workload, row, rival, key) for rival in rivals}
    if "inconclusive" in verdicts:
        return "leading"
    return "" if "equivalent" in verdicts else "best"


def _verdict(workload: Workload, row: Row, rival: Row, key: str) -> VerdictWord:
    """By contrast alone: intervals that do not touch say nothing about a whole family of comparisons."""
    quantity = next((each for each in get_args(Quantity) if SAME.get(key, key) == key_of(each)), None)
    contrast = between(workload, quantity, row, rival)[0] if quantity else None
    return contrast.verdict if contrast else "inconclusive"


def between(workload: Workload, quantity: Quantity, first: Row, second: Row) -> tuple[Contrast | None, bool]:
    """The contrast of two rows, and whether it is stored the other way round."""
    for contrast in workload.contrasts:
        if contrast.quantity == quantity and {contrast.first, contrast.second} == {first.key, second.key}:
            return contrast, contrast.first == second.key
    return None, False


def decided_leader(workload: Workload, quantity: Quantity, among: list[Row]) -> Row | None:
    """Of some rows the one that verdicts put before each other one of them."""
    keys = {row.key for row in among}
    found = [row for row in ranked(workload, key_of(quantity)) if row.key in keys]
    if len(found) < len(among) or len(found) < 2:  # noqa: PLR2004 - a lead takes two
        return None
    verdicts = [between(workload, quantity, found[0], rival)[0] for rival in found[1:]]
    return found[0] if all(each is not None and each.verdict not in UNSETTLED for each in verdicts) else None
