"""Quality against money: each point is the quality reached for it, and the front is what no other one beats."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from fluxkit.charts.summary_charts import Chart, interval_cell, interval_ends, marked
from fluxkit.charts.svg import svg
from fluxkit.charts.vega_specs import pareto_layers
from fluxkit.compare.comparison import Row, Workload
from fluxkit.compare.ranking import ahead, ranked
from fluxkit.record.metrics import BY_KEY, COSTS, Metric
from fluxkit.record.result import Grade
from fluxkit.stats import Interval
from fluxkit.text.number_format import MISSING, in_readable_unit, listed, plain, quoted, seconds_text
from fluxkit.trust.estimate import worst
from fluxkit.values import Frozen


class Offer(NamedTuple):
    """What a configuration had reached at an evaluation point, and what that took."""

    row: Row
    psnr_db: float
    """Mean over runs."""
    interval: Interval | None
    takes: float
    """Seconds, or US dollars."""
    grade: Grade | None
    """The worst of what it was made of."""
    gained: bool
    """Whether it is better than the untuned model; what is not is shown, and leads nobody."""


class Tradeoffs(Frozen):
    """The trade-off of a workload, and the costs that stand beside it."""

    cost: Chart | None
    """Null where no price is given."""
    sentence: str
    """Who is best for the whole tuning time, by verdicts, and whose mean is highest before."""
    columns: tuple[Metric, ...]


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


def tradeoffs(workload: Workload, key: str, whole: Workload | None = None) -> Tradeoffs:
    """Quality over the cost of its tuning time at the given prices; who leads is said of the whole workload."""
    whole = whole or workload
    offers = _offers(workload)
    priced = [priced for offer in offers if (priced := _priced(offer)) is not None]
    return Tradeoffs(
        cost=_chart(priced, f"{key}-pareto-cost"),
        sentence=_leaders_sentence(whole, _offers(whole)),
        columns=tuple(in_readable_unit(cost, workload) for cost in COSTS),
    )


def _priced(offer: Offer) -> Offer | None:
    """The same mark for what its tuning time costs: the instance, and the energy at the tuning phase's mean power."""
    basis, prices = offer.row.bases["usd_per_1000_iterations"], offer.row.prices
    watts = basis.joules.mean / basis.seconds.mean if basis.joules.mean is not None and basis.seconds.mean else None
    if not prices.given or (prices.usd_per_kwh and watts is None and not prices.usd_per_hour):
        return None
    seconds = offer.takes
    metered = watts is not None and prices.usd_per_kwh
    grade = worst((offer.grade, basis.seconds.grade, basis.joules.grade if metered else None))
    if grade == "X":
        return None
    return offer._replace(takes=prices.usd(seconds, None if watts is None else watts * seconds), grade=grade)


def _chart(offers: Sequence[Offer], key: str) -> Chart | None:
    """PSNR over what the offers cost."""
    axis = "USD for the tuning time"
    if not offers:
        return None
    front: list[Offer] = []
    values, table = [], []
    for offer in sorted(offers, key=lambda offer: (offer.takes, -offer.psnr_db)):
        # What takes more must give more.
        if offer.gained and (not front or offer.psnr_db > front[-1].psnr_db):
            front.append(offer)
    for offer in offers:
        label = marked(offer.row, f": {plain(offer.psnr_db)} dB for {plain(offer.takes)} USD")
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
        title="Quality over cost",
        how_to_read=(
            "Each point is the quality reached for that money, its whisker the 95 % interval over runs. Left is "
            "cheaper, up is better. The dashed front joins the points that no other one beats in both, by their means; "
            "whiskers that overlap leave it open which is better."
        ),
        svg=svg(pareto_layers(rows, values, line, axis, "PSNR (dB)"), key),
        columns=("Configuration", axis, "PSNR (dB)", "95 % interval", "On the front", "Grade"),
        table=tuple(table),
    )


def _leaders_sentence(workload: Workload, offers: Sequence[Offer]) -> str:
    """Who is best for the whole tuning time, by verdicts; of shorter times whose mean is highest."""
    if not offers:
        return "No quality was measured after a given time."
    offers = [offer for offer in offers if offer.gained]
    if not offers:
        return "After no given time is anything better than the untuned model."
    budget = float(workload.tables["tune"]["seconds"] or 0.0)
    stretches: list[tuple[float, float, str]] = []
    for seconds in sorted({offer.takes for offer in offers if offer.takes < budget}):
        best = max((offer for offer in offers if offer.takes == seconds), key=lambda offer: offer.psnr_db).row.name
        if stretches and stretches[-1][2] == best:
            stretches[-1] = (stretches[-1][0], seconds, best)
        else:
            stretches.append((seconds, seconds, best))
    earlier = "; ".join(itertools.starmap(_stretch_text, stretches))
    shorter = f" Shorter times have no verdict; the highest mean is that of {earlier}." if earlier else ""
    return f"{_budget_sentence(workload, budget)}{shorter}"


def _stretch_text(first: float, last: float, name: str) -> str:
    """Whose mean is highest from one tuning time to another."""
    when = f"after {seconds_text(first)}" if first == last else f"from {seconds_text(first)} to {seconds_text(last)}"
    when += " s"
    return f"{quoted(name)} {when}"


def _budget_sentence(workload: Workload, budget: float) -> str:
    """Who is best after the whole tuning time, as the answer to that question says."""
    metric = BY_KEY["psnr_db"]
    judgement, rows = workload.judgement(metric.quantity), ranked(workload, metric)
    if judgement is None or judgement.leader is None:
        return f"After {seconds_text(budget)} s no two configurations can be compared."
    names = [quoted(row.name) for row in rows if row is rows[0] or not ahead(workload, metric, rows[0], row)]
    if judgement.decided:
        return f"Best after {seconds_text(budget)} s: {listed(names)}{', which are equal' if names[1:] else ''}."
    return f"After {seconds_text(budget)} s it is not settled between {listed(names)}."
