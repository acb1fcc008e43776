"""The page in a real browser: by mouse and keyboard, without scripts, on a phone, and by the rules of accessibility."""

from __future__ import annotations

import functools
import http.server
import importlib
import os
import re
import shutil
import threading

import builders
import pytest

from fluxkit.folder import write_result
from fluxkit.record import RunResult
from fluxkit.report import write_report

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
REQUIRED = os.environ.get("FLUXKIT_REQUIRE_BROWSER") == "1"
STRICTEST = "sandbox; default-src 'none'; img-src 'self'; style-src 'self'"
"""What a continuous-integration server sends with the files that it keeps."""


@pytest.fixture(scope="module")
def browser():
    """One Chromium for all tests."""
    if CHROMIUM is None and not REQUIRED:
        pytest.skip(f"no Chromium was found: none of {', '.join(NAMES)} is on the path")
    assert CHROMIUM, "FLUXKIT_REQUIRE_BROWSER=1, but there is no Chromium on the path"
    playwright = importlib.import_module("playwright.sync_api")
    with playwright.sync_playwright() as session:
        opened = session.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def energy(joules):
    """Energy of a run with its two timed phases."""
    phases = [
        {"phase": phase, "joules_gross": joules, "joules_net": None, "seconds": 60.0} for phase in ("tune", "inference")
    ]
    return {"class": "measured", "joules_gross": 3 * joules, "source": "counter", "seconds": 180.0, "phases": phases}


def canary(repeat):
    """The machine a little slower after each phase."""
    rates = {"before": 2e11, "after": 1.9e11 - 1e9 * repeat}
    return [
        {
            "phase": phase, "when": when, "precision": "ieee_float32", "matmul_size": 1024,
            "matmul_flops_per_second": rate, "copy_bytes_per_second": rate / 10,
        }
        for phase in ("tune", "inference")
        for when, rate in rates.items()
    ]  # fmt: skip


def study(hour, kwh):
    """Three priced configurations, one of them without energy, three runs of each."""
    runs = []
    for place, precision in enumerate(("float32", "bfloat16", "float32")):
        label = f"Machine {'ABC'[place]}"
        asked = builders.spec(
            name=f"nano-{place}",
            execution={"precision": precision, "threads": place},
            hardware={"label": label, "usd_per_hour": hour[place], "usd_per_kwh": kwh[place]},
        )
        for repeat in range(3):
            seconds = tuple((0.08 + 0.03 * place) * (1 + 0.01 * ((7 * step + repeat) % 5)) for step in range(220))
            measured = energy(1500.0 + 400 * place + 30 * repeat) if place < 2 else None
            runs.append(
                builders.result(
                    of=asked, repeat=repeat, iteration_seconds=seconds, psnr_gain=9.0 - place,
                    energy=measured, canary=canary(repeat),
                )
            )  # fmt: skip
    return [*runs, builders.failed()]


HERE, THERE = ((0.5, 2.0, 1.0), (0.3, 0.0, 0.3)), ((4.0, 1.25, 0.75), (0.1, 0.45, 0.0))


def written(folder, prices):
    """A page of the study at such prices, with pictures beside it."""
    for result in study(*prices):
        builders.run_folder(folder / result.id, result, side=24)
    write_report([folder], folder / "index.html")
    return folder / "index.html"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The page that most tests look at."""
    return written(tmp_path_factory.mktemp("here"), HERE)


@pytest.fixture
def page(browser, file):
    """The page opened from disk at a desktop's size; the console must stay empty and nothing may be asked for."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    opened = context.new_page()
    said, asked = [], []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(file.as_uri())
    yield opened
    context.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [file.as_uri()]


def column(page, place):
    """Texts of a headline column from top to bottom."""
    return page.locator(f"#w1-numbers tbody tr:visible > :nth-child({place})").all_inner_texts()


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
    write_report([tmp_path], tmp_path / "index.html")
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
    write_report([tmp_path], tmp_path / "index.html")
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


@pytest.fixture(scope="module")
def two_workloads(tmp_path_factory):
    """A page of results that may not be compared: every table and chart stands on it twice."""
    folder = tmp_path_factory.mktemp("two")
    other = builders.spec(name="other", tune={"seconds": 30.0, "iterations": 100})
    for result in [*study(*HERE), builders.result(of=other), builders.result(of=other, repeat=1)]:
        builders.run_folder(folder / result.id, result, side=24)
    write_report([folder], folder / "index.html")
    return folder / "index.html"


def test_every_chart_is_a_drawing_with_a_name(browser, two_workloads):
    """To a reader who listens each chart of the page is a drawing with its own name."""
    page = browser.new_page()
    page.goto(two_workloads.as_uri())
    names = page.locator("figure.chart svg[role=graphics-document]").evaluate_all(
        "all => all.map((each) => each.getAttribute('aria-label'))"
    )
    page.close()
    assert len(names) == len(set(names)) > 20
    assert "PSNR of the tuned images over tuning time of workload 2" in names


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_rule_of_accessibility_is_broken(browser, two_workloads, scheme):
    """Axe finds no violation in light and in dark, with the lightbox closed and open, at entered prices too."""
    axe = importlib.import_module("axe_playwright_python.sync_playwright").Axe()
    page = browser.new_page(color_scheme=scheme, viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page.goto(two_workloads.as_uri())
    page.locator("input[data-price=hour]").last.fill("3")
    for each in page.locator("details").all():
        each.evaluate("part => { part.open = true; }")
    found = axe.run(page).response["violations"]
    page.locator("#w1-images td.tuned .enlarge:visible").first.click()
    found += axe.run(page).response["violations"]
    page.close()
    assert [(each["id"], each["nodes"][0]["html"][:200], each["nodes"][0]["failureSummary"]) for each in found] == []


def test_a_phone_needs_no_sideways_scrolling(browser, file):
    """At a phone's width the page itself does not scroll sideways."""
    page = browser.new_page(viewport={"width": 360, "height": 740})
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.close()


@pytest.mark.parametrize(("width", "hidden"), [(390, True), (1920, False)])
def test_the_headline_uses_the_room_there_is(browser, file, width, hidden):
    """In a wide window no column is hidden; on a phone the names leave room, and a shadow says there is more."""
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(file.as_uri())
    table = page.get_by_role("region", name="Headline numbers")
    names = page.locator("#w1-numbers tbody th").first
    assert names.bounding_box()["width"] <= 0.4 * width + 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert table.evaluate("each => each.scrollWidth > each.clientWidth") is hidden
    shadow = "each => getComputedStyle(each).boxShadow !== 'none'"
    assert table.evaluate(shadow) is hidden
    table.evaluate("each => each.scrollTo(10000, 0)")
    page.wait_for_timeout(200)
    assert table.evaluate(shadow) is False
    page.close()


def test_a_phone_shows_the_last_mark_of_every_chart(browser, file):
    """At a phone's width each chart is seen whole, or a shadow says that it goes on."""
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(file.as_uri())
    page.wait_for_timeout(200)
    cut = page.locator("figure.chart").evaluate_all("""all => all.filter((each) => {
        const beyond = each.querySelector("svg")?.getBoundingClientRect().right > each.getBoundingClientRect().right;
        return beyond && getComputedStyle(each).boxShadow === "none";
    }).length""")
    assert cut == 0
    page.close()


@pytest.fixture
def served(file):
    """Serves the page on the loopback with a policy of the test's choice."""
    policies = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def end_headers(self):
            self.send_header("Content-Security-Policy", policies[-1])
            super().end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=file.parent))
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def serve(policy):
        policies.append(policy)
        return f"http://127.0.0.1:{server.server_port}/index.html"

    yield serve
    server.shutdown()
    server.server_close()


def test_without_scripts_everything_stands_there(browser, served):
    """Under script-src 'none' answers, tables, charts and pictures are there, and no control that needs a script."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(served("script-src 'none'"))
    assert "decided, grade C\n" in (said := page.locator("#w1 li").first.inner_text())
    assert "Machine A" in said
    assert len(column(page, 1)) == 3
    assert page.locator("figure.chart svg").count() > 10
    assert page.locator("#w1-images img:visible").count() == 4 * (3 + 3)
    assert page.locator("button:visible, input[type=number]:visible, input[type=search]:visible").count() == 0
    page.get_by_role("radio", name="15.0 s").check(force=True)
    assert page.locator("#w1-images img:visible").count() == 4 * (3 + 3)
    page.close()


def test_under_the_strictest_policy_text_and_tables_read(browser, served):
    """Where styles, pictures and scripts are blocked, answers, numbers, captions and scores still read."""
    page = browser.new_page()
    page.goto(served(STRICTEST))
    assert "decided, grade C\n" in (said := page.locator("#w1 li").first.inner_text())
    assert "Machine A" in said
    assert len(column(page, 1)) == 3
    pictures = page.locator("#w1-images").inner_text()
    assert "a cup of coffee on a table" in pictures
    assert "dB · SSIM" in pictures
    assert page.locator("figure.chart svg").first.bounding_box()["width"] < 1000
    page.close()


def test_print_shows_everything_but_the_controls(browser, file):
    """On paper no control is left and stored prices stand where fields are on the screen."""
    page = browser.new_page()
    page.goto(file.as_uri())
    page.emulate_media(media="print")
    assert page.locator("button:visible:not(th button, .enlarge)").count() == 0
    assert page.locator("input:visible:not(.choice input)").count() == 0
    assert page.locator(".choice label:visible").inner_text() == "60.0 s"
    assert page.locator("#w1-tradeoffs td span:visible").first.inner_text() == "0.500"
    hidden = "all => all.filter((each) => !each.checkVisibility()).map((each) => each.textContent.slice(0, 60))"
    assert page.locator("details table, details pre").evaluate_all(hidden) == []
    wide = [each.bounding_box() for each in page.locator("#w1-quality .charts > figure").all()[:2]]
    assert wide[0]["y"] == wide[1]["y"]
    page.emulate_media(media="screen")
    for event, opened in (("beforeprint", True), ("afterprint", False)):
        page.evaluate("event => dispatchEvent(new Event(event))", event)
        assert page.locator("details").evaluate_all("all => all.some((each) => each.open)") is opened
    page.close()


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
    write_report([tmp_path], tmp_path / "index.html")
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
