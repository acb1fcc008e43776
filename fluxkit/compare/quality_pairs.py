"""Quality seed by seed and photo by photo: what two configurations differ by on the photos that both were scored on.

Runs of one seed draw the same adapters, order and noise, so they are one value: to count them as several would make
an interval of their common luck. Crops of one photo are not independent either, so a photo (a cluster) counts once.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from fluxkit import stats
from fluxkit.record.facts import ReconstructionScore, ValidationScore
from fluxkit.record.metrics import Metric, Scored
from fluxkit.record.protocol_marks import iteration_mark, time_mark
from fluxkit.record.result import RunResult

Photos = dict[str, float]
"""Mean of a metric by cluster of images."""


def by_seed(values: Iterable[tuple[int, float | None]]) -> list[float]:
    """The mean of each seed's known values, in the order in which the seeds first have one."""
    seeds: dict[int, list[float]] = defaultdict(list)
    for seed, value in values:
        if value is not None:
            seeds[seed].append(value)
    return [stats.mean(known) for known in seeds.values()]


def scores_of(result: RunResult, scored: Scored) -> Sequence[ReconstructionScore | ValidationScore]:
    """The scores of a run, at all marks, that a metric is the mean of."""
    if result.quality is None:
        return ()
    return result.quality.validation if scored.held_out else result.quality.reconstruction


def diverged_at(result: RunResult, metric: Metric) -> bool:
    """Whether one of the scores that a metric is the mean of is not finite, at the mark of its protocol."""
    if metric.scored is None:
        return False
    mark = _mark_of(result, metric.scored)
    return any(score.diverged for score in scores_of(result, metric.scored) if score.mark == mark)


def _mark_of(result: RunResult, scored: Scored) -> str | None:
    mark = time_mark(result) if scored.mark == "time" else iteration_mark(result)
    return mark.id if mark else None


def photos_by_seed(results: Sequence[RunResult], scored: Scored) -> dict[int, Photos]:
    """For each seed the mean of a score by cluster, over its runs, their pairs and noise seeds."""
    seeds: dict[int, dict[str, list[float]]] = {}
    for result in results:
        for cluster, value in _scores(result, scored):
            seeds.setdefault(result.seed, defaultdict(list))[cluster].append(value)
    return {seed: {cluster: stats.mean(values) for cluster, values in photos.items()} for seed, photos in seeds.items()}


def _scores(result: RunResult, scored: Scored) -> list[tuple[str, float]]:
    """(cluster, value) of each score of a run at the mark of the metric's protocol."""
    mark = _mark_of(result, scored)
    if result.inputs is None or mark is None:
        return []
    clusters = {pair.id: pair.cluster for pair in result.inputs.pairs}
    scores = [score for score in scores_of(result, scored) if score.mark == mark]
    values = [(clusters.get(score.pair, score.pair), getattr(score, scored.field)) for score in scores]
    return [(cluster, value) for cluster, value in values if value is not None]
