"""What the page's scripts do in a real browser, by mouse and keyboard, and what strangers' names can't make them do."""

from __future__ import annotations

import re

import builders
import pytest
from browsed import THERE, column, written

from fluxkit.fold.outcome import folded_results
from fluxkit.record.result import RunResult
from fluxkit.record.run_folder import write_result
from fluxkit.report.page import write_report


def test_the_headline_sorts_by_mouse_and_keyboard(page):
    """A head sorts its column down, then up, and says so to assistive technology."""
    head = page.locator("#w1-numbers thead th:nth-child(2)")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    values = [float(text.split()[0]) for text in column(page, 2)]
    assert values == sorted(values, reverse=True)
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert [float(text.split()[0]) for text in column(page, 2)] == sorted(values)


def test_a_missing_value_sorts_last_both_ways(page):
    """The configuration without energy stands last whichever way its column is sorted."""
    place = 1 + page.locator("#w1-numbers thead th").all_inner_texts().index(
        next(text for text in page.locator("#w1-numbers thead th").all_inner_texts() if text.startswith("Energy"))
    )
    for _ in range(2):
        page.locator(f"#w1-numbers thead th:nth-child({place}) button").click()
        assert column(page, place)[-1].startswith("—")


def test_every_column_of_numbers_is_sorted_as_numbers(page):
    """In each sortable table a column that begins with numbers is sorted by their values, not by their letters."""
    wrong = page.evaluate("""() => [...document.querySelectorAll("table.sortable")].flatMap((table) =>
        [...table.tHead.rows[0].cells].filter((head, place) => [...table.tBodies[0].rows].some((row) => {
            const cell = row.cells[place];
            const number = /^[<>+-]? ?\\d[\\d.,]*(e-?\\d+)?\\b/.test(cell?.textContent || "");
            return cell?.tagName === "TD" && number && !("value" in cell.dataset);
        })).map((head) => head.textContent))""")
    assert [head for head in wrong if not head.startswith(("Single runs", "Repeats"))] == []


def test_the_headline_is_filtered_by_its_configurations(page):
    """Words in the filter leave the configurations that hold them, and the page says how many."""
    page.get_by_label("Filter configurations").fill("machine b")
    assert len(column(page, 1)) == 1
    assert page.locator("#w1-headline output").inner_text() == "1 of 3 shown"
    page.get_by_label("Filter configurations").fill("")
    assert len(column(page, 1)) == 3


COST_NUMBERS = """() => [...document.querySelectorAll("#w1-cost-chart ~ details tr")]
    .map((line) => [...line.cells].map((cell) => cell.textContent))"""
COSTS = """() => [...document.querySelectorAll("td[data-cost]")].map((cell) => [cell.dataset.cost, cell.dataset.row,
    [...cell.querySelectorAll(".value, .under")].map((each) => each.textContent), Number(cell.dataset.value)])"""


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
    other.goto(written(tmp_path, THERE).as_uri())
    made, table = other.evaluate(COSTS), other.evaluate(COST_NUMBERS)
    other.close()
    assert len(table) > 3
    assert page.evaluate(COST_NUMBERS) == table
    assert len(entered) == 3 * (3 + 4)
    assert [each[:3] for each in entered] == [each[:3] for each in made]
    assert [each[3] for each in entered] == pytest.approx([each[3] for each in made], rel=1e-12)


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
    write_report(folded_results([tmp_path]), tmp_path / "index.html")
    other = browser.new_page()
    other.goto((tmp_path / "index.html").as_uri())
    assert "no quality was measured at a mark" in other.locator("#w1-cost-chart").inner_text()
    other.locator("input[data-price=hour]").first.fill("2")
    assert "no quality was measured at a mark" in other.locator("#w1-cost-chart").inner_text()
    other.close()


def test_a_card_without_a_price_is_priced_by_the_first_one_entered(browser, tmp_path):
    """“No price given” leads to the price fields; a price answers the card, and the button brings the words back."""
    for result in builders.study():
        builders.run_folder(tmp_path / result.id, result)
    write_report(folded_results([tmp_path]), tmp_path / "index.html")
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


def test_marks_of_charts_tell_their_words_by_pointer_and_keyboard(page):
    """A mark shows its label when it is pointed at, and the arrows go from mark to mark."""
    figure = page.locator("figure.chart", has_text="PSNR of the tuned images over tuning time")
    mark = figure.locator('[aria-label^="Machine A at 60.0 s"]')
    mark.scroll_into_view_if_needed()
    mark.hover()
    assert page.locator("#tip").inner_text() == mark.get_attribute("aria-label")
    figure.locator('[tabindex="0"][role="graphics-symbol"]').first.focus()
    first = page.locator("#tip").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.locator("#tip").inner_text() != first
    assert page.locator("#tip").is_visible()


def test_pictures_of_every_mark_can_be_chosen_without_a_script(page):
    """Choosing another tuning time shows the pictures of that mark alone."""
    cell = page.locator("#w1-images tbody tr").first.locator("td.tuned").first
    assert cell.locator(".tile:visible").get_attribute("data-moment") == "60.0 s"
    page.get_by_role("radio", name="15.0 s").check(force=True)
    assert cell.locator(".tile:visible").get_attribute("data-moment") == "15.0 s"
    assert "dB · SSIM" in cell.inner_text()


def test_the_lightbox_opens_slides_and_closes_by_keyboard(page):
    """Enter opens a picture large over the real photo, the slider cuts between them, Escape gives the focus back."""
    opener = page.locator("#w1-images td.tuned .enlarge:visible").first
    opener.focus()
    page.keyboard.press("Enter")
    box = page.locator("#lightbox")
    assert box.is_visible()
    assert "Machine" in box.get_by_role("heading").inner_text()
    slider = box.get_by_role("slider")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert box.locator('[data-part="over"]').evaluate("each => each.style.clipPath") == "inset(0px 0px 0px 51%)"
    box.get_by_label("Show the difference").check()
    assert box.locator('[data-part="over"]').evaluate("each => getComputedStyle(each).mixBlendMode") == "difference"
    box.locator(".strip button").first.click()
    assert box.locator('.strip button[aria-pressed="true"]').count() == 1
    page.keyboard.press("Escape")
    assert not box.is_visible()
    assert opener.evaluate("each => each === document.activeElement")


def test_the_lightbox_offers_what_a_picture_can_show(page):
    """The real photo has nothing to be held against; a difference ends with its picture, and the slider rests in it."""
    box, cells = page.locator("#lightbox"), page.locator("#w1-images tbody tr").first.locator("td")
    cells.nth(1).locator(".enlarge").click()
    assert "Autoencoder's copy" in box.locator(".ends").inner_text()
    box.get_by_label("Show the difference of the lossy copies").check()
    assert box.get_by_role("slider").is_disabled()
    page.keyboard.press("Escape")
    cells.nth(2).locator(".enlarge").click()
    assert "Generated" in box.locator(".ends").inner_text()
    assert box.get_by_role("slider").is_enabled()
    assert box.locator(".stage.difference").count() == 0
    page.keyboard.press("Escape")
    cells.nth(0).locator(".enlarge").click()
    assert box.get_by_role("slider").count() == box.get_by_role("checkbox").count() == 0
    assert "Generated" not in box.inner_text()


def test_the_difference_of_equal_pictures_is_black(page):
    """The difference view lays the real photo over each picture."""
    page.get_by_label("Show the difference to the real photo").check()
    style = page.locator("#w1-images td.tuned .frame:visible").first.evaluate(
        "each => [getComputedStyle(each, '::after').mixBlendMode, getComputedStyle(each, '::after').backgroundImage]"
    )
    assert style[0] == "difference"
    assert style[1].startswith('url("data:image/jpeg')


def test_results_are_downloaded_from_the_page_itself(page):
    """The button gives the embedded JSON as a file, without a request."""
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download the results").click()
    assert waiting.value.suggested_filename == "fluxkit-results.json"


def test_hostile_names_stay_texts_when_scripts_touch_them(browser, tmp_path):
    """A label and a caption full of markup stay text when the page is priced again, filtered and looked at large."""
    hostile = "<img src=x onerror=alert(1)>\"'</script>"
    runs = []
    for place in range(2):
        asked = builders.spec(
            name=f"nano-{place}",
            execution={"threads": place},
            hardware={"label": f"{place}{hostile}", "usd_per_hour": 1.0 + place},
        )
        values = builders.result(of=asked).model_dump(mode="json", by_alias=True)
        values["inputs"]["pairs"] = [pair | {"caption": hostile} for pair in values["inputs"]["pairs"]]
        runs.append(RunResult.model_validate(values))
        builders.run_folder(tmp_path / str(place), runs[-1])
    write_report(folded_results([tmp_path]), tmp_path / "index.html")
    page = browser.new_page()
    said, before = [], "document.querySelectorAll('img').length"
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("console", lambda message: said.append(message.text))
    page.goto((tmp_path / "index.html").as_uri())
    images = page.evaluate(before)
    page.locator("input[data-price=hour]").first.fill("9")
    assert f"1{hostile}” at" in page.locator("#w1-cheapest").inner_text()
    page.get_by_label("Filter configurations").fill("onerror")
    page.locator("#w1-images td.tuned .enlarge:visible").first.click()
    assert hostile in page.locator("#lightbox").inner_text()
    assert page.evaluate(before) == images + page.locator("#lightbox .strip img").count()
    assert said == []
    page.close()
