"""What entered prices do to the page in a real browser: costs, answers and charts as Python would give them."""

from __future__ import annotations

import re

import builders
import pytest
from browsed import THERE, priced_page, study
from pages import written

from fluxkit.compare.compare import compare
from fluxkit.compare.ranking import STARS as STARRED
from fluxkit.compare.ranking import standing
from fluxkit.record.run_folder import write_result

COST_NUMBERS = """() => [...document.querySelectorAll("#w1-cost-chart ~ details tr")]
    .map((line) => [...line.cells].map((cell) => cell.textContent))"""
COSTS = """() => [...document.querySelectorAll("td[data-cost]")].map((cell) => [cell.dataset.cost, cell.dataset.row,
    [...cell.querySelectorAll(".value, .under")].map((each) => each.textContent), Number(cell.dataset.value)])"""

STARS = """() => [...document.querySelectorAll("td[data-cost]")].map((cell) => [cell.dataset.cost, cell.dataset.row,
    cell.querySelector(".star")?.textContent || ""])"""


def enter(page, prices):
    """Types prices into the fields of the three configurations."""
    for kind, values in zip(("hour", "kwh"), prices, strict=True):
        fields = page.locator(f"input[data-price={kind}]")
        for place, value in enumerate(values):
            fields.nth(place).fill(str(value))


def test_entered_prices_give_the_numbers_that_python_gives(page, browser, tmp_path):
    """Entering other prices gives each cost, its interval and its digits as a page made at those prices has them."""
    enter(page, THERE)
    entered = page.evaluate(COSTS)
    other = browser.new_page()
    other.goto(priced_page(tmp_path, THERE).as_uri())
    made, table = other.evaluate(COSTS), other.evaluate(COST_NUMBERS)
    other.close()
    assert len(table) > 3
    assert page.evaluate(COST_NUMBERS) == table
    assert len(entered) == 3 * (3 + 4)
    assert [each[:3] for each in entered] == [each[:3] for each in made]
    assert [each[3] for each in entered] == pytest.approx([each[3] for each in made], rel=1e-12)


@pytest.mark.parametrize(
    "prices",
    [THERE, ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0)),
     ((1.38, 1.0, 0.7), (0.0, 0.0, 0.0)), ((1.0, 0.73, 9.0), (0.0, 0.0, 0.0)),
     ((2.0, 2.0, 0.0), (0.4, 0.4, 0.0)), ((1.0, 0.74, 1.0), (0.0, 0.0, 0.0))],
)  # fmt: skip
def test_entered_prices_are_judged_as_python_judges_them(page, prices):
    """Stars and the words of each cost's answer follow the verdicts of a comparison at those prices."""
    enter(page, prices)
    (workload,) = compare(study(*prices)).workloads
    stars = page.evaluate(STARS)
    assert len(stars) == 3 * (3 + 4)
    for key, row, star in stars:
        assert star == STARRED[standing(workload, workload.row(row), key)], (key, row)
    for key in ("usd_per_adapter", "usd_per_1000_iterations"):
        said = page.locator(f'li[data-quantity="{key}"]').inner_text()
        assert ("Decided" in said) == workload.judgement(key).decided
        assert ("Not settled." in said) == (not workload.judgement(key).decided)


def test_entered_prices_change_the_cheapest_answer_and_can_be_taken_back(page):
    """The answer, the sentence and the chart follow the entered prices, and the button brings the stored ones back."""
    before = page.locator("body").inner_text()
    answer = page.locator('li[data-quantity="usd_per_adapter"]')
    assert "Machine A" in answer.inner_text()
    enter(page, ((9.0, 2.0, 1.0), (0.0, 0.0, 0.0)))
    assert "is that of “Machine C”" in page.locator("#w1-cheapest").inner_text()
    assert "is that of “Machine C”" in answer.inner_text()
    for card in page.locator('li[data-quantity^="usd_"]').all():
        assert "At these prices" in card.inner_text()
        assert card.locator(".chip").inner_text() == "priced by you"
    assert page.locator('li[data-quantity^="usd_"]').count() == 2
    drawn = page.locator("#w1-cost-chart [aria-label*='USD']").first.get_attribute("aria-label")
    assert re.search(r"Machine \w: [\d.]+ dB for [\d.]+ USD", drawn)
    page.get_by_role("button", name="Back to the stored prices").click()
    assert page.locator("body").inner_text() == before


def test_a_chart_without_prices_or_without_quality_says_so(browser, page, tmp_path):
    """Where entered prices leave nothing to draw, the reason stands in the chart's place."""
    enter(page, ((0, 0, 0), (0, 0, 0)))
    assert "no price given" in page.locator("#w1-cost-chart").inner_text()
    assert page.locator("#w1-cost-chart ~ details").count() == 0
    page.get_by_role("button", name="Back to the stored prices").click()
    assert page.locator("#w1-cost-chart ~ details").count() == 1
    write_result(tmp_path, builders.result().model_copy(update={"quality": None}))
    written(tmp_path, tmp_path / "index.html")
    other = browser.new_page()
    other.goto((tmp_path / "index.html").as_uri())
    assert "no quality was measured" in other.locator("#w1-cost-chart").inner_text()
    other.locator("input[data-price=hour]").first.fill("2")
    assert "no quality was measured" in other.locator("#w1-cost-chart").inner_text()
    other.close()


def test_a_card_without_a_price_is_priced_by_the_first_one_entered(browser, tmp_path):
    """“No price given” leads to the price fields; a price answers the card, and the button brings the words back."""
    for result in builders.study():
        builders.run_folder(tmp_path / result.id, result)
    written(tmp_path, tmp_path / "index.html")
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    card = page.locator('li[data-quantity="usd_per_adapter"]')
    before = card.inner_text()
    assert "No price given" in before
    card.get_by_role("link").click()
    assert page.url.endswith("#w1-tradeoffs")
    page.locator("input[data-price=hour]").first.fill("2")
    assert "is that of “Laptop CPU (FP32)” at" in card.inner_text()
    assert card.locator(".chip").inner_text() == "priced by you"
    page.get_by_role("button", name="Back to the stored prices").click()
    assert card.inner_text() == before
    page.close()
