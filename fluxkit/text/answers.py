"""The questions a reader comes with, each answered in one computed sentence, or said to be undecided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import BaseModel

from fluxkit.compare.comparison import Quantity
from fluxkit.compare.contrasts import key_of
from fluxkit.compare.ranking import ASKED_PRECISION, UNSETTLED, between, decided_leader, metric_of, ranked
from fluxkit.record.result import Grade
from fluxkit.stats import MIN_VALUES
from fluxkit.text.number_format import (
    MOST_NAMES,
    contrast_text,
    footing,
    further_runs_text,
    interval_text,
    listed,
    quoted,
    value_text,
)
from fluxkit.values import FROZEN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxkit.compare.comparison import Contrast, Row, Workload

State = Literal["decided", "not decided", "one configuration", "not measured", "graded X", "no price given"]


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
        "Best quality after equal iterations",
        "psnr_db_at_iterations",
        "draws the tuned images best after equal iterations",
        "draw the tuned images equally well after equal iterations",
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
UNTUNED = {
    "psnr_db": "psnr_db_untuned",
    "psnr_db_at_iterations": "psnr_db_untuned",
    "validation_loss": "validation_loss_untuned",
}
"""No score stands without what it is measured from."""
ASK_FOR_PRICES = "give --usd-per-hour or --usd-per-kwh, or set hardware.usd_per_hour or hardware.usd_per_kwh"


class Name(BaseModel):
    """A configuration in an answer: “quoted” in a text, with its marker on a page."""

    model_config = FROZEN
    name: str
    number: int
    """Of its colour and marker."""
    value: str
    """Its mean, without the unit."""


class Answer(BaseModel):
    """One question, answered."""

    model_config = FROZEN
    scenario: str
    quantity: Quantity
    state: State
    row: str | None
    """Key of the configuration to take, where one leads."""
    verdict: str
    """In large type where no single configuration is the answer."""
    names: tuple[Name, ...]
    """The one that is the answer, or the first of those that it lies between, the best mean before the others."""
    more: int
    """How many others it lies between."""
    unit: str
    detail: str
    """What the number rests on and what is known against the others: for small type."""
    sentence: str
    """All of it, as a text says it."""
    grade: Grade | None

    @property
    def decided(self) -> bool:
        """Whether a verdict answers it: one leads, or all that may lead are equal."""
        return self.state == "decided"


class Said(NamedTuple):
    """What is said of the rows that an answer names."""

    state: State
    verdict: str
    words: str
    clauses: Sequence[str]
    """About the first of them."""


def answers(workload: Workload) -> tuple[Answer, ...]:
    """An answer to each question of one workload; without any price one says so for all costs."""
    priced = _priced(workload)
    asked = [each for each in QUESTIONS if priced or each.quantity != "usd_per_1000_iterations"]
    return tuple(_answer(workload, question) for question in asked)


def _priced(workload: Workload) -> bool:
    return any(row.usd_per_hour > 0 or row.usd_per_kwh > 0 for row in workload.rows)


def _answer(workload: Workload, question: Question) -> Answer:
    rows = ranked(workload, key_of(question.quantity))
    if not rows:
        return _no_answer(workload, question)
    leader, *others = rows
    if not others:
        said = f"Only {quoted(leader.name)} has this number"
        return _made(workload, question, [leader], Said("one configuration", "", said, []))
    found = [(row, *between(workload, question.quantity, leader, row)) for row in others]
    open_ones = [each for each in found if each[1] is None or each[1].verdict == "inconclusive"]
    may_lead = [leader, *(row for row, contrast, _ in found if contrast is None or contrast.verdict in UNSETTLED)]
    if open_ones:
        said = f"Not decided which {question.leads}"
        clauses = [*_margin(question, *open_ones[0]), *_why_open(leader, *open_ones[0][:2])]
        return _made(workload, question, may_lead, Said("not decided", "Not decided", said, clauses))
    if may_lead[1:]:
        clauses = [_choice(workload, question, may_lead)]
        return _made(workload, question, may_lead, Said("decided", "Equal", question.ties, clauses))
    said = f"{quoted(leader.name)} {question.leads}"
    return _made(workload, question, [leader], Said("decided", "", said, _margin(question, *found[0])))


def _made(workload: Workload, question: Question, rows: Sequence[Row], said: Said) -> Answer:
    """The answer about some rows, the best mean first."""
    metric = metric_of(question.quantity)
    unit = "" if metric.unit == "1" else metric.unit
    names = [
        Name(name=row.name, number=row.number, value=value_text(row.estimate(metric.key), metric.factor))
        for row in rows
    ]
    first = " ".join(filter(None, (names[0].value, unit)))
    shown = [f"{quoted(each.name)} {each.value}" for each in names[1:]]
    if said.verdict == "Equal":
        body = f"{listed([quoted(each.name) for each in names])} {said.words}: {first}"
    elif shown:
        body = f"{said.words}: {listed([f'{quoted(names[0].name)} measured {first}', *shown])}"
    else:
        body = f"{said.words}: {first}"
    rests = ", ".join(filter(None, (_of_what(question, rows[0]), _footing(question, rows[0]))))
    rests = f"the first: {rests}" if shown else rests
    detail = "; ".join([rests, *said.clauses, *_other_precisions(workload, question)])
    return Answer(
        scenario=question.scenario,
        quantity=question.quantity,
        state=said.state,
        row=rows[0].key if said.state == "decided" and not said.verdict else None,
        verdict=said.verdict,
        names=tuple(names[:MOST_NAMES]),
        more=max(0, len(names) - MOST_NAMES),
        unit=unit,
        detail=_begun(detail),
        sentence=f"{body}{';' if shown else ','} {detail}.",
        grade=rows[0].estimate(metric.key).grade,
    )


def _footing(question: Question, row: Row) -> str:
    """What a number rests on: its interval, runs and grade."""
    metric = metric_of(question.quantity)
    held = interval_text(row.estimate(metric.key), metric.factor)
    return ", ".join(filter(None, (held and f"95 % interval {held}", footing(row.estimate(metric.key)))))


def _of_what(question: Question, leader: Row) -> str:
    """What a number must not stand without: a speed's precision, what a price is of, the untuned score of a score."""
    if question.quantity == "inference_speed":
        return f"in {leader.inference_precision}"
    if question.quantity == "usd_per_adapter":
        return f"for an {leader.bases['usd_per_adapter'].per}"
    untuned = leader.metrics.get(UNTUNED.get(question.quantity, ""))
    mine = leader.estimate(key_of(question.quantity)).mean
    if untuned is None or untuned.mean is None or mine is None:
        return ""
    gained = mine > untuned.mean if metric_of(question.quantity).better == "higher" else mine < untuned.mean
    return f"from {value_text(untuned)} untuned" if gained else f"worse than the untuned model's {value_text(untuned)}"


def _other_precisions(workload: Workload, question: Question) -> list[str]:
    """Generation in another precision than the one that is asked about, which stands in no order with it."""
    if question.quantity != "inference_speed":
        return []
    key = key_of(question.quantity)
    asked = {row.key for row in ranked(workload, key)}
    texts = [
        f"{quoted(row.name)} {value_text(row.estimate(key))} in {row.inference_precision}"
        for row in workload.rows
        if row.key not in asked and row.estimate(key).mean is not None and row.estimate(key).grade != "X"
    ]
    return [f"beside it, not in {ASKED_PRECISION}: {listed(texts)}"] if texts else []


def _margin(question: Question, other: Row, contrast: Contrast | None, flip: bool) -> list[str]:
    """The leader to its nearest rival, with the interval."""
    if contrast is None or contrast.value is None:
        return []
    unit = "" if metric_of(question.quantity).unit == "1" else f" {metric_of(question.quantity).unit}"
    text = contrast_text(contrast, flipped=flip)
    seen = text if contrast.scale == "ratio" else f"a difference of {text}{unit}"
    return [f"{seen} against {quoted(other.name)}{'' if contrast.together else ', measured apart'}"]


def _why_open(leader: Row, nearest: Row, contrast: Contrast | None) -> list[str]:
    """Why it is not decided, and how many runs more would decide."""
    if contrast is None:
        return []
    enough = min(len(leader.runs), len(nearest.runs)) >= MIN_VALUES
    more = f"{further_runs_text(contrast)} would decide" if contrast.further_runs and enough else None
    return [text for text in (contrast.reason, more) if text]


def _choice(workload: Workload, question: Question, equal: list[Row]) -> str:
    """What to choose by where the question itself leaves several: the first one that tells them apart."""
    for other in QUESTIONS:
        leader = decided_leader(workload, other.quantity, equal) if other.quantity != question.quantity else None
        if leader:
            return f"of these {quoted(leader.name)} {other.leads}"
    return "no other question here tells these apart: choose by price or by what is at hand"


def _no_answer(workload: Workload, question: Question) -> Answer:
    key = key_of(question.quantity)
    reasons = sorted({row.estimate(key).reason or "graded X" for row in workload.rows})
    state: State = "graded X" if any(row.estimate(key).mean is not None for row in workload.rows) else "not measured"
    detail = "; ".join(reasons)
    if question.quantity.startswith("usd_") and not _priced(workload):
        state, detail = "no price given", ASK_FOR_PRICES
    verdict = "No usable number" if state == "graded X" else state.capitalize()
    return Answer(
        scenario=question.scenario,
        quantity=question.quantity,
        state=state,
        row=None,
        verdict=verdict,
        names=(),
        more=0,
        unit="",
        detail=_begun(detail),
        sentence=f"{verdict}, so it is not known which {question.leads}: {detail}.",
        grade=None,
    )


def _begun(detail: str) -> str:
    """A sentence; the n of runs stays small."""
    return f"{detail if detail.startswith('n = ') else detail[0].upper() + detail[1:]}."
