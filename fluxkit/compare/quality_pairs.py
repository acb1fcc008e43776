"""Quality seed by seed and photo by photo: what two configurations differ by on the photos that both were scored on.

Runs of one seed draw the same adapters, order and noise, so they are one value: to count them as several would make
an interval of their common luck. Crops of one photo are not independent either, so a photo (a cluster) counts once.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from fluxkit import stats
from fluxkit.record.protocol_marks import iteration_mark, time_mark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from fluxkit.record.facts import Mark
    from fluxkit.record.result import RunResult

Photos = dict[str, float]
"""Mean of a quantity by cluster of images."""


class Scored(NamedTuple):
    """Which scores of a run a quantity is the mean of."""

    field: str
    mark: Callable[[RunResult], Mark | None]
    held_out: bool = False


SCORED = {
    "psnr_db": Scored("psnr_db", time_mark),
    "ssim": Scored("ssim", time_mark),
    "psnr_db_at_iterations": Scored("psnr_db", iteration_mark),
    "ssim_at_iterations": Scored("ssim", iteration_mark),
    "validation_loss": Scored("loss", time_mark, held_out=True),
}
"""Quantities of quality that configurations are compared by."""


class Gap(NamedTuple):
    """First minus second: mean over the photos that every seed of both sides was scored on."""

    value: float | None
    images: stats.Effect | None
    """Over photos."""
    seeds: stats.Effect | None
    """Over seeds; its estimate is the same number."""
    runs: tuple[tuple[float, ...], tuple[float, ...]]
    """Each side's mean over those photos, by seed."""


def by_seed(values: Iterable[tuple[int, float | None]]) -> list[float]:
    """The mean of each seed's known values, in the order in which the seeds first have one."""
    found: dict[int, list[float]] = defaultdict(list)
    for seed, value in values:
        if value is not None:
            found[seed].append(value)
    return [stats.mean(each) for each in found.values()]


def photos_by_seed(results: Sequence[RunResult], quantity: str) -> list[Photos]:
    """For each seed the mean of a quantity of `SCORED` by cluster, over its runs, their pairs and noise seeds."""
    found: dict[int, dict[str, list[float]]] = {}
    for result in results:
        for cluster, value in _scores(result, SCORED[quantity]):
            found.setdefault(result.seed, defaultdict(list))[cluster].append(value)
    return [{cluster: stats.mean(values) for cluster, values in photos.items()} for photos in found.values()]


def gap(first: Sequence[Photos], second: Sequence[Photos]) -> Gap:
    """The difference of two configurations, each given seed by seed, with both of its effects."""
    seeds = [*first, *second]
    shared = sorted(set.intersection(*(set(photos) for photos in seeds))) if first and second else []
    if not shared:
        return Gap(None, None, None, ((), ()))
    one, other = (tuple(stats.mean([photos[each] for each in shared]) for photos in side) for side in (first, second))
    images = stats.paired(_over_seeds(first, shared), _over_seeds(second, shared))
    return Gap(stats.mean(one) - stats.mean(other), images, stats.welch(one, other), (one, other))


def _over_seeds(side: Sequence[Photos], shared: Sequence[str]) -> Mapping[str, float]:
    return {each: stats.mean([photos[each] for photos in side]) for each in shared}


def _scores(result: RunResult, scored: Scored) -> list[tuple[str, float]]:
    """(cluster, value) of each score of a run at the mark that the quantity is about."""
    mark = scored.mark(result)
    if result.quality is None or result.inputs is None or mark is None:
        return []
    clusters = {pair.id: pair.cluster for pair in result.inputs.pairs}
    scores = result.quality.validation if scored.held_out else result.quality.reconstruction
    found = [
        (clusters.get(score.pair, score.pair), getattr(score, scored.field))
        for score in scores
        if score.mark == mark.id
    ]
    return [(cluster, value) for cluster, value in found if value is not None]
