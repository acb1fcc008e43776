"""What the page's scripts do with its tables, charts and pictures in a real browser, by mouse and keyboard."""

from __future__ import annotations

import re

from browsed import column


def number_in(text):
    """The number that a cell begins with, before the mark of its grade."""
    return float(re.match(r"[\d.]+", text)[0])


def test_the_headline_sorts_by_mouse_and_keyboard(page):
    """A head sorts its column best first, then worst first, and says so to assistive technology."""
    head = page.locator("#w1-numbers thead th:nth-child(2)")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    values = [number_in(text) for text in column(page, 2)]
    assert values == sorted(values, reverse=True)
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert [number_in(text) for text in column(page, 2)] == sorted(values)


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


def test_the_filter_acts_on_charts_images_and_prices_too(page):
    """What is filtered out leaves every table, legend, chart and picture, and comes back with an empty filter."""
    shown = """() => Object.fromEntries(["figure.chart svg [data-configuration]", ".legend li", ".pictures td.tuned",
        ".prices tbody tr", ".board tbody tr"].map((parts) => [parts, new Set([...document.querySelectorAll(parts)]
        .filter((part) => part.checkVisibility()).map((part) => part.dataset.configuration)).size]))"""
    assert set(page.evaluate(shown).values()) == {3}
    page.get_by_label("Filter configurations").fill("machine b")
    assert set(page.evaluate(shown).values()) == {1}
    page.get_by_label("Filter configurations").fill("")
    assert set(page.evaluate(shown).values()) == {3}


def test_a_column_where_less_is_better_begins_with_the_least(page):
    """The first click puts the best first: the least memory, and the lowest loss."""
    heads = page.locator("#w1-numbers thead th").all_inner_texts()
    for place, head in enumerate(heads, 1):
        if "lower is better" in head and not head.startswith("Energy"):
            page.locator(f"#w1-numbers thead th:nth-child({place}) button").click()
            values = [number_in(text) for text in column(page, place)]
            assert values == sorted(values)


def test_marks_of_charts_tell_their_words_by_pointer_and_keyboard(page):
    """A mark shows its label when it is pointed at, and the arrows go from mark to mark."""
    figure = page.locator("figure.chart", has_text="PSNR of the tuned images over tuning time")
    mark = figure.locator('[aria-label^="Machine A at 60 s"]')
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
    assert cell.locator(".tile:visible").get_attribute("data-moment") == "60 s"
    page.get_by_role("radio", name="15 s").check(force=True)
    assert cell.locator(".tile:visible").get_attribute("data-moment") == "15 s"
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
    page.get_by_role("heading", name="The data of this page").click()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download the results").click()
    assert waiting.value.suggested_filename == "fluxkit-results.json"
