"""The page wherever it is read: to who listens, on a phone, in print, without scripts, under strict policies."""

from __future__ import annotations

import functools
import http.server
import importlib
import re
import threading
from pathlib import Path

import builders
import pytest
from browsed import HERE, column, study
from many_results import write_results
from pages import written

from fluxkit.compare.published import load_published

STRICTEST = "sandbox; default-src 'none'; img-src 'self'; style-src 'self'"
"""What a continuous-integration server sends with the files that it keeps."""


@pytest.fixture(scope="module")
def two_workloads(tmp_path_factory):
    """A page of results that may not be compared: every table and chart stands on it twice."""
    folder = tmp_path_factory.mktemp("two")
    other = builders.spec(name="other", tune={"seconds": 30.0, "iterations": 100})
    for result in [*study(*HERE), builders.result(of=other), builders.result(of=other, repeat=1)]:
        builders.run_folder(folder / result.id, result, side=24)
    written(folder, folder / "index.html")
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
    page.locator("input[data-key]").first.fill("3")
    violations = axe.run(page).response["violations"]
    for each in page.locator("details").all():
        each.evaluate("part => { part.open = true; }")
    found = violations + axe.run(page).response["violations"]
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
    said = page.locator("#w1 li").first.inner_text()
    assert all(words in said for words in ("decided", "200 iterations in", "grade C: in doubt", "Machine A"))
    assert len(column(page, 1)) == 3
    assert page.locator("figure.chart svg").count() > 10
    assert page.locator("#w1-images img:visible").count() == 4 * (3 + 3)
    assert page.locator("button:visible, input[type=number]:visible, input[type=search]:visible").count() == 0
    page.get_by_role("radio", name="15 s").check(force=True)
    assert page.locator("#w1-images img:visible").count() == 4 * (3 + 3)
    page.close()


def test_under_the_strictest_policy_text_and_tables_read(browser, served):
    """Where styles, pictures and scripts are blocked, answers, numbers, captions and scores still read."""
    page = browser.new_page()
    page.goto(served(STRICTEST))
    said = page.locator("#w1 li").first.inner_text()
    assert all(words in said for words in ("decided", "200 iterations in", "grade C: in doubt", "Machine A"))
    assert len(column(page, 1)) == 3
    pictures = page.locator("#w1-images").inner_text()
    assert "a cup of coffee on a table" in pictures
    assert "dB · SSIM" in pictures
    assert page.locator("figure.chart svg").first.bounding_box()["width"] < 1000
    page.close()


def test_print_shows_everything_but_the_controls(browser, file):
    """On paper no control is left, proofs are open, and it says where the environment and the tables of charts are."""
    page = browser.new_page()
    page.goto(file.as_uri())
    page.emulate_media(media="print")
    assert page.locator("button:visible:not(th button, .enlarge)").count() == 0
    assert page.locator("input:visible:not(.choice input)").count() == 0
    assert page.locator(".choice label:visible").inner_text() == "60 s"
    assert page.locator("#w1-tradeoffs table.prices td").first.inner_text() == "0.5 USD/h + 0.3 USD/kWh"
    hidden = "all => all.filter((each) => !each.checkVisibility()).map((each) => each.textContent.slice(0, 60))"
    assert page.locator("details.printed table, details.printed dl").evaluate_all(hidden) == []
    assert page.locator("#w1-environment:visible, figure details:visible").count() == 0
    assert "are left out: open this page's file" in page.locator(".paper").inner_text()
    wide = [each.bounding_box() for each in page.locator("#w1-quality .charts > figure").all()[:2]]
    assert wide[0]["y"] == wide[1]["y"]
    page.emulate_media(media="screen")
    for event, opened in (("beforeprint", True), ("afterprint", False)):
        page.evaluate("event => dispatchEvent(new Event(event))", event)
        assert page.locator("details.printed").evaluate_all("all => all.some((each) => each.open)") is opened
    page.close()


LAPTOP = Path(__file__).parents[2] / "reports" / "laptop" / "results"


def test_contents_stand_at_the_left_and_are_a_closed_list_on_a_phone(browser, served):
    """Without a script the contents stay in view beside the page; a phone has them as a list that opens."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(served("script-src 'none'"))
    side = page.get_by_role("navigation", name="Contents", exact=True)
    page.evaluate("scrollTo(0, 3000)")
    assert side.bounding_box()["y"] == 0
    assert all(page.locator(link.get_attribute("href")).count() == 1 for link in side.get_by_role("link").all())
    page.set_viewport_size({"width": 390, "height": 844})
    assert not side.is_visible()
    phone = page.get_by_role("navigation", name="Contents, in short")
    assert phone.get_by_role("link").count() == 0
    phone.get_by_text("Contents", exact=True).click()
    assert phone.get_by_role("link", name="Reliability").is_visible()
    page.close()


def test_the_laptop_study_is_short(browser, tmp_path):
    """On paper it has ten pages at most; with a configuration more, half of the words and height it once had."""
    written(LAPTOP, tmp_path / "index.html", [load_published("original-study")])
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto((tmp_path / "index.html").as_uri())
    assert page.evaluate("document.documentElement.scrollHeight") <= 9300
    assert len(page.locator("body").inner_text().split()) <= 2850
    assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4"))) <= 10
    page.close()


def test_twenty_configurations_print_on_fourteen_pages(browser, tmp_path):
    """On paper each configuration keeps its row in every table, and the pictures of five of them stand for all."""
    written(write_results(tmp_path / "runs", 20, 3), tmp_path / "index.html")
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto((tmp_path / "index.html").as_uri())
    assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4"))) <= 14
    page.emulate_media(media="print")
    for table in ("#w1-numbers", "table.prices", "table.board"):
        assert page.locator(f"{table} tbody tr:visible").count() == 20
    assert page.locator("#w1-numbers thead th[data-cost]:visible").count() == 1
    assert page.locator("table.prices td[data-cost]:visible").count() == 20 * 5
    assert page.locator(".pictures thead th[data-configuration]:visible").count() == 5
    assert page.get_by_text("On paper are the pictures of the first five").is_visible()
    page.close()


def test_captions_and_real_photos_stay_in_view(browser, file):
    """Where the pictures go on sideways, the caption and the real photo stay."""
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(file.as_uri())
    region = page.get_by_role("region", name="Images of every configuration")
    cells = [region.locator("tbody tr").first.locator(part) for part in ("th", "td.real")]
    before = [cell.bounding_box()["x"] for cell in cells]
    region.evaluate("each => each.scrollTo(400, 0)")
    assert [cell.bounding_box()["x"] for cell in cells] == pytest.approx(before, abs=12)
    assert region.evaluate("each => each.scrollLeft") > 100
    page.close()
