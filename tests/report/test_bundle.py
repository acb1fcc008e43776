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


def test_results_are_kept_over_themselves(study_page, tmp_path):
    """A page's own results may be what the page is made of again: nothing of them is lost."""
    write_bundle(find_results([study_page[0]]), tmp_path / "results")
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    write_bundle(find_results([tmp_path]), tmp_path / "results")
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()} == before
    write_bundle(find_results([tmp_path]), tmp_path / "results", pictures=False)
    assert not list(tmp_path.rglob("*.png"))
