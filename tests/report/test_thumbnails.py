"""`fluxkit.report.thumbnails`: one picture for a page, from inside its run folder, checked and made small."""

import io

import pytest
from PIL import Image

from fluxkit.report.thumbnails import LARGE, MAX_PIXELS_A_SIDE, SMALL, jpeg_copy


def stored(folder, picture, form="PNG", **options):
    """The picture in a file of the folder that is named like a PNG."""
    picture.save(folder / "a.png", form, **options)
    return folder, "a.png"


@pytest.mark.parametrize(("copy", "size"), [(LARGE, (256, 128)), (SMALL, (160, 80))])
def test_a_large_picture_is_made_smaller_and_keeps_its_shape(tmp_path, copy, size):
    """The longer side is that of the copy, the colours stay near those stored, and equal files give equal bytes."""
    small = jpeg_copy(*stored(tmp_path, Image.new("RGB", (400, 200), (200, 100, 50))), copy)
    decoded = Image.open(io.BytesIO(small.content))
    assert (small.width, small.height) == decoded.size == size
    assert all(abs(a - b) <= 3 for a, b in zip(decoded.getpixel((9, 9)), (200, 100, 50), strict=True))
    (tmp_path / "b").mkdir()
    assert jpeg_copy(*stored(tmp_path / "b", Image.new("RGB", (400, 200), (200, 100, 50))), copy) == small


def test_a_small_picture_keeps_its_size(tmp_path):
    """Nothing is enlarged: the page does that, pixel by pixel."""
    small = jpeg_copy(*stored(tmp_path, Image.new("RGB", (64, 48))), LARGE)
    assert (small.width, small.height) == (64, 48)


def test_what_is_no_whole_png_of_eight_bits_is_refused(tmp_path):
    """Other formats, 16-bit grey, sides beyond the limit and more pixels than memory should hold are no pictures."""
    assert jpeg_copy(*stored(tmp_path, Image.new("RGB", (8, 8)), "JPEG"), LARGE) is None
    assert jpeg_copy(*stored(tmp_path, Image.new("I;16", (8, 8))), LARGE) is None
    assert jpeg_copy(*stored(tmp_path, Image.new("1", (MAX_PIXELS_A_SIDE + 1, 1))), LARGE) is None
    assert jpeg_copy(*stored(tmp_path, Image.new("1", (12_000, 9_000))), LARGE) is None
    assert jpeg_copy(*stored(tmp_path, Image.new("1", (20_000, 10_000))), LARGE) is None
    (tmp_path / "a.png").write_bytes(b"")
    assert jpeg_copy(tmp_path, "a.png", LARGE) is None


def test_a_file_beyond_the_limit_is_not_read(tmp_path, monkeypatch):
    """A file with more bytes than the limit is no picture, whatever is in it."""
    named = stored(tmp_path, Image.new("RGB", (8, 8)))
    monkeypatch.setattr("fluxkit.report.thumbnails.MAX_FILE_BYTES", (tmp_path / "a.png").stat().st_size - 1)
    assert jpeg_copy(*named, LARGE) is None


def test_a_picture_outside_the_run_folder_is_not_read(tmp_path):
    """A path that leads out of the folder shows nothing of what lies there."""
    stored(tmp_path, Image.new("RGB", (8, 8)))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "out.png").symlink_to(tmp_path / "a.png")
    assert jpeg_copy(tmp_path / "run", "../a.png", LARGE) is None
    assert jpeg_copy(tmp_path / "run", "out.png", LARGE) is None


def test_a_copy_takes_over_no_texts_of_the_file(tmp_path):
    """Comments of a stranger's file do not come onto the page."""
    from PIL.PngImagePlugin import PngInfo

    texts = PngInfo()
    texts.add_text("comment", "said by a stranger")
    small = jpeg_copy(*stored(tmp_path, Image.new("RGB", (8, 8)), pnginfo=texts), LARGE)
    assert b"stranger" not in small.content
