"""One file as a square sRGB picture, whatever its format."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from fluxkit.dataset.picture_loader import load_image, pixel_sha256
from fluxkit.errors import MachineError

ROTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}
"""EXIF orientation tag: how the stored pixels differ from the upright picture."""


def picture(width: int = 90, height: int = 70) -> Image.Image:
    """A colourful picture without any symmetry."""
    rows, columns = np.mgrid[0:height, 0:width]
    red, green = 255 * columns // width, 255 * rows // height
    blue = (columns * rows) % 256
    return Image.fromarray(np.stack([red, green, blue], -1).astype(np.uint8))


def pixels(path: Path, resolution: int = 32) -> np.ndarray:
    return np.asarray(load_image(path, resolution)).astype(int)


@pytest.mark.parametrize("tag", ROTATIONS)
@pytest.mark.parametrize(
    ("suffix", "mode"), [("png", "RGB"), ("tiff", "RGB"), ("tiff", "L"), ("tiff", "CMYK"), ("webp", "RGB")]
)
def test_a_picture_turned_by_its_exif_tag_equals_its_upright_twin(tmp_path, tag, suffix, mode):
    """Stored pixels are turned upright before anything else happens to them, whatever file they are stored in."""
    drawn = picture().convert(mode)
    exif = Image.Exif()
    exif[0x0112] = tag
    lossless = {"lossless": True} if suffix == "webp" else {}
    drawn.convert("RGB").save(tmp_path / "upright.png")
    drawn.transpose(ROTATIONS[tag]).save(tmp_path / f"turned.{suffix}", exif=exif, **lossless)
    assert (pixels(tmp_path / "upright.png") == pixels(tmp_path / f"turned.{suffix}")).all()


def test_the_shorter_side_is_scaled_and_the_centre_is_kept(tmp_path: Path) -> None:
    """A wide picture loses its left and right ends, equally."""
    wide = Image.new("RGB", (120, 40), "red")
    wide.paste("blue", (40, 0, 80, 40))
    wide.save(tmp_path / "wide.png")
    loaded = load_image(tmp_path / "wide.png", 20)
    assert (loaded.mode, loaded.size) == ("RGB", (20, 20))
    assert (np.asarray(loaded)[:, 4:-4] == (0, 0, 255)).all()
    assert (np.asarray(loaded) == np.asarray(loaded)[:, ::-1]).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_shows_white(tmp_path: Path, mode: str) -> None:
    """What lies under a transparent pixel never shows; half transparent is half white."""
    file = tmp_path / "alpha.png"
    if mode == "P":
        indexed = Image.new("P", (40, 40), 0)
        indexed.putpalette([0] * 6)
        indexed.paste(1, (20, 0, 40, 40))
        indexed.save(file, transparency=bytes([0, 128]))
    else:
        layered = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
        layered.paste((0, 0, 0, 128), (20, 0, 40, 40))
        layered.convert(mode).save(file)
    loaded = pixels(file, 40)
    assert (loaded[:, :20] == 255).all()
    assert abs(loaded[:, 20:] - 127).max() <= 1


def test_grey_palette_and_one_bit_pictures_keep_their_values(tmp_path: Path) -> None:
    """8-bit grey, an indexed palette and black and white come out as the same colours in RGB."""
    grey = picture().convert("L")
    grey.save(tmp_path / "grey.png")
    grey.convert("RGB").save(tmp_path / "colour.png")
    assert (pixels(tmp_path / "grey.png") == pixels(tmp_path / "colour.png")).all()

    indexed = picture().quantize(16)
    indexed.save(tmp_path / "indexed.png")
    indexed.convert("RGB").save(tmp_path / "direct.png")
    assert (pixels(tmp_path / "indexed.png") == pixels(tmp_path / "direct.png")).all()

    Image.new("1", (40, 40), 1).save(tmp_path / "white.png")
    assert (pixels(tmp_path / "white.png") == 255).all()


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    """A 16-bit grey picture equals its 8-bit twin."""
    grey = np.asarray(picture().convert("L"))
    Image.fromarray(grey).save(tmp_path / "eight.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    assert (pixels(tmp_path / "eight.png") == pixels(tmp_path / "sixteen.png")).all()


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    """Full ink of each printing colour becomes its RGB complement."""
    Image.new("CMYK", (40, 40), (255, 0, 0, 0)).save(tmp_path / "cyan.tif")
    assert (pixels(tmp_path / "cyan.tif") == (0, 255, 255)).all()


def test_an_embedded_profile_is_applied_and_a_broken_one_ignored(tmp_path: Path) -> None:
    """An sRGB profile changes nothing, and bytes that are no profile don't stop a picture."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture().save(tmp_path / "plain.png")
    picture().save(tmp_path / "srgb.png", icc_profile=profile)
    picture().save(tmp_path / "broken.png", icc_profile=b"no profile")
    plain = pixels(tmp_path / "plain.png")
    assert abs(plain - pixels(tmp_path / "srgb.png")).max() <= 1
    assert (plain == pixels(tmp_path / "broken.png")).all()


def test_a_picture_too_small_is_refused_with_its_size(tmp_path: Path) -> None:
    """Nothing is ever scaled up in silence."""
    picture(90, 31).save(tmp_path / "small.png")
    with pytest.raises(MachineError, match=r"small\.png is 90x31 pixels, smaller than the resolution 32"):
        load_image(tmp_path / "small.png", 32)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_truncated_picture_is_named(tmp_path: Path, suffix: str) -> None:
    """A file cut in half is an error of one sentence, not half a picture."""
    whole = tmp_path / f"whole.{suffix}"
    picture(200, 200).save(whole)
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(MachineError, match=rf"cut\.{suffix} is a truncated or broken image \(\w+\)\.$"):
        load_image(cut, 32)


def test_files_that_are_no_pictures_are_named(tmp_path: Path) -> None:
    """Text, a missing file and floating-point pixels are each refused in one sentence."""
    (tmp_path / "notes.png").write_text("not an image")
    Image.new("F", (40, 40)).save(tmp_path / "float.tif")
    for name, reason in {
        "notes.png": "not an image in a format",
        "gone.png": "does not exist",
        "float.tif": "floating-point or 32-bit pixels.*save it with 8 or 16 bits",
    }.items():
        with pytest.raises(MachineError, match=rf"{name} .*{reason}"):
            load_image(tmp_path / name, 32)


@pytest.mark.parametrize("side", [12_000, 60_000])
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path, side: int) -> None:
    """A small file that would unpack to gigabytes costs nothing."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    data = b"IDAT" + zlib.compress(b"")
    png += struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    (tmp_path / "bomb.png").write_bytes(png)
    with pytest.raises(MachineError, match=r"bomb\.png has more than \d+ pixels"):
        load_image(tmp_path / "bomb.png", 32)


def test_the_pixel_hash_depends_on_the_picture_alone(tmp_path: Path) -> None:
    """The same pixels in another format hash the same; the same bytes in another shape do not."""
    picture().save(tmp_path / "a.png")
    picture().save(tmp_path / "a.bmp")
    first, second = (load_image(tmp_path / name, 32) for name in ("a.png", "a.bmp"))
    assert pixel_sha256(first) == pixel_sha256(second)
    flat = Image.new("RGB", (20, 10))
    assert pixel_sha256(flat) != pixel_sha256(flat.resize((10, 20)))
