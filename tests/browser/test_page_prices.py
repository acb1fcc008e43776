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

ADDRESS = "location.href"
"""As the page has it now; the driver hears of a change a moment later."""
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
    assert page.evaluate(ADDRESS).partition("#")[2] == ""


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
    other.goto(page.evaluate(ADDRESS))
    assert other.locator("input[data-key]").first.input_value() == "3.25"
    assert other.evaluate(COSTS) == page.evaluate(COSTS)
    page.evaluate("() => addEventListener('hashchange', () => { window.moved = true; })")  # after the page's own
    page.get_by_role("link", name="Methods").first.click()
    page.wait_for_function("() => window.moved")
    assert page.evaluate(ADDRESS) == other.evaluate(ADDRESS)
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


@pytest.fixture
def opened(browser, tmp_path):
    """Opens a page of the results that are given."""
    shown = []

    def page_of(results):
        for result in results:
            builders.run_folder(tmp_path / result.id, result)
        written(tmp_path, tmp_path / "index.html")
        shown.append(browser.new_page(viewport={"width": 1280, "height": 900}))
        shown[-1].goto((tmp_path / "index.html").as_uri())
        return shown[-1]

    yield page_of
    for page in shown:
        page.close()


def test_no_verdict_about_cost_outlives_its_prices(opened):
    """What holds at the stored prices alone is gone while others are entered, wherever it stands, and comes back."""
    page = opened(study(*THERE))
    for part in page.locator("details").all():
        part.evaluate("(part) => { part.open = true; }")
    of_cost = """() => [...document.querySelectorAll("table.verdicts tr, .answers .chip, figure.chart > figcaption")]
        .filter((part) => part.checkVisibility() && /^usd_|cost/i.test(part.closest("li")?.dataset.quantity ??
        part.textContent)).map((part) => part.textContent)"""
    before = page.evaluate(of_cost)
    assert len(before) > 10
    text = page.locator("body").inner_text()
    enter(page, (1.0, 1.25, 0.75))
    assert page.evaluate(of_cost) == []
    assert page.locator("[data-stored]:visible").count() == 0
    assert page.locator("[data-entered]:visible").count() == 2
    page.get_by_role("button", name="Back to the stored prices").click()
    assert page.locator("body").inner_text() == text


def test_equal_ones_are_not_told_apart_by_prices_that_were_changed(opened):
    """The answer about speed names the cheapest of equal ones by the stored prices, and leaves it out at others."""
    runs = []
    for place, price in enumerate((1.0, 3.0)):
        asked = builders.spec(hardware={"label": f"Machine {'AB'[place]}", "usd_per_hour": price})
        for repeat in range(5):
            seconds = tuple(0.1 * (1 + 0.001 * ((7 * step + repeat + place) % 5)) for step in range(220))
            runs.append(builders.result(of=asked, repeat=repeat, iteration_seconds=seconds))
    page = opened(runs)
    card = page.locator('li[data-quantity="training_speed"]')
    assert "Of these “Machine A” tunes an adapter cheapest." in card.inner_text()
    enter(page, (5.0, 3.0))
    assert "cheapest" not in card.inner_text()
    assert "Machine B" in page.locator('li[data-quantity="usd_per_adapter"] ol li').first.inner_text()


def test_a_cost_that_is_not_to_be_used_is_in_no_order(opened):
    """A configuration graded X leads at no price; a grade of its energy is one of its cost as well."""
    runs = [run for run in study(*THERE) if run.status == "completed"]
    for name, subject, grade in (("Machine A", "training_speed", "X"), ("Machine B", "energy", "C")):
        check = runs[0].checks[0].model_copy(update={"subject": subject, "grade": grade})
        runs = [
            run.model_copy(update={"checks": (*run.checks, check)}) if run.spec.hardware.label == name else run
            for run in runs
        ]
    page = opened(runs)
    for field in page.locator("input[data-key]:not([data-fetch])").all():
        field.fill({"A": "0.001", "B": "2", "C": "1"}[field.get_attribute("data-name")[8]])
    card = page.locator('li[data-quantity="usd_per_adapter"]')
    lines = card.locator("ol li").all_inner_texts()
    assert [re.search(r"Machine \w", line)[0] for line in lines] == ["Machine C", "Machine B"]
    assert "In no order, graded X: “Machine A" in card.inner_text()
    assert "grade C" in lines[1]


def test_a_price_without_the_work_is_no_missing_price(opened):
    """A configuration with a price and too few iterations is not called unpriced, and its cell says what it lacks."""
    slow = builders.spec(name="slow", hardware={"label": "Slow", "usd_per_hour": 1.0})
    few = [builders.result(of=slow, repeat=repeat, iteration_seconds=(0.5,) * 150) for repeat in range(3)]
    page = opened([*(run for run in study(*THERE) if run.status == "completed"), *few])
    enter(page, (2.0, 2.0, 2.0, 2.0))
    assert page.locator('li[data-quantity="usd_per_adapter"] [role=status]').inner_text() == ""
    cells = page.locator('td[data-cost="usd_per_adapter"]').all_inner_texts()
    assert [text for text in cells if "150 of 200 iterations were done" in text]
    assert not [text for text in cells if "no price" in text]


def test_a_sorted_column_of_costs_is_sorted_again_at_other_prices(page):
    """The order of a table stays that of the column it was sorted by, whatever is entered."""
    heads = page.locator("#w1-numbers thead th").all_inner_texts()
    place = 1 + next(at for at, head in enumerate(heads) if "adapters" in head)
    page.locator(f"#w1-numbers thead th:nth-child({place}) button").click()
    for prices in ((9.0, 2.0, 0.01), (0.01, 2.0, 9.0), (0.01, -5, 9.0)):
        enter(page, prices)
        cells = page.locator(f"#w1-numbers tbody tr > :nth-child({place})")
        shown = [cell.get_attribute("data-value") for cell in cells.all()]
        known = [float(value) for value in shown if value is not None]
        assert known == sorted(known)
        assert shown[: len(known)] == [str(value) for value in shown if value is not None]
        assert len(known) == (2 if -5 in prices else 3)


def test_the_filter_acts_on_entered_prices(page):
    """A configuration that is filtered out is in no list at the reader's prices, whichever was done first."""
    lines = page.locator("li[data-quantity=usd_per_adapter] ol li:visible")
    enter(page, (9.0, 2.0, 1.0))
    page.get_by_label("Filter configurations").fill("machine b")
    assert lines.count() == 1
    page.locator("input[data-key]:visible").first.fill("3")
    assert lines.count() == 1
    page.get_by_label("Filter configurations").fill("")
    assert lines.count() == 3


def test_an_address_says_all_prices_there_are(page, browser):
    """A number with a sign in its exponent survives the address, and another priced address replaces all prices."""
    enter(page, (2, "1e+2", 1.5))
    assert "1e%2B2" in page.evaluate(ADDRESS)
    other = browser.new_page()
    other.goto(page.evaluate(ADDRESS))
    values = "() => [...document.querySelectorAll('input[data-key]')].map((input) => input.value)"
    assert other.evaluate(values) == page.evaluate(values)
    assert other.evaluate(COSTS) == page.evaluate(COSTS)
    key = page.locator("input[data-key]").nth(2).get_attribute("data-key")
    other.evaluate(f"() => {{ location.hash = '#prices&{key}=7'; }}")
    other.wait_for_function("() => document.querySelectorAll('input[data-key]')[1].value !== '1e+2'")
    assert other.evaluate(values) == ["0.5", "2", "7", ""]
    other.close()


def test_what_a_free_machine_costs_is_its_energy_without_an_interval(page):
    """At a price of 0 the stored mean of the energy is left, whose spread is not claimed to be nothing."""
    enter(page, (0, 2.0, 1.0))
    line = page.locator('li[data-quantity="usd_per_adapter"] ol li').first.inner_text()
    assert "Machine A" in line
    assert "at 0 USD/h" in line
    assert "[" not in line


def test_minutes_of_fetching_leave_what_they_are_no_part_of(page):
    """Fetching is in a whole job alone: the answers about adapters and iterations stay."""
    card = page.locator('li[data-quantity="usd_per_adapter"]')
    before = card.locator("[data-answer]").inner_text()
    page.locator("[data-fetch]").fill("30")
    assert card.locator("[data-answer]").inner_text() == before
    assert card.locator("ol li").count() == 0


def test_text_is_no_price(page):
    """Letters in a field are marked and priced nowhere."""
    field = page.locator("input[data-key]").first
    field.fill("")
    field.press_sequentially("e")
    assert field.get_attribute("aria-invalid") == "true"
    assert "Machine A" not in "".join(page.locator("ol.between li").all_inner_texts())


def test_a_column_of_costs_has_one_unit(page):
    """Where one configuration costs less than a cent, all costs are those of a thousand units, so that they compare."""
    enter(page, (1.0, 0, 1.0))
    for name in {cell[0] for cell in page.evaluate(COSTS)}:
        units = {"per 1,000 of them" in texts[2] for cost, _, texts, _ in page.evaluate(COSTS) if cost == name}
        assert len(units) == 1


def test_a_cost_in_large_type_says_what_it_is_of(opened):
    """What stands under “Least money per adapter” says so itself where it is that of a thousand adapters."""
    page = opened(study(*THERE))
    shown = {
        name: page.locator(f'li[data-quantity="{name}"] p.measure').inner_text()
        for name in ("usd_per_adapter", "usd_per_1000_iterations")
    }
    assert " USD per 1,000 adapters" in shown["usd_per_adapter"]
    assert " USD per 1,000 iterations" in shown["usd_per_1000_iterations"]


def test_without_any_price_nothing_is_said_of_missing_ones(opened):
    """Empty fields beside “No price given” need no list of names, no way back and no table of dashes."""
    page = opened(builders.study())
    card = page.locator('li[data-quantity="usd_per_adapter"]')
    assert card.locator("[role=status]").inner_text() == ""
    assert not card.get_by_role("button", name="Back to the stored prices").is_visible()
    costs, none = page.locator("table.prices"), page.get_by_text("No price is given; with one, the costs stand here.")
    assert (costs.is_visible(), none.is_visible()) == (False, True)
    card.locator("input[data-key]").first.fill("1")
    assert card.locator("[role=status]").inner_text().startswith("Without a price: “")
    assert (costs.is_visible(), none.is_visible()) == (True, False)
    assert card.get_by_role("button", name="Back to the stored prices").is_visible()


def test_a_tiny_cost_has_an_interval_in_the_same_form(page):
    """A millionth of a dollar an hour makes costs that are no zeros, nor are the ends of their intervals."""
    enter(page, (1, 1, "0.000001"))
    texts = [texts for _, _, texts, value in page.evaluate(COSTS) if 0 < value < 1e-7]
    assert texts
    assert all(re.fullmatch(r"\[\d\.\d\de-\d\d, \d\.\d\de-\d\d\]", interval) for _, interval, _ in texts)
