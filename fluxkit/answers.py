"""The questions a reader comes with, each answered in one computed sentence, or said to be undecided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from pydantic import BaseModel

from fluxkit.comparison import COLUMNS, Contrast, Quantity
from fluxkit.contrasts import key_of
from fluxkit.figures import contrast_text, footing, full_text, further_runs_text, value_text
from fluxkit.frozen import FROZEN
from fluxkit.record import Grade
from fluxkit.stats import MIN_VALUES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxkit.comparison import Metric, Row, Workload


class Question(NamedTuple):
    """What is asked of which quantity, and the words of its answer."""

    scenario: str
    quantity: Quantity
    leads: str
    ties: str


QUESTIONS = (
    Question("Least time to tune", "training_speed", "tunes fastest", "tune equally fast"),
    Question(
        "Best quality in equal time",
        "psnr_db",
        "draws the tuned images best after equal time",
        "draw the tuned images equally well after equal time",
    ),
    Question(
        "Best held-out score in equal time",
        "validation_loss",
        "does best on images it never saw",
        "do equally well on images they never saw",
    ),
    Question("Fastest generation", "inference_speed", "generates fastest", "generate equally fast"),
    Question("Least money per adapter", "usd_per_adapter", "tunes an adapter cheapest", "cost the same per adapter"),
    Question(
        "Least money per iteration", "usd_per_1000_iterations", "iterates cheapest", "cost the same per iteration"
    ),
    Question("Runs on what I have", "peak_memory_bytes", "needs the least memory", "need the same memory"),
)


SAME = {
    "training_images_per_second": "training_iterations_per_second",
    "inference_batch_steps_per_second": "inference_image_steps_per_second",
}
"""Speeds in another unit: inside a workload the batch is the same, so the verdict is."""
STARS = {"best": "★", "leading": "☆", "": ""}
"""Filled: verdicts say that it leads all others. Hollow: the best mean, but the lead is not decided."""


class Answer(BaseModel):
    """One question, answered."""

    model_config = FROZEN
    scenario: str
    quantity: Quantity
    decided: bool
    row: str | None
    """Key of the configuration to take, where one leads."""
    sentence: str
    grade: Grade | None


def answers(workload: Workload) -> tuple[Answer, ...]:
    """An answer to each question of one workload; without any price one says so for all costs."""
    priced = any(row.usd_per_hour > 0 or row.usd_per_kwh > 0 for row in workload.rows)
    asked = [each for each in QUESTIONS if priced or each.quantity != "usd_per_1000_iterations"]
    return tuple(_answer(workload, question) for question in asked)


def metric_of(quantity: Quantity) -> Metric:
    """The column that a quantity compares."""
    return next(metric for metric in COLUMNS if metric.key == key_of(quantity))


def best_row(workload: Workload, key: str) -> Row | None:
    """The row with the best mean of a metric among those not graded X; None where nothing is better or worse."""
    metric = next(column for column in COLUMNS if column.key == key)
    usable = [row for row in workload.rows if row.estimate(key).mean is not None and row.estimate(key).grade != "X"]
    if metric.better is None or not usable:
        return None
    sign = 1 if metric.better == "higher" else -1
    return max(usable, key=lambda row: (sign * (row.estimate(key).mean or 0.0), -row.number))


def standing(workload: Workload, row: Row, key: str) -> Literal["best", "leading", ""]:
    """Whether a row is best in a metric beyond doubt, only has the best mean, or neither."""
    leader = best_row(workload, key)
    rivals = [each for each in _ranked(workload, key) if each.key != row.key]
    if leader is None or leader.key != row.key or not rivals or rivals[0].estimate(key).mean == row.estimate(key).mean:
        return ""
    if any(contrast.value is None for contrast in workload.contrasts if row.key in {contrast.first, contrast.second}):
        return ""  # it may not be compared with another machine, so it leads nobody
    return "best" if all(_ahead(workload, row, rival, key) for rival in rivals) else "leading"


def _ahead(workload: Workload, row: Row, rival: Row, key: str) -> bool:
    """By verdict alone: intervals that do not touch say nothing about a whole family of comparisons."""
    quantity = next((each for each in get_args(Quantity) if SAME.get(key, key) == key_of(each)), None)
    contrast = between(workload, quantity, row, rival)[0] if quantity else None
    return contrast is not None and contrast.verdict not in {"equivalent", "inconclusive"}


def between(workload: Workload, quantity: Quantity, first: Row, second: Row) -> tuple[Contrast | None, bool]:
    """The contrast of two rows, and whether it is stored the other way round."""
    for contrast in workload.contrasts:
        if contrast.quantity == quantity and {contrast.first, contrast.second} == {first.key, second.key}:
            return contrast, contrast.first == second.key
    return None, False


def _answer(workload: Workload, question: Question) -> Answer:
    key = key_of(question.quantity)
    leader = best_row(workload, key)
    if leader is None:
        return _no_answer(workload, question)
    others = [row for row in _ranked(workload, key) if row.key != leader.key]
    grade = leader.estimate(key).grade
    number = full_text(leader.estimate(key), metric_of(question.quantity)) + _beside(question, leader)
    if not others:
        sentence = f"Only {leader.name} has this number: {number}."
        return Answer(
            scenario=question.scenario,
            quantity=question.quantity,
            decided=False,
            row=None,
            sentence=sentence,
            grade=grade,
        )
    found = [(row, *between(workload, question.quantity, leader, row)) for row in others]
    return _ranking(question, leader, number, found)


def _ranked(workload: Workload, key: str) -> list[Row]:
    usable = [row for row in workload.rows if row.estimate(key).mean is not None and row.estimate(key).grade != "X"]
    leader_sign = -1 if next(column for column in COLUMNS if column.key == key).better == "higher" else 1
    return sorted(usable, key=lambda row: (leader_sign * (row.estimate(key).mean or 0.0), row.number))


def _ranking(
    question: Question, leader: Row, number: str, found: Sequence[tuple[Row, Contrast | None, bool]]
) -> Answer:
    """The answer from the leader's contrasts with all others, in the order of their means."""
    open_ones = [
        (row, contrast, flip) for row, contrast, flip in found if contrast is None or contrast.verdict == "inconclusive"
    ]
    ties = [row for row, contrast, _ in found if contrast is not None and contrast.verdict == "equivalent"]
    nearest, contrast, flip = found[0]
    grade = leader.estimate(key_of(question.quantity)).grade
    if open_ones:
        sentence = _open_sentence(question, leader, number, open_ones)
    elif ties:
        names = _list([leader.name, *(row.name for row in ties)])
        sentence = f"{names} {question.ties}: {leader.name} has {number}."
    else:
        margin = _against(question, contrast, nearest, flip=flip)
        sentence = f"{leader.name} {question.leads}: {number}{margin}."
    return Answer(
        scenario=question.scenario,
        quantity=question.quantity,
        decided=not open_ones,
        row=None if open_ones or ties else leader.key,
        sentence=sentence,
        grade=grade,
    )


def _open_sentence(
    question: Question, leader: Row, number: str, open_ones: Sequence[tuple[Row, Contrast | None, bool]]
) -> str:
    """Says that it is not decided, what was seen, why not, and how many runs more would decide."""
    nearest, contrast, flip = open_ones[0]
    metric = metric_of(question.quantity)
    second = nearest.estimate(metric.key)
    unit = "" if metric.unit == "1" else f" {metric.unit}"
    theirs = f"{value_text(second, metric.factor)}{unit} ({footing(second)})"
    sentence = f"Not decided which {question.leads}: {leader.name} measured {number}, {nearest.name} {theirs}"
    if contrast is None:
        return f"{sentence}."
    seen = f" ({_times(question, contrast, flip=flip)})" if contrast.value is not None else ""
    why = f"; {contrast.reason}" if contrast.reason else ""
    enough = min(len(leader.runs), len(nearest.runs)) >= MIN_VALUES
    more = f"; {further_runs_text(contrast)} would decide" if contrast.further_runs and enough else ""
    return f"{sentence}{seen}{why}{more}."


def _against(question: Question, contrast: Contrast | None, other: Row, *, flip: bool) -> str:
    if contrast is None:
        return ""
    apart = "" if contrast.together else ", measured apart"
    return f", {_times(question, contrast, flip=flip)} against {other.name}{apart}"


def _times(question: Question, contrast: Contrast, *, flip: bool) -> str:
    text = contrast_text(contrast, flipped=flip)
    metric = metric_of(question.quantity)
    return (
        text
        if contrast.scale == "ratio"
        else f"a difference of {text}" + ("" if metric.unit == "1" else f" {metric.unit}")
    )


def _no_answer(workload: Workload, question: Question) -> Answer:
    key = key_of(question.quantity)
    reasons = sorted({row.estimate(key).reason or "graded X" for row in workload.rows})
    return Answer(
        scenario=question.scenario,
        quantity=question.quantity,
        decided=False,
        row=None,
        sentence=f"Not answered which {question.leads}: {'; '.join(reasons)}.",
        grade=None,
    )


def _beside(question: Question, leader: Row) -> str:
    """What a number must not stand without: a speed's precision, what a price is of, the untuned score of a score."""
    if question.quantity == "inference_speed":
        return f" in {leader.inference_precision}"
    if question.quantity == "usd_per_adapter":
        return f" for an {leader.bases['usd_per_adapter'].per}"
    untuned, mine = leader.metrics.get(f"{question.quantity}_untuned"), leader.estimate(key_of(question.quantity)).mean
    if untuned is None or untuned.mean is None or mine is None:
        return ""
    gained = mine > untuned.mean if metric_of(question.quantity).better == "higher" else mine < untuned.mean
    start = value_text(untuned)
    return f" from {start} untuned" if gained else f", which is worse than the {start} of the untuned model"


def _list(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if names[1:] else names[0]
