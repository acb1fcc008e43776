"""What strangers' names can't make the page's scripts do in a real browser."""

from __future__ import annotations

import builders
from pages import written

from fluxkit.record.result import RunResult


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
    written(tmp_path, tmp_path / "index.html")
    page = browser.new_page()
    said, before = [], "document.querySelectorAll('img').length"
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("console", lambda message: said.append(message.text))
    page.goto((tmp_path / "index.html").as_uri())
    images = page.evaluate(before)
    page.locator("input[data-key]").first.fill("9")
    assert f"1{hostile}" in page.locator('li[data-quantity="usd_per_adapter"] ol').inner_text()
    page.get_by_label("Filter configurations").fill("onerror")
    page.locator("#w1-images td.tuned .enlarge:visible").first.click()
    assert hostile in page.locator("#lightbox").inner_text()
    assert page.evaluate(before) == images + page.locator("#lightbox .strip img").count()
    assert said == []
    page.close()
