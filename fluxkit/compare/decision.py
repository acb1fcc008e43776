"""How a question is decided: differences of configurations pair by pair, and what their intervals allow to say.

The analysis was fixed before any data were seen, by simulation: CONTRIBUTING says how, and with which error rates.
"""

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeVar

from fluxkit import stats
from fluxkit.values import Frozen

LOOKS = {3: 0.005, 5: 0.01, 7: 0.0175, 10: 0.0175}
"""Planned looks by their number of repeats, and the share of wrong answers that each may add: 5 % in all.

Three runs settle large differences at any level, so the first look gets little and the later ones most of it.
"""
TOO_FEW_RUNS = f"no spread known; at least {stats.MIN_VALUES} runs each"
TOO_FEW_PHOTOS = f"no spread known; at least {stats.MIN_VALUES} photos that both were scored on"
PHOTOS_DIFFER = "the photos differ too much: more photos, not more runs, would settle it"
RUNS_DIFFER = "the spread between runs is too large"

Runs = TypeVar("Runs")
Verdict = Literal["better", "worse", "equivalent", "not settled"]


class Part(NamedTuple):
    """One independent source of the spread of a difference."""

    variance: float
    """What it adds to the variance of the difference."""
    values: int
    """How many it was estimated from."""
    photos: bool = False
    """Whether the values are photos, of which more repeats bring no more."""

    def squared_half_width(self, level: float, more: int = 0) -> float:
        """Of Student's interval that misses with probability `level`, if so many more repeats come out like these."""
        more = 0 if self.photos else more
        variance = self.variance * self.values / (self.values + more)
        return stats.t_quantile(self.values + more, 1 - level) ** 2 * variance


class Difference(NamedTuple):
    """First minus second, with its sources of spread."""

    estimate: float | None
    parts: tuple[Part, ...] = ()
    """Empty where the spread is not known."""
    reason: str | None = None
    """Why the spread is not known."""
    paired: bool = False
    """Whether it was taken block by block or seed by seed."""

    def interval(self, level: float, more: int = 0) -> stats.Interval | None:
        """It misses with probability `level`: the half-widths of its parts, added as squares; None without spread.

        Each part has its own Student factor. Degrees of freedom approximated for their sum (Welch and Satterthwaite)
        miss too often at the low levels of a look, where seeds are few.
        """
        if self.estimate is None or not self.parts:
            return None
        half = math.sqrt(math.fsum(part.squared_half_width(level, more) for part in self.parts))
        return stats.Interval(low=self.estimate - half, high=self.estimate + half, level=1 - level)

    def shifted(self, by: float) -> "Difference":
        """The same with a known number added, as the logarithm of a ratio of prices."""
        return self._replace(estimate=None if self.estimate is None else self.estimate + by)


class Look(NamedTuple):
    """What the pairs of one question are judged by."""

    margin: tuple[float, float]
    """Differences between these two are no matter."""
    level: float
    """The share of wrong answers that this look may add."""
    pairs: int
    """How many share it."""

    def judge(self, difference: Difference, *, leads: bool, more: int = 0) -> tuple[Verdict, stats.Interval | None]:
        """The verdict and the interval that says it, now or after `more` repeats; what `leads` shares no level."""
        interval = difference.interval(self.level / self.pairs, more)
        verdict = _verdict(interval, self.margin)
        if leads and verdict != "equivalent":
            interval = difference.interval(self.level, more)
            verdict = _verdict(interval, margin=None)
        return verdict, interval


class Pair(Frozen):
    """Two configurations in one question."""

    first: str
    second: str
    estimate: float | None
    """First minus second; of speeds, of their logarithms."""
    interval: stats.Interval | None
    """The one that the verdict is about; null where no spread is known."""
    verdict: Verdict
    """About the first: what the interval says, and nothing else."""
    paired: bool
    further_repeats: int | None
    """About how many more would settle it; null where that is not known, over 100, or beyond repeats."""
    reason: str | None
    """Why it is not settled."""


class Decision(Frozen):
    """A question at one look."""

    pairs: tuple[Pair, ...]
    leader: str | None
    """The configuration with the best estimates against the others."""
    decided: bool
    """Whether the leader is better than, or equivalent to, every other configuration."""
    further_repeats: int | None
    """About how many more would decide it; null where it is decided or that is not known."""


def level_at(repeats: int, fixed: int | None = None) -> float:
    """The share of wrong answers that may be added after so many repeats: that of the last planned look until then.

    `fixed` is the number of repeats where one was fixed beforehand: its only look may spend all 5 %.
    """
    if fixed is not None and repeats >= fixed:
        return stats.ALPHA
    return LOOKS[max((look for look in LOOKS if look <= repeats), default=min(LOOKS))]


def log_ratio_by_block(first: Mapping[Hashable, float], second: Mapping[Hashable, float]) -> Difference:
    """The logarithm of first / second of positive rates, each given by its block of the random order."""
    logs = ({block: math.log(rate) for block, rate in side.items()} for side in (first, second))
    return _over_runs(*_paired_where_possible(*logs))


def by_seed_and_photo(
    first: Mapping[Hashable, Mapping[str, float]], second: Mapping[Hashable, Mapping[str, float]]
) -> Difference:
    """First minus second over seeds and over the photos that all seeds of both were scored on.

    Seeds and photos are crossed and both are drawn from more, so the spread of both counts.
    """
    first, second = _paired_where_possible(first, second)
    seeds = [*first.values(), *second.values()]
    photos = sorted(set.intersection(*(set(scores) for scores in seeds))) if first and second else []
    if not photos:
        return Difference(None, reason=TOO_FEW_PHOTOS)
    over_seeds = _over_runs(*({seed: stats.mean([scores[photo] for photo in photos]) for seed, scores in side.items()}
                              for side in (first, second)))  # fmt: skip
    if not over_seeds.parts or len(photos) < stats.MIN_VALUES:
        return over_seeds._replace(parts=(), reason=over_seeds.reason or TOO_FEW_PHOTOS)
    one, other = ([stats.mean([scores[photo] for scores in side.values()]) for photo in photos]
                  for side in (first, second))  # fmt: skip
    gaps = [a - b for a, b in zip(one, other, strict=True)]
    return over_seeds._replace(parts=(*over_seeds.parts, _part(gaps, photos=True)))


def decide(
    pairs: Mapping[tuple[str, str], Difference],
    margin: tuple[float, float],
    level: float,
    family: int | None = None,
    leader: str | None = None,
) -> Decision:
    """The verdicts on all pairs of one question, and whether it is decided.

    The pairs share the level. Only a leader that is ahead of each of the others at the whole level is ahead without
    sharing, since that takes all of its pairs to agree.

    Args:
        pairs: the differences by configuration, greater being better; no other question shares their level.
        margin: differences between these two are no matter.
        level: the share of wrong answers that this look may add, as of `level_at`.
        family: how many pairs share it; None: those whose spread is known, since no other can be wrong.
        leader: who leads, where `pairs` are the leader's alone; None: the one with the best estimates in all of them.

    Source: Gutmann and Maymin, Ann. Statist. 15 (1987) 456, on whether the selected population is the best.
    """
    known = family or sum(bool(difference.parts) for difference in pairs.values())
    look, leader = Look(margin, level, max(1, known)), leader or _leader(pairs)
    rivals = {names for names in pairs if leader in names}
    ahead = all(
        _verdict(pairs[names].interval(level), margin=None) == ("better" if names[0] == leader else "worse")
        for names in rivals
    )
    verdicts = {
        names: _pair(names, difference, look, rival=names in rivals, ahead=ahead) for names, difference in pairs.items()
    }
    more = [verdicts[names].further_repeats for names in rivals if verdicts[names].verdict == "not settled"]
    return Decision(
        pairs=tuple(verdicts.values()),
        leader=leader,
        decided=bool(rivals) and not more,
        further_repeats=None if None in more else max((count for count in more if count), default=None),
    )


def _leader(pairs: Mapping[tuple[str, str], Difference]) -> str | None:
    """The configuration with the best estimates against the others."""
    known = {names: difference.estimate for names, difference in pairs.items() if difference.estimate is not None}
    leads: dict[str, float] = dict.fromkeys(itertools.chain.from_iterable(known), 0.0)
    for (first, second), estimate in known.items():
        leads[first] += estimate
        leads[second] -= estimate
    return max(leads, key=lambda name: leads[name], default=None)


def _pair(names: tuple[str, str], difference: Difference, look: Look, *, rival: bool, ahead: bool) -> Pair:
    """`rival`: it is of the leader and another; `ahead`: the leader is ahead of each of them."""
    verdict, interval = look.judge(difference, leads=rival and ahead)
    opened = interval is not None and verdict == "not settled"
    return Pair(
        first=names[0],
        second=names[1],
        estimate=difference.estimate,
        interval=interval,
        verdict=verdict,
        paired=difference.paired,
        further_repeats=_further_repeats(difference, look, leads=rival) if opened else None,
        reason=_why_open(difference, look, leads=rival) if opened else difference.reason,
    )


def _verdict(interval: stats.Interval | None, margin: tuple[float, float] | None) -> Verdict:
    if interval is None:
        return "not settled"
    if margin and margin[0] < interval.low and interval.high < margin[1]:
        return "equivalent"
    if interval.low > 0:
        return "better"
    return "worse" if interval.high < 0 else "not settled"


def _further_repeats(difference: Difference, look: Look, *, leads: bool) -> int | None:
    """About how many, if the leader's other pairs are settled too."""
    repeats = min(part.values for part in difference.parts if not part.photos)
    for more in range(1, stats.MAX_FURTHER_RUNS + 1):
        then = look._replace(level=level_at(repeats + more))
        if then.judge(difference, leads=leads, more=more)[0] != "not settled":
            return more
    return None


def _why_open(difference: Difference, look: Look, *, leads: bool) -> str:
    """The photos, where they alone leave it open at every look; else the runs."""
    photos = difference._replace(parts=tuple(part for part in difference.parts if part.photos))
    last = look._replace(level=max(LOOKS.values()))
    return PHOTOS_DIFFER if photos.parts and last.judge(photos, leads=leads)[0] == "not settled" else RUNS_DIFFER


def _paired_where_possible(
    first: Mapping[Hashable, Runs], second: Mapping[Hashable, Runs]
) -> tuple[dict[Hashable, Runs], dict[Hashable, Runs]]:
    """Both sides with the blocks that they share, where those are enough or one side has too few anyway; else all.

    It looks at which runs there are, never at their values.
    """
    shared = [block for block in first if block in second]
    few = min(len(first), len(second)) < stats.MIN_VALUES
    if len(shared) >= stats.MIN_VALUES or (shared and few):
        return {block: first[block] for block in shared}, {block: second[block] for block in shared}
    return dict(first), dict(second)


def _over_runs(first: Mapping[Hashable, float], second: Mapping[Hashable, float]) -> Difference:
    if not first or not second:
        return Difference(None, reason=TOO_FEW_RUNS)
    paired = first.keys() == second.keys()
    sides = [[first[block] - second[block] for block in first]] if paired else [[*first.values()], [*second.values()]]
    known = min(len(side) for side in sides) >= stats.MIN_VALUES
    return Difference(
        estimate=stats.mean([*first.values()]) - stats.mean([*second.values()]),
        parts=tuple(_part(side) for side in sides) if known else (),
        reason=None if known else TOO_FEW_RUNS,
        paired=paired,
    )


def _part(values: Sequence[float], *, photos: bool = False) -> Part:
    return Part(stats.standard_deviation(values) ** 2 / len(values), len(values), photos)
