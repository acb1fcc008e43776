"""Made-up studies by the thousand that show how often `fluxkit.compare.decision` is wrong, and how soon it decides.

`python tests/simulated_decisions.py` prints the tables of CONTRIBUTING from 20,000 studies a cell.
"""

from __future__ import annotations

import itertools
import math
import sys
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np
from scipy.special import stdtrit

from fluxkit.compare.decision import LOOKS, level_at
from fluxkit.stats import PSNR_MARGIN_DB, log_margin

if TYPE_CHECKING:
    from collections.abc import Iterator

SPREAD = 0.03
"""Standard deviation of the logarithm of a run's speed."""
REPEATS = max(LOOKS)
SLOWER = math.log(0.9)
"""One that is 10 % slower."""
Machine = Literal[
    "steady",
    "linear drift",
    "slow walk",
    "bursts",
    "unequal spreads",
    "missing runs",
    "one slow block",
    "a step",
    "a slow first run",
    "heavy tails",
    "steep drift",
    "a swing",
]
MACHINES: tuple[Machine, ...] = get_args(Machine)[:-2]
"""All but those that are there to try the order of the blocks."""
Order = Literal["random", "turned"]
"""Turned, as a study's own: of every four blocks two are the other two reversed, in a random order."""
Analysis = Literal["paired", "apart", "Welch", "paired if blocks correlate"]
Interval = Literal["both, as squares", "the wider of two", "Satterthwaite"]
LEVELS = dict(LOOKS)


class Outcome(NamedTuple):
    """Shares of the studies."""

    wrong: float
    """At least one wrong verdict of any pair at any look."""
    covered: float
    """All intervals of all pairs and looks hold the truth."""
    least_covered: float
    """Of the intervals of one look, how many hold the truth where they are fewest."""
    decided: tuple[float, ...]
    """By each look: its leader is better than, or equivalent to, every other configuration."""


class Quality(NamedTuple):
    """Standard deviations of a difference of two configurations in dB: from seed to seed, photo to photo, and both."""

    seeds: float
    photos: float
    cells: float


class Truth(NamedTuple):
    """What one configuration is better by, and on which share of the photos."""

    effect: float = 0.0
    share: float = 1.0
    drawn: bool = True
    """Whether it is a share of all photos that there are, of which these are drawn; else of these."""


QUALITIES = {
    "like the laptop study": Quality(0.2, 0.14, 0.16),
    "photos differ": Quality(0.1, 0.5, 0.15),
    "seeds differ": Quality(0.5, 0.1, 0.1),
    "both differ": Quality(0.3, 0.5, 0.1),
    "neither": Quality(0.0, 0.0, 0.3),
}
TRUTHS = {
    "no effect": Truth(),
    "0.5 dB on all": Truth(0.5),
    "1 dB on all": Truth(1.0),
    "2 dB on half": Truth(2.0, 0.5),
    "2 dB on a third of these": Truth(2.0, 1 / 3, drawn=False),
    "4 dB on a quarter": Truth(4.0, 0.25),
}


def speeds(draw, studies, effects, machine: Machine = "steady", spread=SPREAD, turned: Order = "random"):
    """Logarithms of speeds, (studies, repeats, configurations), in blocks of this order; NaN: no run."""
    shape = (studies, REPEATS, len(effects))
    noise = draw.normal(0, spread, shape)
    if machine == "heavy tails":
        noise = draw.standard_t(3, shape) * spread / math.sqrt(3)
    if machine == "unequal spreads":
        noise[..., 0] *= 3
    order = _order(draw, shape, turned)
    place = (np.arange(REPEATS)[:, None] * len(effects) + order).reshape(studies, -1)
    drift = _drift(draw, machine, (studies, place.shape[1]), spread)
    noise += np.take_along_axis(drift, place, 1).reshape(shape)
    if machine == "one slow block":
        noise -= 0.2 * (np.arange(REPEATS) == draw.integers(0, REPEATS, (studies, 1)))[..., None]
    if machine == "missing runs":
        noise[draw.random(shape) < 0.1] = np.nan
    return noise + np.asarray(effects)


def _order(draw, shape, order: Order):
    """Each configuration's place in each block."""
    studies, repeats, size = shape
    if order == "random":
        return draw.random(shape).argsort(2).argsort(2)
    fours = -(-repeats // 4)
    halves = draw.random((studies, fours, 2, size)).argsort(3).argsort(3)
    both = np.concatenate([halves, size - 1 - halves], 2)
    shuffled = np.take_along_axis(both, draw.random((studies, fours, 4)).argsort(2)[..., None], 2)
    return shuffled.reshape(studies, 4 * fours, size)[:, :repeats]


def _drift(draw, machine: Machine, shape, spread):
    """What the machine adds to each run, in the order in which they are done."""
    runs = np.arange(shape[1])
    if machine == "slow walk":
        return draw.normal(0, spread, shape).cumsum(1)
    if machine == "bursts":
        return -draw.exponential(0.15, shape) * (draw.random(shape) < 0.1)
    if machine == "a step":
        return -0.2 * (runs >= draw.integers(0, shape[1], (shape[0], 1)))
    if machine == "a swing":  # as much as the spread, and once in two blocks: the order is in step with it or never is
        return spread * np.sin(math.pi * runs * REPEATS / shape[1] + draw.uniform(0, 2 * math.pi, (shape[0], 1)))
    falls = {"linear drift": 0.004 * runs, "steep drift": 2 * spread * runs, "a slow first run": 0.2 * (runs < 1)}
    return np.tile(-falls.get(machine, 0.0 * runs), (shape[0], 1))


def speed_study(values, effects, analysis: Analysis = "paired", levels=LEVELS, margin=None) -> Outcome:
    """How studies of speeds end that are looked at as planned."""
    pairs = [(values[..., a], values[..., b]) for a, b in itertools.combinations(range(len(effects)), 2)]
    looks = [
        [[_speed_interval(a[:, :look], b[:, :look], share, analysis) for share in (level / len(pairs), level)]
         for a, b in pairs]
        for look, level in levels.items()
    ]  # fmt: skip
    return _outcome(np.array(looks), effects, margin or log_margin())


def _speed_interval(a, b, level, analysis: Analysis):
    """Estimates and half-widths; infinite where no spread is known."""
    whole, mean, variance = _mean(a - b)
    half = _student(whole, level) * np.sqrt(variance)
    (runs_a, mean_a, variance_a), (runs_b, mean_b, variance_b) = _mean(a), _mean(b)
    parts = (_student(runs_a, level) ** 2 * variance_a, _student(runs_b, level) ** 2 * variance_b)
    few = (whole < 3) if analysis == "paired" else np.full(len(a), analysis == "apart")
    mean, half = np.where(few, mean_a - mean_b, mean), np.where(few, np.sqrt(sum(parts)), half)
    if analysis in {"Welch", "paired if blocks correlate"}:
        total = variance_a + variance_b
        degrees = total**2 / (variance_a**2 + variance_b**2) * (a.shape[1] - 1)
        blocks_matter = _mean(a + b)[2] / variance > _f_quantile(a.shape[1] - 1)
        welch = stdtrit(degrees, 1 - level / 2) * np.sqrt(total)
        half = np.where((analysis != "Welch") & blocks_matter, half, welch)
    known = np.where(few, np.minimum(runs_a, runs_b), whole) >= 3
    return np.where(known, mean, 0.0), np.where(known, half, np.inf)


def _mean(values):
    """How many there are, their mean, and its variance; at least 3 are counted."""
    count = (~np.isnan(values)).sum(1)
    enough = np.maximum(count, 3)
    mean = np.nansum(values, 1) / enough
    return count, mean, np.nansum((values - mean[:, None]) ** 2, 1) / (enough - 1) / enough


def _student(count, level):
    return stdtrit(np.maximum(count, 3) - 1, 1 - level / 2)


def _f_quantile(degrees):
    from scipy.stats import f

    return f.ppf(0.95, degrees, degrees)


def scores(draw, studies, effects, photos, spread: Quality, share=1.0, *, drawn=True):
    """PSNR, (studies, seeds, photos, configurations), of seeds and photos that are crossed.

    An effect stands on this share of the photos: of all photos that there are, of which these are drawn, or of these.
    """
    each = np.array(spread) / math.sqrt(2)  # of one configuration; what both share drops out of a difference
    size = len(effects)
    values = draw.normal(0, each[0], (studies, REPEATS, 1, size)) + draw.normal(0, each[1], (studies, 1, photos, size))
    values = values + draw.normal(0, each[2], (studies, REPEATS, photos, size))
    touched = (
        draw.random((studies, photos)) < share if drawn else np.tile(np.arange(photos) < share * photos, (studies, 1))
    )
    return values + touched[:, None, :, None] * np.asarray(effects)


def quality_study(values, truths, analysis: Interval = "both, as squares", margin=PSNR_MARGIN_DB) -> Outcome:
    """How studies of quality end that are looked at as planned; `truths` are the true means over all photos."""
    pairs = list(itertools.combinations(range(len(truths)), 2))
    looks = [
        [[quality_interval((values[..., a] - values[..., b])[:, :look], share, analysis)
          for share in (level / len(pairs), level)] for a, b in pairs]
        for look, level in LOOKS.items()
    ]  # fmt: skip
    return _outcome(np.array(looks), truths, (-margin, margin))


def quality_interval(gaps, level, analysis: Interval):
    seeds, photos = gaps.shape[1:]
    variances = np.array([gaps.mean(2).var(1, ddof=1) / seeds, gaps.mean(1).var(1, ddof=1) / photos])
    degrees = np.array([seeds - 1, photos - 1])[:, None]
    squares = stdtrit(degrees, 1 - level / 2) ** 2 * variances
    if analysis == "the wider of two":
        return gaps.mean((1, 2)), np.sqrt(squares.max(0))
    if analysis == "Satterthwaite":
        total = variances.sum(0)
        return gaps.mean((1, 2)), stdtrit(total**2 / (variances**2 / degrees).sum(0), 1 - level / 2) * np.sqrt(total)
    return gaps.mean((1, 2)), np.sqrt(squares.sum(0))


def _outcome(looks, effects, margin) -> Outcome:
    """`looks`: (looks, pairs, level of the pair or of the look, estimate and half-width, studies)."""
    estimates, halves, alone = looks[:, :, 0, 0], looks[:, :, 0, 1], looks[:, :, 1, 1]
    pairs = list(itertools.combinations(range(len(effects)), 2))
    truths = np.array([effects[a] - effects[b] for a, b in pairs])[:, None]
    leads = np.zeros((len(looks), len(effects), looks.shape[-1]))
    for pair, (a, b) in enumerate(pairs):
        leads[:, a] += estimates[:, pair]
        leads[:, b] -= estimates[:, pair]
    of_leader = np.array([[leads.argmax(1) == a, leads.argmax(1) == b] for a, b in pairs]).any(1).swapaxes(0, 1)
    same = (estimates - halves > margin[0]) & (estimates + halves < margin[1])
    ahead = ((np.abs(estimates) > alone) | ~of_leader).all(1, keepdims=True) & of_leader
    shown = np.where(ahead & ~same, alone, halves)
    apart = (np.abs(estimates) > shown) & ~same
    matters = (truths <= margin[0] + 1e-12) | (truths >= margin[1] - 1e-12)
    wrong = (apart & ((truths == 0) | (np.sign(truths) != np.sign(estimates)))) | (same & matters)
    holds, known = np.abs(estimates - truths) <= shown, np.isfinite(shown)
    decided = np.logical_or.accumulate((same | apart | ~of_leader).all(1))
    least = min((holds & known).sum((1, 2)) / np.maximum(1, known.sum((1, 2))))
    return Outcome(wrong.any((0, 1)).mean(), holds.all((0, 1)).mean(), least, tuple(decided.mean(1)))


def equal_studies(studies: int) -> Iterator[str]:
    """How often equal configurations get a wrong verdict, by analysis and number of configurations."""
    analyses: tuple[tuple[Analysis, int], ...] = (
        *(("paired", size) for size in (2, 3, 5)), *(("Welch", size) for size in (2, 3)),
        *(("paired if blocks correlate", size) for size in (2, 3)),
    )  # fmt: skip
    yield "At least one wrong verdict among equal configurations at four looks, %"
    yield row("machine", *(f"{analysis}, {size}" for analysis, size in analyses))
    for machine in MACHINES:
        whole = [each for each in analyses if each[0] == "paired" or machine != "missing runs"]
        yield row(machine, *(percent(equal(studies, machine, size, how).wrong) for how, size in whole))
    often = {repeats: level_at(repeats) for repeats in range(3, REPEATS + 1)}
    rows = {
        "steady, looked at after every repeat": {"levels": often},
        "steep drift": {"machine": "steep drift"},
        "a swing": {"machine": "a swing"},
        **{
            f"{machine}, turned order": {"machine": machine, "order": "turned"}
            for machine in ("steady", "linear drift", "slow walk", "a step", "steep drift", "a swing")
        },
    }
    for title, changes in rows.items():
        yield row(title, *(percent(equal(studies, size=size, **changes).wrong) for size in (2, 3, 5)))
    leaders = [[0, 0] + [-0.5] * (size - 2) for size in (3, 5, 8, 12)]
    wrong = [speed_study(speeds(np.random.default_rng(4), studies, each), each).wrong for each in leaders]
    yield row("steady, two equal ones ahead of 1, 3, 6, 10 that are equal too", *(percent(share) for share in wrong))
    for machine in ("steady", "slow walk"):
        wrong = [apart(studies, machine, configurations).wrong for configurations in (2, 3)]
        yield row(f"{machine}, measured apart: 2, 3", *(percent(share) for share in wrong))


def equal(
    studies, machine: Machine = "steady", size=2, analysis: Analysis = "paired", levels=LEVELS, order: Order = "random"
) -> Outcome:
    """Studies of so many equal configurations."""
    values = speeds(np.random.default_rng(size), studies, [0] * size, machine, turned=order)
    return speed_study(values, [0] * size, analysis, levels)


def apart(studies, machine: Machine, configurations) -> Outcome:
    """Studies of equal configurations, each measured by itself."""
    draw = np.random.default_rng(configurations)
    values = [speeds(draw, studies, [0], machine) for _ in range(configurations)]
    return speed_study(np.concatenate(values, 2), [0] * configurations, "apart")


def coverage(studies: int) -> Iterator[str]:
    """How often intervals hold the truth."""
    yield "All intervals of a study hold the truth, and those of one look at the least, %"
    yield row("machine", "2 equal", "2, 10 % apart", "3, each 10 % slower", "5, each 10 % slower")
    cases = [np.arange(size) * step for size, step in ((2, 0), (2, SLOWER), (3, SLOWER), (5, SLOWER))]
    for machine in MACHINES:
        found = [speed_study(speeds(np.random.default_rng(7), studies, effects, machine), effects) for effects in cases]
        yield row(machine, *(f"{percent(each.covered)}, {percent(each.least_covered)}" for each in found))


def power(studies: int) -> Iterator[str]:
    """How soon a question is decided."""
    yield "Decided within 3, 5, 7 and 10 repeats, share of studies"
    yield row("machine", "2, 5 % apart", "10 %", "20 %", "3, two 10 % slower", "3, each 10 % slower", "5, each")
    cases = ([0, math.log(0.95)], [0, SLOWER], [0, math.log(0.8)], [0, SLOWER, SLOWER], *(
        [SLOWER * place for place in range(size)] for size in (3, 5)))  # fmt: skip
    for machine in MACHINES:
        found = [speed_study(speeds(np.random.default_rng(8), studies, effects, machine), effects) for effects in cases]
        yield row(machine, *(shares(each.decided) for each in found))


def equivalence(studies: int) -> Iterator[str]:
    """How often speeds at the edge of the band are called equivalent, and how soon equal ones are."""
    yield "By spread of a run: exactly 2 % apart, called equivalent, %; equal, decided within 3, 5, 7 and 10 repeats"
    for spread in (0.002, 0.005, 0.01, 0.015, 0.03):
        found = [
            speed_study(speeds(np.random.default_rng(9), studies, effects, spread=spread), effects)
            for effects in ([0, log_margin()[0]], [0, 0])
        ]
        yield row(f"{100 * spread:.1f} %", percent(found[0].wrong), shares(found[1].decided))


def quality(studies: int) -> Iterator[str]:
    """Both errors and the power of quality, over nine photos."""
    yield "PSNR over nine photos: wrong %, all intervals hold %, of one look at the least %, decided within 3, 5, 7, 10"
    for (kind, spread), (name, truth) in itertools.product(QUALITIES.items(), TRUTHS.items()):
        found = quality_of(studies, spread, truth)
        yield row(f"{kind}: {name}", *map(percent, found[:3]), shares(found.decided))


def quality_of(studies, spread: Quality, truth: Truth, photos=9) -> Outcome:
    """Studies of two configurations, the first of which is better on some photos."""
    values = scores(
        np.random.default_rng(5), studies, [truth.effect, 0], photos, spread, truth.share, drawn=truth.drawn
    )
    return quality_study(values, [truth.effect * truth.share, 0])


def quality_intervals(studies: int) -> Iterator[str]:
    """Which interval holds whatever the two spreads are."""
    yield "Interval of quality: all hold in so many % of studies where they are fewest; configurations, photos, spreads"
    ratios = list(itertools.product((2, 3), (3, 4, 9, 16, 32), (0, 0.3, 0.6, 1, 2, 4), (0, 0.5, 1.5)))
    for analysis in get_args(Interval):
        worst = min((crossed(studies, analysis, *ratio).covered, ratio) for ratio in ratios)
        yield row(analysis, percent(worst[0]), *map(str, worst[1]))


def crossed(studies, analysis: Interval, size, photos, of_photos, of_cells) -> Outcome:
    """Equal configurations whose photos and cells spread so much for 1 dB from seed to seed."""
    draw, effects = np.random.default_rng(6), [0] * size
    return quality_study(scores(draw, studies, effects, photos, Quality(1, of_photos, of_cells)), effects, analysis)


def row(*cells: str) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def percent(share: float) -> str:
    """With one decimal."""
    return f"{100 * share:.1f}"


def shares(decided: tuple[float, ...]) -> str:
    """Look by look."""
    return " ".join(f"{share:.2f}" for share in decided)


if __name__ == "__main__":
    for table in (equal_studies(20_000), coverage(20_000), power(20_000), equivalence(20_000), quality(5000),
                  quality_intervals(2500)):  # fmt: skip
        sys.stdout.write("\n".join((*table, "", "")))
