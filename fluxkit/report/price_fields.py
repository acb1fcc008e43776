"""What a page needs to price its configurations again: the hours of each unit of work, and what its energy costs."""

import json
from typing import Any

from fluxkit.compare.comparison import Row, Workload
from fluxkit.compare.cost import costs
from fluxkit.record.metrics import COSTS, Metric
from fluxkit.spec.prices import SECONDS_PER_HOUR, Prices
from fluxkit.text.number_format import footing, in_readable_unit


def price_fields(workload: Workload) -> str:
    """Every cost as JSON: its unit of work, how many of it a table shows, and what it takes of each configuration."""
    return json.dumps({cost.key: _cost(workload, cost) for cost in COSTS})


def _cost(workload: Workload, cost: Metric) -> dict[str, Any]:
    iterations = int(workload.tables["tune"]["iterations"] or 0)
    units = (cost, cost._replace(per=cost.per_thousand))
    return {
        "factor": in_readable_unit(cost, workload).factor,
        "per": [unit.unit_of_work(iterations) for unit in units],
        "rows": {row.key: _basis(row, cost) for row in workload.rows if row.runs},
    }


def _basis(row: Row, cost: Metric) -> dict[str, Any]:
    """Hours as mean and ends of their interval, US dollars of energy if it has a price, and what the cost rests on.

    At any price by the hour that is the same as at one dollar.
    """
    basis, kwh = row.bases[cost.key], row.prices.usd_per_kwh
    seconds, joules = basis.seconds, basis.joules
    at_one = costs(basis, Prices(usd_per_hour=1.0, usd_per_kwh=kwh))
    if at_one.mean is None:
        return {"reason": at_one.reason}
    ends = [seconds.interval.low, seconds.interval.high] if seconds.interval else []
    has_price = kwh == 0 or (kwh is not None and joules.values)
    return {
        "hours": [value / SECONDS_PER_HOUR for value in (seconds.mean or 0.0, *ends)],
        "energy": row.prices.energy_usd(joules.mean or 0.0) if has_price else None,
        "footing": footing(at_one),
        "usable": at_one.grade != "X",
    }
