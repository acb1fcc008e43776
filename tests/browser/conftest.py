"""One Chromium, and the page opened in it."""

from __future__ import annotations

import importlib
import os
import shutil

import pytest
from browsed import HERE, priced_page

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
REQUIRED = os.environ.get("FLUXKIT_REQUIRE_BROWSER") == "1"


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


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The page that most tests look at."""
    return priced_page(tmp_path_factory.mktemp("here"), HERE)


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
