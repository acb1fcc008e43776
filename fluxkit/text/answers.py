"""The questions a reader comes with, each answered in computed words that begin with the estimate."""

from collections.abc import Callable, Sequence
from typing import Literal

from fluxkit.compare.comparison import Contrast, Judgement, Row, Workload
from fluxkit.compare.decision import RUNS_DIFFER, level_at
from fluxkit.compare.ranking import (
    RANKED_PRECISION,
    ahead,
    all_worse,
    between,
    decided_leader,
    ranked,
    worse_than_untuned,
)
from fluxkit.record.metrics import BY_QUANTITY, QUESTIONS, Metric, Question
from fluxkit.record.result import Grade
from fluxkit.stats import LEVEL, Interval
from fluxkit.text.number_format import (
    MOST_NAMES,
    SMALLEST_PLAIN,
    change_text,
    column_decimals,
    decimals_of,
    footing,
    further_runs_text,
    in_readable_unit,
    level_text,
    listed,
    number,
    plain,
    quoted,
    scaled,
    value_text,
)
from fluxkit.trust.estimate import Estimate, worst
from fluxkit.trust.run_checks import title_of_check
from fluxkit.units import GIGABYTE, HOUR, MINUTE, counted
from fluxkit.values import Frozen

State = Literal[
    "decided", "not settled", "stated", "one configuration", "not measured", "graded X", "no gain", "no price given"
]
MEASURED_APART = "measured apart, and no larger than the drift that was seen"
MOST_LISTED = 6
"""Configurations whose memory is listed; what holds all of them is said in a sentence."""
MEMORIES = (1, 2, 4, 6, 8, 12, 16, 24, 32, 40, 48, 64, 80, 96, 128, 141, 192, 256, 384, 512, 768, 1024)
"""Gigabytes that cards and machines have."""
ASK_FOR_PRICES = "give --usd-per-hour or --usd-per-kwh, or set hardware.usd_per_hour or hardware.usd_per_kwh"


class Name(Frozen):
    """A configuration in an answer: “quoted” in a text, with its marker on a page."""

    name: str
    number: int
    """Of its colour and marker."""
    value: str
    """Its mean in what the question asks for: “800 iterations in 42 s”, “28.32 dB”."""
    interval: str = ""
    """At 95 %, in the unit of the value: “34 to 55”."""
    per: str = ""
    """Of a cost, the work that it pays for: “per 1,000 adapters”."""


class Answer(Frozen):
    """One question, answered."""

    scenario: str
    quantity: str
    """`Metric.quantity` of what is asked about."""
    state: State
    """Decided: one leads, or all that may lead are equal. Stated: it has no verdict."""
    row: str | None = None
    """Key of the configuration to take, where one leads."""
    verdict: str
    """In large type where no single configuration is the answer."""
    names: tuple[Name, ...] = ()
    """The leader, then the first of the others that it is not told from."""
    more: int = 0
    """How many others it is not told from."""
    estimate: str = ""
    """How far the leader is from the nearest other one, and what that says."""
    detail: str
    """What the number rests on and what is known against the others: for small type."""
    sentence: str
    """All of it, as a text says it."""
    by_price: str = ""
    """Which of several equal ones is cheapest at the prices of the comparison: all that holds no longer at others."""
    grade: Grade | None = None
    grade_reason: str = ""
    """Which checks lowered the grade, in words."""
    lists_all: bool = False
    """Whether the names are all configurations and not those that lead."""

    @property
    def short(self) -> str:
        """Who leads, by which number and how surely, in a line or two."""
        if not self.names:
            return f"{self.verdict}. {self.detail}"
        leader, *others = (f"{quoted(name.name)} {name.value} {name.per}".rstrip() for name in self.names)
        more = [f"{self.more} more"] if self.more else []
        equal = f"Equal: {listed([leader, *others, *more])}" if self.verdict else leader
        grade = f" (grade {self.grade})" if self.grade else ""
        return f"{equal}{grade}. {self.estimate}".rstrip()


def answers(workload: Workload) -> tuple[Answer, ...]:
    """An answer to each question of one workload; without any price one says so for all costs."""
    return tuple(
        _answer(workload, in_readable_unit(metric, workload), metric.question)
        for metric in QUESTIONS
        if metric.question and (workload.priced or metric.headline != "where priced")
    )


def _answer(workload: Workload, metric: Metric, question: Question) -> Answer:
    rows = ranked(workload, metric)
    if not rows:
        return _no_answer(workload, metric, question)
    leader, *others = rows
    judgement = workload.judgement(metric.quantity)
    state = _state(judgement, others)
    if others and _nearest(workload, metric, leader, others) is None:
        return _not_compared(workload, metric, question, rows)
    beside = [row for row in others if not _behind(workload, metric, leader, row)]
    equal = state in {"decided", "stated"} and bool(beside)
    # Which memory is enough is asked of each configuration, whoever needs the least.
    named = rows if question.asks == "memory" else [leader, *beside]
    names = _names(workload, metric, question, named)
    choice, by_price = _choice(workload, metric, [leader, *beside]) if equal else ("", "")
    rests_on, known = _rests_on(workload, metric, question, leader), _known_beside(workload, metric, question, rows)
    detail, whole = (
        "; ".join(text for text in (rests_on, chosen, *known) if text) for chosen in (choice, choice or by_price)
    )
    contrasts = [between(workload, metric, leader, row)[0] for row in others]
    grade = worst((leader.estimate(metric.key).grade, *(contrast.grade for contrast in contrasts if contrast)))
    said = _estimate(workload, metric, leader, others, state)
    most = MOST_LISTED if question.asks == "memory" else MOST_NAMES
    return Answer(
        scenario=question.scenario,
        quantity=metric.quantity,
        state=state,
        row=leader.key if state == "decided" and not equal else None,
        verdict="Equal" if equal else "",
        names=tuple(names[:most]),
        more=max(0, len(names) - most),
        estimate=_begun(said) if said else "",
        detail=_begun(detail),
        by_price=_begun(by_price) if by_price else "",
        sentence=_sentence(question, [leader, *beside] if equal else [leader], said, names[0], whole),
        grade=grade,
        grade_reason=_why_graded(metric, rows, grade),
        lists_all=question.asks == "memory",
    )


def _sentence(question: Question, first: Sequence[Row], said: str, name: Name, rests_on: str) -> str:
    """Who leads, or who is equal, by how much, with the leader's number and what it rests on."""
    who = listed([quoted(row.name) for row in first])
    held = f" (95 % interval {name.interval})" if name.interval else ""
    rests = f"{name.value}{held}, {rests_on}."
    if not said:
        return f"Only {who} has this number: {rests}"
    return f"{who} {question.ties if len(first) > 1 else question.leads}: {said}. {rests}"


def _known_beside(workload: Workload, metric: Metric, question: Question, rows: Sequence[Row]) -> list[str]:
    """What is known against the other rows, what generates in other precisions, what is not ranked, and what fits."""
    leader, *others = rows
    return [
        *_about_the_interval(workload, metric, leader, others), *_other_precisions(workload, metric),
        *_not_ranked(workload, metric), *_fits(metric, question, rows),
    ]  # fmt: skip


def _why_graded(metric: Metric, rows: Sequence[Row], grade: Grade | None) -> str:
    """What the checks found that gave a number its grade; nothing for grade A."""
    about = {metric.subject, *metric.also, "run"}
    titles = dict.fromkeys(
        title_of_check(remark.id)
        for row in rows
        for remark in row.remarks
        if grade not in {None, "A"} and remark.grade == grade and remark.subject in about
    )
    return listed(list(titles)) if titles else ""


def _names(workload: Workload, metric: Metric, question: Question, rows: Sequence[Row]) -> list[Name]:
    """Configurations with their numbers in what the question names, to the decimals that all rows share."""
    estimates = [row.estimate(metric.key) for row in workload.rows if row.usable(metric.key)]
    slowest = min(estimate.mean or 0.0 for estimate in estimates)
    lead, unit, asked = _as_asked(workload, metric, question, slowest)
    work = metric.unit_of_work(int(workload.tables["tune"]["iterations"] or 0)).partition(" of ")[0]
    per = f"per {work}" if work else ""
    shared = None if metric.per else column_decimals(asked(estimate) for estimate in estimates)
    names = []
    for row in rows:
        value, interval = asked(row.estimate(metric.key))
        decimals = decimals_of(value, interval) if shared is None else shared
        is_tiny = 0 < abs(value) < SMALLEST_PLAIN
        text, *ends = (
            plain(one) if is_tiny else number(one, decimals)
            for one in (value, *((interval.low, interval.high) if interval else ()))
        )
        held = " to ".join(ends)
        names.append(Name(name=row.name, number=row.number, value=f"{lead}{text}{unit}", interval=held, per=per))
    return names


def _as_asked(
    workload: Workload, metric: Metric, question: Question, slowest: float
) -> tuple[str, str, Callable[[Estimate], tuple[float, Interval | None]]]:
    """What stands before and behind a number in what the question names, and how an estimate becomes it."""
    iterations = int(workload.tables["tune"]["iterations"] or 0)
    if question.asks == "time" and iterations and slowest > 0:
        unit, seconds = _time_unit(iterations / slowest)
        work = iterations / seconds

        def time(estimate: Estimate) -> tuple[float, Interval | None]:
            held = estimate.interval
            if held is None or held.low <= 0:
                return work / (estimate.mean or 1.0), None
            return work / (estimate.mean or 1.0), held.model_copy(
                update={"low": work / held.high, "high": work / held.low}
            )

        return f"{iterations:,} iterations in ", f" {unit}", time
    steps = int(workload.tables["inference"]["num_inference_steps"] or 1)
    images = question.asks == "images"
    factor = 1 / steps if images else metric.factor
    # A score without a unit has its name in that place.
    unit = f" images/s at {counted(steps, 'step')}" if images else f" {metric.unit or metric.title.lower()}"
    return (
        "",
        unit,
        lambda estimate: (
            (estimate.mean or 0.0) * factor,
            estimate.interval and scaled(estimate.interval, factor),
        ),
    )


def _time_unit(seconds: float) -> tuple[str, float]:
    """In which unit a duration is read, and how many seconds that is."""
    if seconds < 2 * MINUTE:
        return "s", 1.0
    return ("minutes", MINUTE) if seconds < 2 * HOUR else ("hours", HOUR)


def _fits(metric: Metric, question: Question, rows: Sequence[Row]) -> list[str]:
    """Which memory holds which configurations."""
    if question.asks != "memory":
        return []
    held: dict[str, list[str]] = {}
    for row in rows:
        gigabytes = (row.estimate(metric.key).mean or 0.0) / GIGABYTE
        size = next((f"{size} GB" for size in MEMORIES if gigabytes <= size), f"{gigabytes:,.0f} GB")
        held.setdefault(f"{size} in all" if row.processes > 1 else size, []).append(quoted(row.name))
    return [f"fits in {', '.join(f'{size}: {listed(names)}' for size, names in held.items())}"]


def _behind(workload: Workload, metric: Metric, leader: Row, row: Row) -> bool:
    """By a verdict; of what has none, by its mean."""
    if metric.judged:
        return ahead(workload, metric, leader, row)
    return row.estimate(metric.key).mean != leader.estimate(metric.key).mean


def _state(judgement: Judgement | None, others: Sequence[Row]) -> State:
    if not others:
        return "one configuration"
    if judgement is None:
        return "stated"
    return "decided" if judgement.decided else "not settled"


def _nearest(
    workload: Workload, metric: Metric, leader: Row, others: Sequence[Row]
) -> tuple[Row, Contrast, bool] | None:
    """The rival that the leader is least surely told from: of those that are open, or of all, the one next to it."""
    pairs = [(row, *between(workload, metric, leader, row)) for row in others]
    known = [(row, contrast, flipped) for row, contrast, flipped in pairs if contrast and contrast.value is not None]
    return next((pair for pair in known if pair[1].verdict == "not settled"), next(iter(known), None))


def _estimate(workload: Workload, metric: Metric, leader: Row, others: Sequence[Row], state: State) -> str:
    """The leader to its nearest rival, and what that says: “14 % more than “B” (-8 % to +42 %). Not settled; …”."""
    nearest = _nearest(workload, metric, leader, others)
    if nearest is None:
        return ""
    row, contrast, flipped = nearest
    if state == "stated":
        settled = f"Stated without a verdict{f': {contrast.reason}' if contrast.reason else ''}"
    elif state == "decided":
        settled = f"Equal within {metric.margin_text}" if contrast.verdict == "equivalent" else "Decided"
    else:
        settled = f"Not settled; {_what_it_takes(workload, metric, leader, others)}"
    apart = f" ({MEASURED_APART})" if contrast.near_drift else ""
    return f"{change_text(contrast, row.name, flipped=flipped)}. {settled}{apart}"


def _what_it_takes(workload: Workload, metric: Metric, leader: Row, others: Sequence[Row]) -> str:
    """About how many more runs each, or why it is open where nobody can tell."""
    judgement = workload.judgement(metric.quantity)
    contrasts = [between(workload, metric, leader, row)[0] for row in others]
    reasons = [contrast.reason for contrast in contrasts if contrast and contrast.reason]
    return further_runs_text(judgement.further_runs if judgement else None) or next(iter(reasons), RUNS_DIFFER)


def _not_compared(workload: Workload, metric: Metric, question: Question, rows: Sequence[Row]) -> Answer:
    """Numbers that nothing certifies to be of the same computation: stated side by side, in no order."""
    measured = [f"{quoted(row.name)} {value_text(row.estimate(metric.key), metric.factor)}" for row in rows]
    why = _what_it_takes(workload, metric, rows[0], rows[1:])
    detail = f"{why}; measured were {listed(measured)} {metric.unit}".rstrip()
    return Answer(
        scenario=question.scenario,
        quantity=metric.quantity,
        state="not settled",
        verdict="Not compared",
        detail=_begun(detail),
        sentence=f"Not compared, so it is not known which {question.leads}: {detail}.",
    )


def decided_sentence(workload: Workload) -> str:
    """Which of the study's questions are decided and which are not: the one sentence on top."""
    decided, unsettled = [], []
    for metric in QUESTIONS:
        judgement, rows = workload.judgement(metric.quantity), ranked(workload, metric)
        if metric.role != "primary" or judgement is None or len(rows) < 2:  # noqa: PLR2004 - a question takes two
            continue
        name = metric.title if metric.title[:2].isupper() else f"{metric.title[0].lower()}{metric.title[1:]}"
        if judgement.decided:
            equal = [row for row in rows[1:] if not ahead(workload, metric, rows[0], row)]
            leaders = listed([quoted(row.name) for row in (rows[0], *equal)])
            decided.append(f"{name} ({leaders}{' are equal' if equal else ''})")
        else:
            unsettled.append(f"{name} ({_what_it_takes(workload, metric, rows[0], rows[1:])})")
    lists = (("Decided", decided), ("Not settled", unsettled))
    said = " ".join(f"{word}: {', '.join(texts)}." for word, texts in lists if texts)
    return said or "Nothing is to be decided: no question has numbers of two configurations."


def design_sentence(workload: Workload) -> str:
    """At which looks the questions may be judged, and how often each may be wrong."""
    designs = dict.fromkeys(
        (judgement.looks, judgement.repeats, judgement.level)
        for judgement in workload.judgements
        if BY_QUANTITY[judgement.quantity].role == "primary"
    )
    return " ".join(_design_text(*design) for design in designs)


def _design_text(looks: Sequence[int], repeats: int, level: float) -> str:
    if len(looks) == 1:
        fixed = f"{counted(looks[0], 'repeat')}, fixed beforehand"
        return f"{fixed}: one look, which may be wrong in {100 * level:g} % of studies."
    shares, places = (
        f"{', '.join(texts[:-1])} and {texts[-1]}"
        for texts in ([f"{100 * level_at(look):g}" for look in looks], [str(look) for look in looks])
    )
    return (
        f"Looks after {places} repeats, which may add {shares} % of wrong answers; "
        f"this one is after {repeats} and may add {100 * level:g} %."
    )


def _rests_on(workload: Workload, metric: Metric, question: Question, row: Row) -> str:
    """What a number must not stand without: what was measured, its runs and its grade."""
    estimate = row.estimate(metric.key)
    measured = question.asks in {"time", "images"} and f"{value_text(estimate, metric.factor)} {metric.unit}"
    words = [measured or "", _beside(workload, metric, row), footing(estimate)]
    return ", ".join(word for word in words if word)


def _beside(workload: Workload, metric: Metric, row: Row) -> str:
    """What a number must not stand without: a speed's precision, what a cost is of, the untuned score of a score."""
    if metric.of_inference:
        return f"in {row.inference_precision}"
    if metric.per:
        work = metric.unit_of_work(int(workload.tables["tune"]["iterations"] or 0))
        return f"for {'' if work[0].isdigit() else 'an '}{work}"
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


def _about_the_interval(workload: Workload, metric: Metric, leader: Row, others: Sequence[Row]) -> list[str]:
    """At which level the interval of the difference is, where it is not the usual one."""
    nearest = _nearest(workload, metric, leader, others)
    interval = nearest[1].interval if nearest else None
    if interval is None or interval.level == LEVEL:
        return []
    return [f"the difference with its {level_text(interval.level)} interval"]


def _choice(workload: Workload, metric: Metric, equal: list[Row]) -> tuple[str, str]:
    """What to choose by where the question itself leaves several: the first one that tells them apart.

    It stands in the second place if it is a cost.
    """
    for other in QUESTIONS:
        leader = decided_leader(workload, other, equal) if other.question and other.key != metric.key else None
        if leader and other.question:
            chosen = f"of these {quoted(leader.name)} {other.question.leads}"
            return ("", chosen) if other.per and not metric.per else (chosen, "")
    return "no other question here tells these apart: choose by price or by what is at hand", ""


def _no_answer(workload: Workload, metric: Metric, question: Question) -> Answer:
    estimates = [row.estimate(metric.key) for row in workload.rows]
    detail = "; ".join(sorted({estimate.reason or "graded X" for estimate in estimates}))
    state: State = "graded X" if any(estimate.mean is not None for estimate in estimates) else "not measured"
    if metric.per and not workload.priced:
        state, detail = "no price given", ASK_FOR_PRICES
    verdict = "No usable number" if state == "graded X" else state.capitalize()
    sentence = f"{verdict}, so it is not known which {question.leads}: {detail}."
    if worse := all_worse(workload, metric):
        state, (verdict, detail) = "no gain", worse
        sentence = f"{verdict} ({detail})."
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
