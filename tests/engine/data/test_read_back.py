"""What the engine reads back from disk is what it wrote: tensors, hashes of weights, checkpoints."""

import os
import random

import pytest
import torch
from PIL import Image

from fluxkit.engine.data.tensor_cache import cached_tensors
from fluxkit.engine.data.tensor_file import DamagedTensorsError, TensorFile, save_tensors
from fluxkit.engine.evaluate import protocols
from fluxkit.engine.process.event_log import EventLog
from fluxkit.files import file_hashes
from fluxkit.files.atomic_file import file_sha256, written_whole
from fluxkit.record.events import Progress

TENSORS = {
    "weight": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "step": torch.tensor(3.0),
    "half": torch.ones(4, dtype=torch.bfloat16),
}


def test_every_flipped_bit_of_saved_tensors_is_found(tmp_path):
    """Tensors come back equal; with any one bit of their file flipped they do not come back at all."""
    file, draw = tmp_path / "a.safetensors", random.Random(3)
    save_tensors(file, TENSORS, {"iteration": 7})
    whole = file.read_bytes()
    assert {name: tensor.tolist() for name, tensor in TensorFile(file).items()} == {
        name: tensor.tolist() for name, tensor in TENSORS.items()
    }
    for _ in range(300):
        place = draw.randrange(len(whole) * 8)
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        file.write_bytes(flipped)
        with pytest.raises(DamagedTensorsError):
            dict(TensorFile(file))


def test_a_damaged_cache_entry_is_made_again(tmp_path, monkeypatch):
    """A flipped bit, an emptied file and a file without hashes all cost the time to encode, and change no number."""
    monkeypatch.setenv("FLUXKIT_CACHE", str(tmp_path))
    made = []

    def make(places):
        made.append(places)
        return [{"latents": torch.ones(4)} for _ in places]

    cached_tensors("latents", ["a" * 64], make)
    (entry,) = (tmp_path / "latents").rglob("*.safetensors")
    whole = entry.read_bytes()
    for damaged in (whole[:-1] + bytes([whole[-1] ^ 1]), b"", whole[:40]):
        entry.write_bytes(damaged)
        (tensors,) = cached_tensors("latents", ["a" * 64], make)
        assert tensors["latents"].tolist() == [1.0] * 4
    assert len(made) == 4
    assert entry.read_bytes() == whole


@pytest.mark.parametrize("damage", [b"", b"0" * 64, b"\xff", b"0" * 64 + b" " + b"0" * 64])
def test_a_damaged_note_of_a_hash_is_made_again(tmp_path, monkeypatch, damage):
    """An emptied or changed note in the cache does not change which weights a run says it used."""
    monkeypatch.setenv("FLUXKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(file_hashes, "SETTLED_SECONDS", -1.0)  # the file was written just now
    (tmp_path / "weights").write_bytes(b"weights")
    expected = file_sha256(tmp_path / "weights")
    assert file_hashes.cached_file_sha256(tmp_path / "weights") == expected
    (note,) = (tmp_path / "cache" / "hashes").iterdir()
    note.write_bytes(damage)
    assert file_hashes.cached_file_sha256(tmp_path / "weights") == expected


def test_a_picture_that_could_not_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    """A picture is there whole or not at all, and nothing else is left beside it."""
    red, torn = torch.zeros(4, 4, 3, dtype=torch.uint8).numpy(), OSError("No space left on device")
    protocols.save_image(tmp_path, "samples/a.png", red)
    before = (tmp_path / "samples" / "a.png").read_bytes()

    def tear(_image, path, **_):
        path.write_bytes(b"half")
        raise torn

    monkeypatch.setattr(Image.Image, "save", tear)
    with pytest.raises(OSError, match="No space"):
        protocols.save_image(tmp_path, "samples/a.png", red)
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["a.png"]
    assert (tmp_path / "samples" / "a.png").read_bytes() == before


def test_a_folder_takes_the_place_of_the_one_before_it(tmp_path):
    """An adapter's folder is replaced whole; where making it fails, the one before stays."""
    for content in ("old", "new"):
        with written_whole(tmp_path / "adapter") as temporary:
            temporary.mkdir()
            (temporary / "a").write_text(content)
    with pytest.raises(FileNotFoundError), written_whole(tmp_path / "adapter"):
        pass  # nothing was made
    assert [(path.name, (path / "a").read_text()) for path in tmp_path.iterdir()] == [("adapter", "new")]


def test_events_are_on_disk_before_what_refers_to_them(tmp_path, monkeypatch, request):
    """Flushing a log syncs the very file that holds its events."""
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    log = EventLog(tmp_path, rank=0, attempt=0)
    request.addfinalizer(log._file.close)
    log.write(Progress, done=1, total=2, what="x")
    log.flush_to_disk()
    (file,) = (tmp_path / "events").iterdir()
    assert synced[-1] == file.stat().st_ino
    assert file.read_text().endswith("\n")
