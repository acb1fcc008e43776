"""`fluxkit.report.bundle`: what is kept beside a page gives the same page, and verifies."""

import pytest
from pages import written

from fluxkit.errors import UsageError
from fluxkit.record.run_folder import find_results
from fluxkit.report.bundle import write_bundle


def test_kept_results_give_the_same_numbers_and_pictures(study_page, tmp_path):
    """Results kept beside their page are whole in their raw values, hold the shown pictures alone, and verify."""
    kept = write_bundle(find_results([study_page[0]]), tmp_path / "results")
    page = written(tmp_path / "results", tmp_path / "index.html")
    assert page.count("<img src=") == study_page[1].count("<img src=")
    assert len(list((tmp_path / "results").rglob("*.png"))) < len(list(study_page[0].rglob("*.png")))
    for (_, before), (_, after) in zip(find_results([study_page[0]]), find_results(kept), strict=True):
        assert before.model_copy(update={"artifacts": ()}) == after.model_copy(update={"artifacts": ()})


def test_kept_results_are_put_beside_nothing_else(study_page, tmp_path):
    """A folder that holds another study's results is left as it is."""
    (tmp_path / "results" / "other").mkdir(parents=True)
    with pytest.raises(UsageError, match="holds other"):
        write_bundle(find_results([study_page[0]]), tmp_path / "results")
