"""The committed reports are what their results say, byte for byte, and their results are verified."""

from __future__ import annotations

from pathlib import Path

import pytest

from fluxkit.published import load_published
from fluxkit.report import write_report
from fluxkit.verify import verify_all

REPORTS = Path(__file__).parent.parent / "reports"
COMMITTED = sorted(folder.parent for folder in REPORTS.glob("*/results") if folder.is_dir())


@pytest.mark.skipif(bool(COMMITTED), reason="there are committed reports, and they are tested one by one")
def test_without_a_committed_report_it_is_said():
    """Where no report with results is committed, this says so instead of passing in silence."""
    pytest.skip(f"no report with results is committed under {REPORTS.name}/")


@pytest.mark.parametrize("study", COMMITTED, ids=lambda folder: folder.name)
def test_a_committed_page_is_rendered_again_byte_for_byte(study, tmp_path):
    """The page of a committed study follows from the results beside it, to the last byte."""
    write_report([study / "results"], tmp_path / "index.html", [load_published("original-study")])
    assert (tmp_path / "index.html").read_bytes() == (study / "index.html").read_bytes()


@pytest.mark.parametrize("study", COMMITTED, ids=lambda folder: folder.name)
def test_committed_results_are_verified_and_small(study):
    """Every committed result verifies, and a study with its page stays small enough for version control."""
    assert not [problem for _, found in verify_all([study / "results"]) for problem in found]
    assert sum(file.stat().st_size for file in study.rglob("*") if file.is_file()) < 8_000_000
