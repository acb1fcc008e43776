"""Nothing in the cache is stale: keys hold everything that an entry depends on."""

import os

import pytest
import torch
from safetensors.torch import save_file

from fluxkit.engine.data import tensor_cache
from fluxkit.engine.data.tensor_cache import cached_tensors, computed_here
from fluxkit.files import file_hashes
from fluxkit.files.cache import entry
from fluxkit.files.file_hashes import cached_file_sha256

CPU = torch.device("cpu")


@pytest.mark.parametrize("package", ["torch", "diffusers", "transformers", "tokenizers"])
def test_another_version_is_another_entry(package, monkeypatch):
    """Each package that encodes is part of the key."""
    before = computed_here(CPU)
    real = tensor_cache.version
    monkeypatch.setattr(tensor_cache, "version", lambda name: "9.9" if name == package else real(name))
    assert computed_here(CPU) != before


def test_another_processor_or_other_threads_are_another_entry(monkeypatch):
    """A folder may be shared by machines whose sums round otherwise; equal ones share an entry."""
    before = computed_here(CPU)
    assert computed_here(CPU) == before
    monkeypatch.setattr(torch, "get_num_threads", lambda: 97)
    threads = computed_here(CPU)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "another")
    assert len({before, threads, computed_here(CPU)}) == 3


@pytest.mark.parametrize("facts", [None, {"fluxkit": "no JSON"}, {"another": "{}"}])
def test_a_damaged_entry_is_made_again(facts, tmp_path, monkeypatch):
    """An entry without its facts, or with ones that are not JSON, is as good as none."""
    monkeypatch.setenv("FLUXKIT_CACHE", str(tmp_path))
    key, made = "a" * 64, {"latents": torch.ones(2)}
    (file := entry("latents", key)).parent.mkdir(parents=True)
    save_file({"latents": torch.zeros(2)}, file, metadata=facts)
    (tensors,) = cached_tensors("latents", [key], lambda places: [made for _ in places])
    assert torch.equal(tensors["latents"], made["latents"])


def test_a_file_replaced_with_equal_size_and_time_is_hashed_again(tmp_path, monkeypatch):
    """A copy that keeps size and time of change is another file all the same."""
    monkeypatch.setenv("FLUXKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(file_hashes, "SETTLED_SECONDS", -1.0)
    file, other = tmp_path / "weights", tmp_path / "other"
    file.write_bytes(b"one")
    first = cached_file_sha256(file)
    assert cached_file_sha256(file) == first
    other.write_bytes(b"two")
    status = file.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(file)
    assert cached_file_sha256(file) != first


def test_what_was_written_a_moment_ago_is_not_remembered(tmp_path, monkeypatch):
    """Within a tick of the file system's clock a second writing would not be seen; a damaged note is not believed."""
    monkeypatch.setenv("FLUXKIT_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    digest = cached_file_sha256(file)
    assert not (tmp_path / "cache" / "hashes").exists()
    monkeypatch.setattr(file_hashes, "SETTLED_SECONDS", -1.0)
    cached_file_sha256(file)
    (note,) = (tmp_path / "cache" / "hashes").iterdir()
    note.write_text("damaged")
    assert cached_file_sha256(file) == digest
