"""`fluxkit.files.atomic_file`: which file a failed write names."""

import errno
import os

import pytest

from fluxkit.files.atomic_file import write_atomically, written_whole


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_names_the_file_that_was_asked_for(tmp_path, monkeypatch, call):
    """Nobody knows the temporary name, and one that is relative to an open folder says nothing."""

    def refused(*_names, **_where):
        raise OSError(errno.ENOSPC, "No space left on device", ".page.html.0123abcd")

    monkeypatch.setattr(os, call, refused)
    with pytest.raises(OSError, match="No space left") as raised:
        write_atomically(tmp_path / "page.html", "text")
    assert raised.value.filename == str(tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_a_file_that_could_not_be_read_is_named_as_such(tmp_path):
    """What is copied into the new file keeps its own name in the error."""
    with pytest.raises(FileNotFoundError) as raised, written_whole(tmp_path / "copy"):
        (tmp_path / "absent").read_bytes()
    assert raised.value.filename == str(tmp_path / "absent")
