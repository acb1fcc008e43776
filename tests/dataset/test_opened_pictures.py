"""A picture is opened once; what lies in the cache is the same to the pixel, or is made again."""

import sys
from types import SimpleNamespace

import pytest
from PIL import Image

from fluxkit.dataset import opened_pictures
from fluxkit.dataset.folder_walk import UnusableError
from fluxkit.dataset.opened_pictures import load_once
from fluxkit.dataset.picture_file import decoders
from fluxkit.dataset.picture_loader import load_square
from fluxkit.files.cache import cache_folder


@pytest.fixture
def picture(tmp_path, monkeypatch):
    monkeypatch.setenv("FLUXKIT_CACHE", str(tmp_path / "cache"))
    Image.radial_gradient("L").convert("RGB").save(tmp_path / "one.png")
    return tmp_path / "one.png"


def test_the_second_time_nothing_is_decoded(picture, monkeypatch):
    """The same pixels come from the cache, at each resolution its own."""
    first, small = load_once(picture, 64, False), load_once(picture, 32, False)
    monkeypatch.setattr(opened_pictures, "load_square", pytest.fail)
    assert load_once(picture, 64, False).tobytes() == first.tobytes() == load_square(picture, 64, False).tobytes()
    assert load_once(picture, 32, False).tobytes() == small.tobytes()


def test_a_changed_picture_is_another_entry(picture):
    """The content decides, not the name."""
    before = load_once(picture, 64, False)
    Image.new("RGB", (256, 256), "red").save(picture)
    assert load_once(picture, 64, False).tobytes() != before.tobytes()


def test_another_decoder_makes_another_entry(picture, monkeypatch):
    """Pixels depend on Pillow, its libraries and the packages that taught it a format, so the key holds them all."""
    load_once(picture, 64, False)
    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(__version__="9.9"))
    decoders.cache_clear()
    load_once(picture, 64, False)
    assert "9.9" in decoders()
    decoders.cache_clear()
    assert len(list((cache_folder() / "pictures").rglob("*.safetensors"))) == 2


@pytest.mark.parametrize(
    "damage", [lambda content: content[:100], lambda content: content[:-1] + b"\x01", lambda _: b""]
)
def test_a_damaged_entry_is_made_again(picture, damage):
    """A file that was cut short or changed on disk is as good as none."""
    before = load_once(picture, 64, False)
    (file,) = (cache_folder() / "pictures").rglob("*.safetensors")
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert load_once(picture, 64, False).tobytes() == before.tobytes()
    assert file.read_bytes() == whole


def test_an_entry_is_a_safetensors_file(picture):
    """Anybody can read it."""
    from safetensors.numpy import load_file

    image = load_once(picture, 64, False)
    (file,) = (cache_folder() / "pictures").rglob("*.safetensors")
    assert load_file(file)["rgb_HWC"].tobytes() == image.tobytes()


def test_what_cannot_be_used_is_said_each_time(picture):
    """A refusal is not remembered, and a missing file is told as ever."""
    with pytest.raises(UnusableError, match="smaller than the resolution"):
        load_once(picture, 512, False)
    with pytest.raises(UnusableError, match="does not exist"):
        load_once(picture.with_name("none.png"), 64, False)
