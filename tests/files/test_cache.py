"""Where the cache is and how it is cleared."""

from __future__ import annotations

import errno
import shutil

import pytest

from fluxkit.errors import MachineError
from fluxkit.files.cache import cache_folder, cache_size, clear_cache, entry


def test_the_environment_moves_the_cache(tmp_path, monkeypatch):
    """FLUXKIT_CACHE names the folder; otherwise it is where the operating system keeps caches."""
    monkeypatch.setenv("FLUXKIT_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("FLUXKIT_CACHE")
    assert cache_folder().name == "fluxkit"


def test_clearing_removes_entries_and_nothing_else(tmp_path, monkeypatch):
    """What fluxkit put there is removed and counted; a stranger's file stays."""
    monkeypatch.setenv("FLUXKIT_CACHE", str(tmp_path))
    file = entry("latents", "ab" * 32)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"12345")
    (tmp_path / "mine.txt").write_text("keep")
    assert cache_size().files == 2
    clear_cache()
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_can_not_be_removed_is_not_called_removed(tmp_path, monkeypatch):
    """A cache on a disk that can't be written is told of, not counted as cleared."""
    monkeypatch.setenv("FLUXKIT_CACHE", str(tmp_path))
    entry("latents", "ab" * 32).parent.mkdir(parents=True)

    def refused(_folder):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(shutil, "rmtree", refused)
    with pytest.raises(MachineError, match=r"latents can't be cleared: Read-only .*FLUXKIT_CACHE"):
        clear_cache()
