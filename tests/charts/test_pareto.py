"""`fluxkit.charts.pareto`: what a dollar buys, and who leads after which time, by the answer's own verdict."""

import builders

from fluxkit.charts.pareto import tradeoffs
from fluxkit.compare.compare import compare


def found(gains):
    """The trade-offs of two configurations whose scores rise by these decibels."""
    runs = []
    for place, gain in enumerate(gains):
        of = builders.spec(
            execution={"threads": place + 1}, hardware={"label": f"M{place}, quick", "usd_per_hour": 3.6}
        )
        seconds = (0.1 + 0.01 * place,) * 220
        runs += [
            builders.result(
                of=of, repeat=repeat, order=2 * repeat + place, psnr_gain=gain, iteration_seconds=seconds,
                id=f"{place}-{repeat}",
            )
            for repeat in range(3)
        ]  # fmt: skip
    return tradeoffs(compare(runs).workloads[0], "w1")


def test_the_mark_of_the_iterations_is_no_offer_of_time():
    """Only marks at times that all were given are offers: the iteration mark comes at another second for each."""
    dollars = {line[1] for line in found((9.0, 8.0)).cost.table}
    assert dollars == {"0.0150", "0.0300", "0.0600"}


def test_a_lead_that_is_not_settled_is_not_named():
    """Equally good configurations are not put in order by their means, and shorter times have no verdict."""
    said = found((9.0, 9.0)).sentence
    assert said.startswith("After 60 s it is not settled between “M0, quick” and “M1, quick”. Shorter times have no ")


def test_a_decided_lead_is_named():
    """The configuration that the answer names is named; of shorter times the one whose mean is highest, and when."""
    said = found((9.0, 4.0)).sentence
    assert said.startswith("Best after 60 s: “M0, quick”. ")
    assert "the highest mean is that of “M0, quick” from 15 to 30 s." in said


def test_the_front_holds_what_nothing_beats():
    """Along the front, more money always gives more quality, and every other point is beaten by one on it."""
    table = found((9.0, 8.0)).cost.table
    on_front = [(float(line[1]), float(line[2])) for line in table if line[4] == "yes"]
    assert on_front == sorted(on_front)
    assert [psnr for _, psnr in on_front] == sorted(psnr for _, psnr in on_front)
    for line in table:
        assert any(float(line[1]) >= takes and float(line[2]) <= psnr for takes, psnr in on_front)
