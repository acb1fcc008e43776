"""People's own pictures: every kind of file through one loader, split by content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image

from fluxkit.dataset.picture_loader import load_pairs
from fluxkit.errors import MachineError
from fluxkit.spec.workload import DataSpec

PHOTOS = Path(skimage.__file__).parent / "data"
UGLY = {
    "cmyk.jpg": lambda image: image.convert("CMYK"),
    "grey.png": lambda image: image.convert("L"),
    "palette.gif": lambda image: image.convert("P"),
    "bits.png": lambda image: image.convert("1"),
    "deep.png": lambda image: Image.fromarray((np.asarray(image.convert("L")).astype(np.uint16)) * 257),
    "alpha.webp": lambda image: image.convert("RGBA"),
    "plain.tiff": lambda image: image,
}


def data(folder, **keys):
    return DataSpec(source="folder", path=str(folder), resolution=64, caption="a cat", **keys)


@pytest.fixture
def folder(tmp_path):
    """A folder of valid photographs in unusual formats."""
    cat = Image.open(PHOTOS / "chelsea.png").convert("RGB")
    for place, (name, convert) in enumerate(UGLY.items()):
        convert(cat.crop((place, 0, place + 200, 200))).save(tmp_path / name)
    return tmp_path


def test_ugly_but_valid_files_all_load(folder):
    """CMYK, grey, palette, one-bit, 16-bit, alpha and TIFF become 64-pixel RGB pictures."""
    pairs = load_pairs(data(folder)).used
    assert len(pairs) == len(UGLY)
    assert all(pair.image.mode == "RGB" and pair.image.size == (64, 64) for pair in pairs)


def test_a_rotated_twin_gives_the_same_pixels(tmp_path):
    """An EXIF-rotated picture and its upright twin are the same pair of pixels."""
    cat = Image.open(PHOTOS / "chelsea.png").convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    cat.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "lying.png", exif=exif)
    cat.save(tmp_path / "upright.png")
    first, second = load_pairs(data(tmp_path)).used
    assert first.pixels_sha256 == second.pixels_sha256
    assert first.cluster == second.cluster
    assert first.id != second.id


def test_the_split_depends_on_content_and_not_on_names(folder):
    """Renaming every file holds the same pictures out, and their share is as asked."""
    before = {pair.pixels_sha256 for pair in load_pairs(data(folder)).used if pair.split == "held_out"}
    for path in list(folder.iterdir()):
        path.rename(path.with_name(f"renamed-{path.name}"))
    after = {pair.pixels_sha256 for pair in load_pairs(data(folder)).used if pair.split == "held_out"}
    assert before == after
    assert len(before) == 3


def test_broken_files_are_all_named_before_any_tuning(folder):
    """A truncated file, one that is no image and one that is too small stop the run, each with its reason."""
    (folder / "text.png").write_text("no image")
    (folder / "cut.jpg").write_bytes((folder / "cmyk.jpg").read_bytes()[:500])
    Image.new("RGB", (30, 200)).save(folder / "small.png")
    with pytest.raises(MachineError) as caught:
        load_pairs(data(folder))
    sentence = str(caught.value)
    assert "3 files can't be used" in sentence
    for name in ("text.png", "cut.jpg", "small.png"):
        assert name in sentence
    assert "\n" not in sentence


def test_broken_files_may_be_skipped_and_counted(folder):
    """With on_error = "skip" the rest is used and what was left out is told."""
    (folder / "text.png").write_text("no image")
    pairs = load_pairs(data(folder, on_error="skip"))
    assert len(pairs.used) == len(UGLY)
    assert [problem.name for problem in pairs.skipped] == ["text.png"]


def test_nothing_to_tune_on_is_refused(tmp_path):
    """A folder of which every file is broken is refused even if skipping is allowed."""
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(MachineError, match="leaves no image to tune on"):
        load_pairs(data(tmp_path, on_error="skip"))


def test_photos_that_are_too_small_are_left_out_and_named():
    """At 256 pixels two held-out photos can't be used: a schnell preset runs on the others, and the result says so."""
    pairs = load_pairs(DataSpec(resolution=256))
    reasons = {problem.name: problem.reason for problem in pairs.skipped if not problem.name.startswith("a detail of")}
    assert set(reasons) == {"text.png", "microaneurysms.png"}
    assert "is 448x172 pixels, smaller than the resolution 256" in reasons["text.png"]
    assert len([pair for pair in pairs.used if pair.split != "regularization"]) == 15


def test_details_of_the_tuned_photos_are_regularization_images():
    """Three squares of every tuned photo, none of a held-out one; their captions say so, and no two pictures are equal."""
    used = load_pairs(DataSpec(resolution=64)).used
    details = [pair for pair in used if pair.split == "regularization"]
    tuned = {pair.id: pair.caption for pair in used if pair.split == "tuning"}
    assert sorted(pair.cluster for pair in details) == sorted([*tuned] * 3)
    assert all(pair.caption == f"a detail of {tuned[pair.cluster]}" for pair in details)
    assert len({pair.pixels_sha256 for pair in used}) == len(used)


def test_a_detail_that_is_too_small_is_left_out_and_named():
    """At 256 pixels the photo of the horse is used and its three details, 252 pixels at most, are not."""
    pairs = load_pairs(DataSpec(resolution=256))
    assert [pair.id for pair in pairs.used if pair.cluster == "horse"] == ["horse"]
    reasons = [problem.reason for problem in pairs.skipped if problem.name == "a detail of horse.png"]
    assert len(reasons) == 3
    assert "is 252x252 pixels, smaller than the resolution 256" in reasons


def test_where_only_sizes_matter_photos_are_enlarged():
    """Random weights need no more of a picture than its size, so every photo serves at every resolution."""
    pairs = load_pairs(DataSpec(resolution=1024), enlarge=True)
    assert len(pairs.used) == 17 + 9 * 3
    assert {pair.image.size for pair in pairs.used} == {(1024, 1024)}


def test_no_photo_large_enough_is_refused():
    """At 1024 pixels no embedded photo is left to tune on, which is one sentence."""
    with pytest.raises(MachineError, match="No embedded photo to tune on has 1024 pixels a side"):
        load_pairs(DataSpec(resolution=1024))
