"""The questions a reader comes with, each answered in one computed sentence, or said to be undecided."""

from collections.abc import Sequence
from typing import Literal

from fluxkit.compare.comparison import Contrast, Row, Workload
from fluxkit.compare.ranking import (
    RANKED_PRECISION,
    UNSETTLED,
    all_worse,
    between,
    decided_leader,
    ranked,
    worse_than_untuned,
)
from fluxkit.record.metrics import QUESTIONS, Metric, Question
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
from fluxkit.trust.estimate import worst
from fluxkit.values import Frozen

State = Literal["decided", "not decided", "one configuration", "not measured", "graded X", "no gain", "no price given"]
ASK_FOR_PRICES = "give --usd-per-hour or --usd-per-kwh, or set hardware.usd_per_hour or hardware.usd_per_kwh"


class Name(Frozen):
    """A configuration in an answer: “quoted” in a text, with its marker on a page."""

    name: str
    number: int
    """Of its colour and marker."""
    value: str
    """Its mean, without the unit."""


class Answer(Frozen):
    """One question, answered."""

    scenario: str
    quantity: str
    """`Metric.quantity` of what is asked about."""
    state: State
    """Decided: one leads, or all that may lead are equal."""
    row: str | None = None
    """Key of the configuration to take, where one leads."""
    verdict: str
    """In large type where no single configuration is the answer."""
    names: tuple[Name, ...] = ()
    """The one that is the answer, or the first of those that it lies between, the best mean before the others."""
    more: int = 0
    """How many others it lies between."""
    unit: str = ""
    detail: str
    """What the number rests on and what is known against the others: for small type."""
    sentence: str
    """All of it, as a text says it."""
    grade: Grade | None = None


def answers(workload: Workload) -> tuple[Answer, ...]:
    """An answer to each question of one workload; without any price one says so for all costs."""
    priced = _priced(workload)
    return tuple(
        _answer(workload, metric, metric.question)
        for metric in QUESTIONS
        if metric.question and (priced or metric.headline != "where priced")
    )


def _priced(workload: Workload) -> bool:
    return any(row.usd_per_hour > 0 or row.usd_per_kwh > 0 for row in workload.rows)


def _answer(workload: Workload, metric: Metric, question: Question) -> Answer:
    rows = ranked(workload, metric)
    if not rows:
        return _no_answer(workload, metric, question)
    leader, *others = rows
    pairs = [(row, *between(workload, metric, leader, row)) for row in others]
    undecided = [pair for pair in pairs if pair[1] is None or pair[1].verdict == "inconclusive"]
    may_lead = [leader, *(row for row, contrast, _ in pairs if contrast is None or contrast.verdict in UNSETTLED)]
    state: State = "decided"
    verdict, clauses = "", []
    if not others:
        state, words = "one configuration", f"Only {quoted(leader.name)} has this number"
    elif undecided:
        state, verdict, words = "not decided", "Not decided", f"Not decided which {question.leads}"
        clauses = [*_margin(metric, *undecided[0]), *_why_open(leader, *undecided[0][:2])]
    elif may_lead[1:]:
        verdict, words, clauses = "Equal", question.ties, [_choice(workload, metric, may_lead)]
    else:
        words, clauses = f"{quoted(leader.name)} {question.leads}", _margin(metric, *pairs[0])
    names = [
        Name(name=row.name, number=row.number, value=value_text(row.estimate(metric.key), metric.factor))
        for row in may_lead
    ]
    several = len(names) > 1
    rests = f"{'the first: ' if several else ''}{_rests_on(metric, leader)}"
    detail = "; ".join([rests, *clauses, *_other_precisions(workload, metric), *_not_ranked(workload, metric)])
    return Answer(
        scenario=question.scenario,
        quantity=metric.quantity,
        state=state,
        row=leader.key if state == "decided" and not verdict else None,
        verdict=verdict,
        names=tuple(names[:MOST_NAMES]),
        more=max(0, len(names) - MOST_NAMES),
        unit=metric.unit,
        detail=_begun(detail),
        sentence=f"{_body(names, words, metric.unit, equal=verdict == 'Equal')}{';' if several else ','} {detail}.",
        grade=worst((leader.estimate(metric.key).grade, *(contrast.grade for _, contrast, _ in pairs if contrast))),
    )


def _body(names: Sequence[Name], words: str, unit: str, *, equal: bool) -> str:
    """Who it is, in words, with the numbers of all that it lies between."""
    first = f"{names[0].value} {unit}".rstrip()
    if equal:
        return f"{listed([quoted(name.name) for name in names])} {words}: {first}"
    others = [f"{quoted(name.name)} {name.value}" for name in names[1:]]
    return f"{words}: {listed([f'{quoted(names[0].name)} measured {first}', *others]) if others else first}"


def _rests_on(metric: Metric, row: Row) -> str:
    """What a number must not stand without, its interval, runs and grade."""
    estimate = row.estimate(metric.key)
    held = interval_text(estimate, metric.factor)
    words = [_beside(metric, row), held and f"95 % interval {held}", footing(estimate)]
    return ", ".join(word for word in words if word)


def _beside(metric: Metric, row: Row) -> str:
    """What a number must not stand without: a speed's precision, what a cost is of, the untuned score of a score."""
    if metric.of_inference:
        return f"in {row.inference_precision}"
    if metric.per:
        work = row.bases[metric.key].per
        return f"for an {work}" if work != metric.per else ""  # of another its title says it
    untuned = row.estimate(metric.untuned or "")
    return "" if untuned.mean is None else f"from {value_text(untuned)} untuned"


def _other_precisions(workload: Workload, metric: Metric) -> list[str]:
    """Generation in another precision than the one that is asked about, which stands in no order with it."""
    if not metric.of_inference:
        return []
    order = {row.key for row in ranked(workload, metric)}
    texts = [
        f"{quoted(row.name)} {value_text(row.estimate(metric.key))} in {row.inference_precision}"
        for row in workload.rows
        if row.key not in order and row.usable(metric.key)
    ]
    return [f"beside it, not in {RANKED_PRECISION}: {listed(texts)}"] if texts else []


def _not_ranked(workload: Workload, metric: Metric) -> list[str]:
    """Configurations with a number that is in no order, and why."""
    worse = [row for row in workload.rows if row.usable(metric.key) and worse_than_untuned(row, metric)]
    unusable = [row for row in workload.rows if row.runs and row.estimate(metric.key).grade == "X"]
    words = [
        f"{quoted(row.name)} {value_text(row.estimate(metric.key))}, "
        f"worse than the untuned model's {value_text(row.estimate(metric.untuned or ''))}"
        for row in worse
    ]
    words += [f"{quoted(row.name)}, {row.estimate(metric.key).reason or 'graded X'}" for row in unusable]
    return [f"in no order: {listed(words)}"] if words else []


def _margin(metric: Metric, other: Row, contrast: Contrast | None, flip: bool) -> list[str]:
    """The leader to its nearest rival, with the interval."""
    if contrast is None or contrast.value is None:
        return []
    text = contrast_text(contrast, flipped=flip)
    if contrast.scale == "difference":
        text = f"a difference of {text} {metric.unit}".rstrip()
    return [f"{text} against {quoted(other.name)}{'' if contrast.together else ', measured apart'}"]


def _why_open(leader: Row, nearest: Row, contrast: Contrast | None) -> list[str]:
    """Why it is not decided, and how many runs more would decide."""
    if contrast is None:
        return []
    enough = min(len(leader.runs), len(nearest.runs)) >= MIN_VALUES
    more = f"{further_runs_text(contrast)} would decide" if contrast.further_runs and enough else None
    return [text for text in (contrast.reason, more) if text]


def _choice(workload: Workload, metric: Metric, equal: list[Row]) -> str:
    """What to choose by where the question itself leaves several: the first one that tells them apart."""
    for other in QUESTIONS:
        leader = decided_leader(workload, other, equal) if other.question and other != metric else None
        if leader and other.question:
            return f"of these {quoted(leader.name)} {other.question.leads}"
    return "no other question here tells these apart: choose by price or by what is at hand"


def _no_answer(workload: Workload, metric: Metric, question: Question) -> Answer:
    estimates = [row.estimate(metric.key) for row in workload.rows]
    detail = "; ".join(sorted({estimate.reason or "graded X" for estimate in estimates}))
    state: State = "graded X" if any(estimate.mean is not None for estimate in estimates) else "not measured"
    if metric.per and not _priced(workload):
        state, detail = "no price given", ASK_FOR_PRICES
    verdict = "No usable number" if state == "graded X" else state.capitalize()
    sentence = f"{verdict}, so it is not known which {question.leads}: {detail}."
    if worse := all_worse(workload, metric):
        state, (verdict, detail) = "no gain", worse
        sentence = f"{verdict}: {detail}."
    return Answer(
        scenario=question.scenario,
        quantity=metric.quantity,
        state=state,
        verdict=verdict,
        detail=_begun(detail),
        sentence=sentence,
        grade=worst(tuple(estimate.grade for estimate in estimates)) if state == "no gain" else None,
    )


def _begun(detail: str) -> str:
    """A sentence; the n of runs stays small."""
    return f"{detail if detail.startswith('n = ') else detail[0].upper() + detail[1:]}."
