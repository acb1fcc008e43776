"""Quality against time and against money: every graded mark is an offer, and the front is what none of them beats."""

import itertools
import json
from collections.abc import Sequence
from typing import NamedTuple

from fluxkit.charts.summary_charts import Chart, interval_cell, interval_ends
from fluxkit.charts.svg import svg
from fluxkit.charts.vega_specs import pareto_layers
from fluxkit.compare.comparison import Row, Workload
from fluxkit.record.metrics import COSTS, Metric
from fluxkit.record.result import Grade
from fluxkit.spec.prices import Prices
from fluxkit.stats import MIN_VALUES, Interval, t_quantile
from fluxkit.text.number_format import MISSING, listed, plain, quoted
from fluxkit.trust.estimate import worst
from fluxkit.values import Frozen

MOST_RUNS = 40
"""Runs of one configuration for which a page can make an interval by itself."""


class Offer(NamedTuple):
    """What a configuration had reached at a mark, and what that took."""

    row: Row
    psnr_db: float
    """Mean over runs."""
    interval: Interval | None
    takes: float
    """Seconds, or US dollars."""
    grade: Grade | None
    """The worst of what it was made of."""
    gained: bool
    """Whether it is better than the untuned model; what is not is drawn, and leads nobody."""


class Tradeoffs(Frozen):
    """Both trade-offs of a workload, and what a page needs to price itself again."""

    time: Chart | None
    cost: Chart | None
    """Null where no price is given."""
    sentence: str
    """Who leads for which tuning time, beyond the intervals."""
    columns: tuple[Metric, ...]
    quantiles: str
    """Student's 0.975 quantile / 1 by number of runs, as JSON."""


def _offers(workload: Workload) -> list[Offer]:
    # Only marks at a time that all were given: the one at equal iterations comes at another moment for each.
    return [
        Offer(
            row, point.psnr_db.mean, point.psnr_db.interval, point.target_seconds, point.psnr_db.grade,
            gained=point.psnr_db.mean >= (row.estimate("psnr_db_untuned").mean or 0.0),
        )
        for row in workload.rows
        for point in row.curve
        if point.psnr_db.mean is not None and point.target_seconds and point.psnr_db.grade != "X"
    ]  # fmt: skip


def tradeoffs(workload: Workload, key: str) -> Tradeoffs:
    """Quality over tuning time and over its cost at the given prices."""
    offers = _offers(workload)
    priced = [priced for offer in offers if (priced := _priced(offer)) is not None]
    most = max((len(row.runs) for row in workload.rows), default=0)
    return Tradeoffs(
        time=_chart(
            offers, f"{key}-pareto-time", "Quality over tuning time", "Tuning time (s)", unit="s", less="less time"
        ),
        cost=_chart(
            priced, f"{key}-pareto-cost", "Quality over cost", "USD for the tuning time", unit="USD", less="cheaper"
        ),
        sentence=_leaders_sentence(offers),
        columns=COSTS,
        quantiles=json.dumps({count: t_quantile(count) for count in range(MIN_VALUES, min(most, MOST_RUNS) + 1)}),
    )


def _priced(offer: Offer) -> Offer | None:
    """The same mark for what its tuning time costs: the instance, and the energy at the tuning phase's mean power."""
    basis, prices = offer.row.bases["usd_per_1000_iterations"], Prices(offer.row.usd_per_hour, offer.row.usd_per_kwh)
    watts = basis.joules.mean / basis.seconds.mean if basis.joules.mean is not None and basis.seconds.mean else None
    if not prices.usd_per_hour and (not prices.usd_per_kwh or watts is None):
        return None
    seconds = offer.takes
    metered = watts is not None and prices.usd_per_kwh
    grade = worst((offer.grade, basis.seconds.grade, basis.joules.grade if metered else None))
    if grade == "X":
        return None
    return offer._replace(takes=prices.usd(seconds, None if watts is None else watts * seconds), grade=grade)


def _chart(offers: Sequence[Offer], key: str, title: str, axis: str, *, unit: str, less: str) -> Chart | None:
    """PSNR over what the offers take; `less` says in words what lies left."""
    if not offers:
        return None
    front: list[Offer] = []
    values, table = [], []
    for offer in sorted(offers, key=lambda offer: (offer.takes, -offer.psnr_db)):
        # What takes more must give more.
        if offer.gained and (not front or offer.psnr_db > front[-1].psnr_db):
            front.append(offer)
    for offer in offers:
        label = f"{offer.row.name}: {plain(offer.psnr_db)} dB for {plain(offer.takes)} {unit}"
        ends = interval_ends(offer.interval)
        values.append({"name": offer.row.name, "x": offer.takes, "y": offer.psnr_db, "label": label, **ends})
    for offer in sorted(offers, key=lambda offer: offer.takes):
        interval = interval_cell(offer.interval)
        beaten = all(other is not offer for other in front)
        on_front, grade = "" if beaten else "yes", offer.grade or MISSING
        table.append((offer.row.name, plain(offer.takes), plain(offer.psnr_db), interval, on_front, grade))
    rows = list({offer.row.key: offer.row for offer in offers}.values())
    line = [{"x": offer.takes, "y": offer.psnr_db} for offer in front]
    return Chart(
        title=title,
        how_to_read=(
            "Each marker is the state of a configuration at a graded mark, its whisker the 95 % interval over runs. "
            f"Left is {less}, up is better. The dashed front joins the marks that no other mark beats in both, by "
            "their means; whiskers that overlap leave it open which is better."
        ),
        svg=svg(pareto_layers(rows, values, line, axis, "PSNR (dB)"), key),
        columns=("Configuration", axis, "PSNR (dB)", "95 % interval", "On the front", "Grade"),
        table=tuple(table),
    )


def _stretch_text(first: float, last: float, names: Sequence[str]) -> str:
    """Who leads from one tuning time to another."""
    when = f"at {plain(first)} s" if first == last else f"from {plain(first)} to {plain(last)} s"
    among = listed([quoted(name) for name in names])
    return f"{when} {among if len(names) == 1 else f'not decided between {among}'}"


def _leaders_sentence(offers: Sequence[Offer]) -> str:
    """Who is best for which tuning time; a lead within the intervals is none."""
    if not offers:
        return "No quality was measured at a time mark, so there is no front."
    offers = [offer for offer in offers if offer.gained]
    if not offers:
        return "At no time mark is anything better than the untuned model, so there is no front."
    stretches: list[tuple[float, float, tuple[str, ...]]] = []
    for seconds in sorted({offer.takes for offer in offers}):
        names = _leaders([offer for offer in offers if offer.takes == seconds])
        if stretches and stretches[-1][2] == names:
            stretches[-1] = (stretches[-1][0], seconds, names)
        else:
            stretches.append((seconds, seconds, names))
    best = max(offers, key=lambda offer: offer.psnr_db)
    return (
        f"Best for the tuning time: {'; '.join(itertools.starmap(_stretch_text, stretches))}. "
        f"The front is one of means; the highest is "
        f"{plain(best.psnr_db, 4)} dB after {plain(best.takes)} s, {quoted(best.row.name)}"
        f"{f', grade {best.grade}' if best.grade else ''}."
    )


def _leaders(offers: Sequence[Offer]) -> tuple[str, ...]:
    """Of the offers at one time the best, with those whose intervals reach it, in the order of their rows."""
    leader = max(offers, key=lambda offer: offer.psnr_db)
    near = [offer for offer in offers if offer is leader or not _apart(leader, offer)]
    return tuple(offer.row.name for offer in sorted(near, key=lambda offer: offer.row.number))


def _apart(leader: Offer, other: Offer) -> bool:
    """Whether the intervals of two marks leave room between them; without an interval nothing is known to."""
    high, low = leader.interval, other.interval
    return high is not None and low is not None and high.low > low.high
