"""`fluxkit.report.picture_grid`: which pictures stand on the page, and what it says of those that do not."""

import re

import builders
from pages import Page, rendered, written

from fluxkit.record.run_folder import write_result


def test_pictures_have_alternative_texts_and_scores(study_page):
    """Every picture is embedded with a text, and tiles say PSNR and SSIM."""
    page = Page(study_page[1])
    texts = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    embedded = [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    assert len(embedded) == len([text for text in texts if text]) == 4 * (3 + 2 * 4)
    assert "Untuned model: a cup of coffee on a table" in texts
    assert re.search(r"\d+\.\d dB · SSIM 0\.\d\d", study_page[1])


def test_a_lone_result_renders_without_pictures(tmp_path):
    """A result.json alone gives a whole page that says its images are not beside it."""
    write_result(tmp_path, builders.result())
    page = written(tmp_path / "result.json", tmp_path / "page.html")
    assert "images (images not beside the results)" in page
    assert "data:image" not in page.split("<style>")[1]


def test_a_missing_picture_is_said_on_its_tile(tmp_path):
    """One missing picture leaves the others and its score in place."""
    folder = builders.run_folder(tmp_path / "run", builders.result())
    (folder / "samples" / "real-0.png").unlink()
    page = written(folder, tmp_path / "page.html")
    assert "— (image not beside it)" in page
    assert page.count('<img src="data:image/jpeg') == 4 * (3 + 4) - 1


def test_a_picture_that_was_cut_short_is_not_shown_as_an_empty_one(tmp_path):
    """A PNG without all of its pixels is said to be missing instead of being drawn white."""
    folder = builders.run_folder(tmp_path / "run", builders.result())
    file = folder / "samples" / "real-0.png"
    file.write_bytes(file.read_bytes()[:-30])
    assert "— (image not beside it)" in written(folder, tmp_path / "page.html")


def test_heavy_pictures_are_fewer_and_the_page_says_so(tmp_path, monkeypatch):
    """When the pictures do not all fit, whole pairs are left out and the page says how many."""
    monkeypatch.setattr("fluxkit.report.page.MAX_TOTAL_BYTES", 6000)
    folder = builders.run_folder(tmp_path / "run", builders.result())
    assert re.search(r"[123] of 4 pairs", written(folder, tmp_path / "page.html"))


def test_configurations_without_pictures_are_named_with_the_reason(tmp_path):
    """A configuration that has no column among the pictures is named, and weights that cannot draw are the reason."""
    runs = {}
    for name in ("with", "without"):
        asked = builders.spec(name=name, execution={"threads": len(name)}, hardware={"label": f"Machine {name}"})
        runs[name] = builders.result(of=asked)
    builders.run_folder(tmp_path / "with", runs["with"])
    write_result(tmp_path / "without", runs["without"])
    assert "No pictures of Machine without: images not beside the results." in written(tmp_path, tmp_path / "page.html")
    asked = builders.spec(model={"family": "schnell", "weights": "random"})
    blind = runs["with"].model_copy(update={"spec": asked, "quality": None})
    assert "images (random weights generate nothing)" in rendered([blind])
