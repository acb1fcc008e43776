"""Two configurations of one workload -> ratios and differences with intervals; verdicts within each question alone."""

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from fluxkit import stats
from fluxkit.compare.comparison import Contrast, Judgement
from fluxkit.compare.cost import spent
from fluxkit.compare.decision import (
    LOOKS,
    TOO_FEW_RUNS,
    Difference,
    Pair,
    by_seed_and_photo,
    decide,
    level_at,
    log_ratio_by_block,
)
from fluxkit.compare.quality_pairs import diverged_at, photos_by_seed
from fluxkit.compare.ranking import RANKED_PRECISION, order, worse_than_untuned
from fluxkit.compare.side import Side, cpu_of
from fluxkit.record.metrics import CONTRASTED, SCALING_RATES, Metric
from fluxkit.record.result import RunResult
from fluxkit.spec.workload import MIN_HELD_OUT
from fluxkit.trust.ceilings import before_and_after
from fluxkit.trust.estimate import worst
from fluxkit.trust.finding import SPEED_SUBJECTS

MOST_IN_PAIRS = 32
"""Rows of which every pair is compared: all pairs of a thousand would be half a million, which nobody reads."""
Keys = tuple[str, str]
"""Of the rows of a pair."""


class Contrasts(NamedTuple):
    """What the configurations of one workload differ by, and what of it is decided."""

    contrasts: tuple[Contrast, ...]
    judgements: tuple[Judgement, ...]


class Measured(NamedTuple):
    """One metric of all configurations of a workload."""

    metric: Metric
    sides: Mapping[str, Side]
    """By the key of their row; those with a number."""
    repeats: Mapping[str, int]
    """How many blocks each has; of quality, how many seeds."""
    differences: Mapping[Keys, Difference]
    """First minus second, or the logarithm of first / second."""

    @property
    def sign(self) -> int:
        """What the differences are to be multiplied by so that greater is better."""
        return 1 if self.metric.better == "higher" else -1


class Design(NamedTuple):
    """What a question is judged by at its latest look; the fields are those of `Judgement`."""

    repeats: int
    looks: tuple[int, ...]
    level: float
    pairs: int


def contrasts(sides: Sequence[Side], held_out_clusters: int) -> Contrasts:
    """Every contrasted metric of every pair of configurations, and how far each question and each cost is decided."""
    lines: list[Contrast] = []
    judgements: list[Judgement] = []
    for metric in CONTRASTED:
        taken = _seconds(metric, sides) if metric.per else None
        measured = _priced(taken) if taken else _measured(metric, sides)
        judged: dict[Keys, Pair] = {}
        if metric.judged and _asked(measured):
            judged, judgement = _judge(measured, _design(taken or measured))
            judgements.append(judgement)
        if taken and (free := _free(taken)):
            lines += _against_free(taken, free)
            judgements = [judgement for judgement in judgements if judgement.quantity != metric.quantity]
            judgements.append(_led_by(free[0], taken))
        lines += [
            _contrast(measured, keys, judged.get(keys), held_out_clusters)
            for keys, difference in measured.differences.items()
            if difference.estimate is not None or _uncertified(measured, keys)
        ]
        lines += _diverged(metric, sides)
    return Contrasts(tuple(lines), tuple(judgements))


def _measured(metric: Metric, sides: Sequence[Side]) -> Measured:
    """A metric of a run's summary, by block or by seed and photo."""
    having = {side.row.key: side for side in sides if side.row.estimate(metric.key).mean is not None}
    scored = metric.scored
    if scored:
        photos = {key: photos_by_seed(side.results, scored) for key, side in having.items()}
        return _compared(metric, having, photos, by_seed_and_photo)
    rates = {key: _by_block(side, lambda run: getattr(run.summary, metric.key)) for key, side in having.items()}
    return _compared(metric, having, rates, log_ratio_by_block)


def _seconds(metric: Metric, sides: Sequence[Side]) -> Measured:
    """What a unit of priced work takes, by block; whether it has a price does not matter."""
    having = {side.row.key: side for side in sides if side.row.bases[metric.key].seconds.mean is not None}
    seconds = {key: _by_block(side, lambda run: spent(run)[metric.key].seconds) for key, side in having.items()}
    return _compared(metric, having, seconds, log_ratio_by_block)


def _by_block(side: Side, value_of: Callable[[RunResult], float | None]) -> dict[Hashable, float]:
    """A positive number by block of the random order, the geometric mean where a block has several runs."""
    logs: dict[Hashable, list[float]] = defaultdict(list)
    for result in side.results:
        value = value_of(result)
        if value is not None and value > 0:
            block = (result.study, cpu_of(result), result.repeat)
            logs[block].append(math.log(value))
    return {block: math.exp(stats.mean(values)) for block, values in logs.items()}


def _compared(
    metric: Metric,
    sides: Mapping[str, Side],
    values: Mapping[str, Mapping[Any, object]],
    differ: Callable[..., Difference],
) -> Measured:
    """Every pair; without an estimate where it is not certified that both machines compute the same."""
    differences = {}
    for first, second in _pairs(metric, sides):
        why = uncertified(sides[first], sides[second])
        differences[first, second] = Difference(None, reason=why) if why else differ(values[first], values[second])
    return Measured(metric, sides, {key: len(side) for key, side in values.items()}, differences)


def _pairs(metric: Metric, sides: Mapping[str, Side]) -> list[Keys]:
    """Every pair; of more than `MOST_IN_PAIRS` rows those of the leader alone."""
    if len(sides) <= MOST_IN_PAIRS:
        return list(itertools.combinations(sides, 2))
    leader, keys = _foremost(metric, sides), list(sides)
    place = keys.index(leader)
    return [*((key, leader) for key in keys[:place]), *((leader, key) for key in keys[place + 1 :])]


def _foremost(metric: Metric, sides: Mapping[str, Side]) -> str:
    """The row with the best mean of those that a verdict may be about; of a cost without a price the fastest one."""
    rows = [side.row for side in sides.values()]
    usable = order((row for row in rows if row.usable(metric.key)), metric)
    if metric.per and not usable:
        return min(rows, key=lambda row: row.bases[metric.key].seconds.mean or math.inf).key
    return (usable or rows)[0].key


def _priced(taken: Measured) -> Measured:
    """Costs: ratios of seconds times ratios of what a second costs, of the rows that have a price."""
    key = taken.metric.key
    rows = {name: side.row for name, side in taken.sides.items() if side.row.estimate(key).mean}
    per_second = {
        name: (row.estimate(key).mean or 0.0) / (row.bases[key].seconds.mean or 1.0) for name, row in rows.items()
    }
    differences = {}
    for (first, second), difference in taken.differences.items():
        if first in rows and second in rows:
            priced = difference.shifted(math.log(per_second[first] / per_second[second]))
            if len({bool(row.usd_per_kwh and row.bases[key].joules.values) for row in (rows[first], rows[second])}) > 1:
                priced = priced._replace(parts=(), reason="the price of energy is in one of the two costs alone")
            differences[first, second] = priced
    return taken._replace(sides={name: taken.sides[name] for name in rows}, differences=differences)


def _free(taken: Measured) -> list[str]:
    """Keys of the rows that cost nothing and may be believed."""
    name = taken.metric.key
    return [key for key, side in taken.sides.items() if side.row.usable(name) and side.row.estimate(name).mean == 0]


def _against_free(taken: Measured, free: Sequence[str]) -> list[Contrast]:
    """Differences of costs where one of two is nothing: no ratio has a 0 in it, and no run is needed to tell them."""
    metric, lines = taken.metric, []
    costs = {key: side.row.estimate(metric.key) for key, side in taken.sides.items()}
    for first, second in itertools.combinations([key for key, cost in costs.items() if cost.mean is not None], 2):
        if not {first, second} & set(free):
            continue
        why = uncertified(taken.sides[first], taken.sides[second])
        value = (costs[first].mean or 0.0) - (costs[second].mean or 0.0)
        dear, sign = (costs[first], 1) if value > 0 else (costs[second], -1)
        dearer, cheaper = metric.verdicts or ("", "")
        lines.append(
            Contrast(
                quantity=metric.quantity,
                first=first,
                second=second,
                scale="difference",
                value=None if why else value,
                certified=why is None,
                interval=None if why or not dear.interval else _turned(dear.interval, sign),
                verdict=None if why else "equivalent" if value == 0 else dearer if value > 0 else cheaper,
                reason=why,
                further_runs=None,
                paired=False,
                together=_together(taken.sides[first], taken.sides[second]),
                grade=worst((costs[first].grade, costs[second].grade)),
            )
        )
    return lines


def _led_by(key: str, taken: Measured) -> Judgement:
    """What is free is the cheapest, whatever the runs say."""
    design = _design(taken)._asdict()
    return Judgement(quantity=taken.metric.quantity, leader=key, decided=True, further_runs=None, **design)


def _known(measured: Measured) -> list[Keys]:
    """Pairs whose spread is known, of rows that a verdict may be about."""
    asked = _asked(measured)
    return [keys for keys, difference in measured.differences.items() if difference.parts and asked.issuperset(keys)]


def _asked(measured: Measured) -> set[str]:
    """The rows that a question is about: no number graded X or worse than untuned, and inference in FP32."""
    usable = [side.row for side in measured.sides.values() if side.row.estimate(measured.metric.key).grade != "X"]
    return {row.key for row in order(usable, measured.metric)}


def _design(measured: Measured) -> Design:
    """Of the rows that a question is about. Prices change nothing in it, so for costs it is asked of their seconds."""
    asked = _asked(measured)
    repeats = max((measured.repeats[key] for key in asked), default=0)
    looks = _looks([measured.sides[key] for key in asked])
    fixed = looks[0] if len(looks) == 1 else None
    if fixed and repeats < fixed:
        looks = tuple(LOOKS)
    pairs = len(_known(measured))
    if len(measured.sides) > MOST_IN_PAIRS:  # the leader was chosen among all, so all pairs share, looked at or not
        pairs = pairs * (pairs + 1) // 2
    return Design(repeats, looks, level_at(repeats, fixed), pairs)


def _judge(measured: Measured, design: Design) -> tuple[dict[Keys, Pair], Judgement]:
    """The verdicts by pair, and how far all is decided."""
    metric, asked = measured.metric, _asked(measured)
    margin = stats.log_margin(metric.margin) if metric.relative else (-metric.margin, metric.margin)
    pairs = {
        keys: difference._replace(estimate=None if difference.estimate is None else measured.sign * difference.estimate)
        for keys, difference in measured.differences.items()
        if asked.issuperset(keys)
    }
    leader = _foremost(metric, measured.sides) if len(measured.sides) > MOST_IN_PAIRS else None
    decision = decide(pairs, margin, design.level, design.pairs, leader)
    judgement = Judgement(
        quantity=metric.quantity,
        leader=decision.leader,
        decided=decision.decided,
        further_runs=decision.further_repeats,
        **design._asdict(),
    )
    return {(pair.first, pair.second): pair for pair in decision.pairs}, judgement


def _looks(sides: Sequence[Side]) -> tuple[int, ...]:
    """The looks that were planned before the first run, where all sides say the same ones; else all that there may be.

    Each side must be of one study: a study that is added to another one is another look at the same question.
    """
    looks = {result.looks for side in sides for result in side.results}
    one_study = all(len({result.study for result in side.results}) == 1 for side in sides)
    planned = looks.pop() if len(looks) == 1 and one_study else ()
    return planned or tuple(LOOKS)


def _contrast(measured: Measured, keys: Keys, judged: Pair | None, held_out_clusters: int) -> Contrast:
    """One pair: with the interval of its verdict, or by itself where it has none."""
    metric, difference = measured.metric, measured.differences[keys]
    sides = [measured.sides[key] for key in keys]
    interval = difference.interval(stats.ALPHA)
    if judged:
        interval = judged.interval and _turned(judged.interval, measured.sign)
    value = difference.estimate
    if value is not None and not metric.scored:
        value, interval = math.exp(value), interval and stats.exponential(interval)
    return Contrast(
        quantity=metric.quantity,
        first=keys[0],
        second=keys[1],
        scale="difference" if metric.scored else "ratio",
        value=value,
        certified=_uncertified(measured, keys) is None,
        interval=interval,
        verdict=_verdict_word(metric, judged) if judged else None,
        reason=_reason(measured, keys, judged, held_out_clusters),
        further_runs=judged.further_repeats if judged else None,
        paired=difference.paired,
        together=_together(*sides),
        near_drift=_near_drift(metric, sides),
        grade=worst(tuple(side.row.estimate(metric.key).grade for side in sides)),
    )


def _turned(interval: stats.Interval, sign: int) -> stats.Interval:
    ends = sorted((sign * interval.low, sign * interval.high))
    return stats.Interval(low=ends[0], high=ends[1], level=interval.level)


def _verdict_word(metric: Metric, pair: Pair) -> str:
    """The verdict in the metric's own words, of which the first is said of what has more."""
    above, below = metric.verdicts or ("", "")
    more_is_better = metric.better == "higher"
    return {"better": above if more_is_better else below, "worse": below if more_is_better else above}.get(
        pair.verdict, pair.verdict
    )


def _reason(measured: Measured, keys: Keys, judged: Pair | None, held_out_clusters: int) -> str | None:
    """Why a pair is not settled, or why it has no verdict though others of its metric have."""
    metric, sides = measured.metric, [measured.sides[key] for key in keys]
    difference = measured.differences[keys]
    if difference.estimate is None:
        return difference.reason
    reason = judged.reason if judged else difference.reason
    if metric.scored and reason == TOO_FEW_RUNS:
        few = [f"“{side.row.name}” has {side.runs_of_few_seeds}" for side in sides if side.runs_of_few_seeds]
        reason = f"{' and '.join(few)}, and an interval of quality needs {stats.MIN_VALUES} seeds" if few else reason
    if unusable := [f"“{side.row.name}”" for side in sides if side.row.estimate(metric.key).grade == "X"]:
        return f"graded X: {', '.join(unusable)}"
    if worse := [f"“{side.row.name}”" for side in sides if worse_than_untuned(side.row, metric)]:
        return f"worse than the untuned model: {' and '.join(worse)}"
    if metric.scored and metric.scored.held_out and held_out_clusters < MIN_HELD_OUT:
        return f"indicative: only {held_out_clusters} held-out photos, {MIN_HELD_OUT} are the least"
    return reason if judged or reason or not metric.judged else f"not both in {RANKED_PRECISION}"


def _diverged(metric: Metric, sides: Sequence[Side]) -> list[Contrast]:
    """Pairs of which one has no value because its scores are not finite numbers: they are told, not left out."""
    lines = []
    measured = {side.row.key: side for side in sides if side.results}
    diverged = {key for key, side in measured.items() if any(diverged_at(run, metric) for run in side.results)}
    for keys in _pairs(metric, measured) if diverged else ():
        pair = [measured[key] for key in keys]
        lost = [side for side in pair if side.row.key in diverged]
        if lost and None in {side.row.estimate(metric.key).mean for side in pair}:
            lines.append(
                Contrast(
                    quantity=metric.quantity,
                    first=pair[0].row.key,
                    second=pair[1].row.key,
                    scale="difference",
                    value=None,
                    interval=None,
                    verdict=None,
                    reason=f"diverged: {' and '.join(f'“{side.row.name}”' for side in lost)}",
                    further_runs=None,
                    paired=False,
                    together=_together(*pair),
                    grade=worst(tuple(side.row.estimate(metric.key).grade for side in pair)),
                )
            )
    return lines


def _uncertified(measured: Measured, keys: Keys) -> str | None:
    return uncertified(*(measured.sides[key] for key in keys))


def uncertified(first: Side, second: Side) -> str | None:
    """Why two machines may not be compared: it must be certified that both compute the same. One machine always may."""
    if len(first.machines | second.machines) == 1:
        return None
    failed = [f"“{side.row.name}”" for side in (first, second) if side.row.agreement is False]
    if failed:
        return f"the numerical check against the reference failed: {', '.join(failed)}"
    lacking = [f"“{side.row.name}”" for side in (first, second) if side.row.agreement is None]
    return (
        f"measured on two machines, and no numerical check against the reference of {' and of '.join(lacking)}"
        if lacking
        else None
    )


def _near_drift(metric: Metric, sides: Sequence[Side]) -> bool:
    """Whether runs that were measured apart differ in speed by no more than their machines changed by themselves."""
    phases = [phase for phase, subject in SPEED_SUBJECTS.items() if subject in {metric.subject, *metric.also}]
    if not phases or _together(*sides):
        return False
    speed = next(rate for rate in SCALING_RATES if rate.subject == SPEED_SUBJECTS[phases[0]])
    first, second = (side.row.estimate(speed.key).mean for side in sides)
    changes = [
        abs(math.log(after.matmul_flops_per_second / before.matmul_flops_per_second))
        for side in sides for result in side.results for phase in phases
        for before, after in before_and_after(result, phase)
    ]  # fmt: skip
    return bool(first and second) and abs(math.log((first or 1.0) / (second or 1.0))) <= max(changes, default=-1.0)


def _together(first: Side, second: Side) -> bool:
    """Whether both were measured in one study on one machine, in its random order."""
    return len(first.sessions | second.sessions) == 1
