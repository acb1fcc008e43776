"""The committed reports are what their results say, byte for byte, and their results are verified."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import written

from fluxkit.compare.published import load_published
from fluxkit.fold.verify import verify_all

REPORTS = Path(__file__).parents[2] / "reports"
COMMITTED = sorted(folder.parent for folder in REPORTS.glob("*/results") if folder.is_dir())


SKIP = pytest.mark.skip(reason="no report with results is committed under reports/")
each_committed = pytest.mark.parametrize(
    "study",
    [pytest.param(folder, id=folder.name) for folder in COMMITTED] or [pytest.param(None, marks=SKIP, id="none")],
)


def made_with(page):
    """Versions of the packages that decide a page's bytes, as it says."""
    return re.search(r'<meta name="generator" content="([^"]*)">', page)[1]


@each_committed
def test_a_committed_page_is_rendered_again_byte_for_byte(study, tmp_path):
    """The page of a committed study follows from the results beside it, to the last byte, given the same packages."""
    committed = (study / "index.html").read_text("utf-8")
    again = written(study / "results", tmp_path / "index.html", [load_published("original-study")])
    if made_with(again) != made_with(committed):
        pytest.skip(f"the page was made by {made_with(committed)}, and here is {made_with(again)}")
    assert again == committed


@each_committed
def test_committed_results_are_verified_and_small(study):
    """Every committed result verifies, and a study with its page stays small enough for version control."""
    assert not [problem for verdict in verify_all([study / "results"]) for problem in verdict.problems]
    assert sum(file.stat().st_size for file in study.rglob("*") if file.is_file()) < 11_000_000
