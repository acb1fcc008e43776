"""What entered prices do to the page in a real browser: arithmetic by hand, an address that keeps it, no nonsense."""

from __future__ import annotations

import re

import builders
import pytest
from browsed import HERE, THERE, priced_page, study
from pages import written

from fluxkit.compare.compare import compare
from fluxkit.record.metrics import BY_KEY
from fluxkit.text.number_format import in_readable_unit

COSTS = """() => [...document.querySelectorAll("td[data-cost]")].map((cell) => [cell.dataset.cost, cell.dataset.row,
    [...cell.querySelectorAll(".value, .under")].map((each) => each.textContent), Number(cell.dataset.value)])"""


def enter(page, prices):
    """Types prices by the hour into the fields of the configurations."""
    fields = page.locator("input[data-key]:not([data-fetch])")
    for place, value in enumerate(prices):
        fields.nth(place).fill(str(value))


def test_an_entered_price_is_hours_times_price_and_the_stored_energy(page):
    """Each cost is its hours at the entered price and the stored cost of energy; the interval scales with the hours."""
    enter(page, THERE[0])
    (workload,) = compare(study(*HERE)).workloads
    rows = {row.key: row for row in workload.rows}
    cells = page.evaluate(COSTS)
    assert len(cells) == 3 * (4 + 5)
    for name, key, texts, shown in cells:
        row, basis = rows[key], rows[key].bases[name]
        price = THERE[0]["ABC".index(row.label[-1])]
        energy = (row.usd_per_kwh or 0.0) * (basis.joules.mean or 0.0) / 3.6e6
        assert shown == pytest.approx(price * basis.seconds.mean / 3600 + energy, rel=1e-9)
        factor = in_readable_unit(BY_KEY[name], workload).factor
        small = 1000 if shown < 0.01 else factor
        ends = [price * end / 3600 + energy for end in (basis.seconds.interval.low, basis.seconds.interval.high)]
        written_ends = [float(end) for end in re.findall(r"[\d.]+", texts[1])]
        assert written_ends == pytest.approx([small * end for end in ends], rel=0.06)
        assert f"grade {basis.seconds.grade}" in texts[2]
        assert ("per 1,000 of them" in texts[2]) == (small > factor)


def test_the_card_ranks_the_entered_prices_and_takes_them_back(page):
    """The cost cards rank all configurations at the entered prices, and the button brings the stored answer back."""
    before = page.locator("body").inner_text()
    card = page.locator('li[data-quantity="usd_per_adapter"]')
    enter(page, (9.0, 2.0, 0.01))
    names = [re.search(r"Machine \w", line)[0] for line in card.locator("ol li").all_inner_texts()]
    assert names == ["Machine C", "Machine B", "Machine A"]
    for other in page.locator('li[data-quantity^="usd_"]').all():
        assert other.locator("[data-answer]").is_hidden()
        assert "at your prices" in other.inner_text()
    assert page.locator("td[data-cost] .star").count() == 0
    page.get_by_role("button", name="Back to the stored prices").click()
    assert page.locator("body").inner_text() == before
    assert page.url.partition("#")[2] == ""


def test_a_free_machine_is_first_and_an_unpriced_one_is_named(page):
    """A price of 0 is one; a configuration without a price, and without energy that has one, is named."""
    enter(page, (0, 2.0, ""))
    card = page.locator('li[data-quantity="usd_per_adapter"]')
    assert len(card.locator("ol li").all()) == 2
    assert "Machine A" in card.locator("ol li").first.inner_text()
    assert "Without a price: “Machine C”" in card.locator("[role=status]").inner_text()


@pytest.mark.parametrize("nonsense", ["1e308", "-5", "1e-10", "1000001"])
def test_what_is_no_price_is_marked_and_prices_nothing(page, nonsense):
    """A price that no machine has is marked invalid and named, and no cost is made of it."""
    enter(page, (nonsense, 2.0, 1.0))
    field = page.locator("input[data-key]").first
    assert field.get_attribute("aria-invalid") == "true"
    card = page.locator('li[data-quantity="usd_per_adapter"]')
    assert "Neither 0 nor a price from 0.000001 to 1,000,000: “Machine A”" in card.locator("[role=status]").inner_text()
    assert "Machine A" not in "".join(card.locator("ol li").all_inner_texts())
    assert not re.search(r"Infinity|NaN", page.locator("body").inner_text())


def test_a_priced_page_is_passed_on_by_its_address(page, browser):
    """The entered prices are in the address, and whoever opens it sees the same costs."""
    enter(page, (3.25, 2.0, 0))
    page.locator("[data-fetch]").fill("12")
    other = browser.new_page()
    other.goto(page.url)
    assert other.locator("input[data-key]").first.input_value() == "3.25"
    assert other.evaluate(COSTS) == page.evaluate(COSTS)
    page.get_by_role("link", name="Methods").first.click()
    assert page.url.partition("#")[2] == other.url.partition("#")[2]
    other.close()


def test_fetching_is_paid_for_in_a_whole_job_alone(page):
    """Minutes to fetch image and weights are added to the whole job, at the price by the hour."""
    enter(page, (6.0, 2.0, 1.0))
    before = {(name, row): value for name, row, _, value in page.evaluate(COSTS)}
    page.locator("[data-fetch]").fill("30")
    after = {(name, row): value for name, row, _, value in page.evaluate(COSTS)}
    grown = {key: after[key] - before[key] for key in after}
    assert {round(value, 6) for (name, _), value in grown.items() if name != "usd_per_job"} == {0}
    assert sorted(round(value, 6) for (name, _), value in grown.items() if name == "usd_per_job") == [0.5, 1, 3]


def test_a_card_without_a_price_is_priced_by_the_first_one_entered(browser, tmp_path):
    """The field stands in the card that asks for it; small costs are those of a thousand adapters."""
    for result in builders.study():
        builders.run_folder(tmp_path / result.id, result)
    written(tmp_path, tmp_path / "index.html")
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    card = page.locator('li[data-quantity="usd_per_adapter"]')
    before = card.inner_text()
    assert "No price given" in before
    card.locator("input[data-key]").first.fill("0.05")
    assert "USD per 1,000 adapters of 200 iterations" in card.inner_text()
    assert "Laptop CPU (FP32)" in card.locator("ol li").inner_text()
    page.get_by_role("button", name="Back to the stored prices").click()
    assert card.inner_text() == before
    page.close()


def test_a_page_made_at_stored_prices_keeps_its_own_intervals(browser, tmp_path):
    """Untouched, the page says what Python said, stars and verdicts included."""
    opened = browser.new_page()
    opened.goto(priced_page(tmp_path, THERE).as_uri())
    workload = compare(study(*THERE)).workloads[0]
    shown = {(name, row): value for name, row, _, value in opened.evaluate(COSTS)}
    for row in workload.rows:
        assert shown["usd_per_adapter", row.key] == pytest.approx(row.costs["usd_per_adapter"].mean)
    opened.close()
