"""What is written or removed below a folder lands there, whatever links a stranger has put on the way."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from fluxkit.errors import MachineError
from fluxkit.files.atomic_file import remove_leftovers, write_atomically, write_with_sha256, written_whole
from fluxkit.files.contained import appended, new_file, refuse_link, refuse_links, remove


@pytest.fixture
def run(tmp_path):
    """A run folder that is reached by a link, beside a folder that must not change."""
    (tmp_path / "real").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "real")
    (tmp_path / "outside" / "deeper").mkdir(parents=True)
    for name in ("a", "deeper/b", ".a.0123abcd"):
        (tmp_path / "outside" / name).write_text("mine")
    yield tmp_path / "run"
    left = {path.name: path.read_text() for path in (tmp_path / "outside").rglob("*") if path.is_file()}
    assert left == {"a": "mine", "b": "mine", ".a.0123abcd": "mine"}


def fill(temporary):
    temporary.mkdir()
    (temporary / "a").write_text("new")


WAYS = {
    "text": lambda run, path: write_atomically(path, "new", below=run),
    "hash": lambda run, path: write_with_sha256(path, "new", below=run),
    "new": lambda run, path: new_file(run, path).close(),
    "more": lambda run, path: appended(run, path).close(),
    "check": refuse_link,
    "remove": remove,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("link", ["events", "events/deeper"])
def test_a_link_on_the_way_is_not_followed(run, way, link):
    """At any depth, a folder that is a link is refused by name, and nothing behind it is written or removed."""
    (run / link).parent.mkdir(exist_ok=True)
    (run / link).symlink_to(run.parent / "outside", target_is_directory=True)
    with pytest.raises(MachineError, match=f"'{link.rpartition('/')[2]}' on the way to it is a link"):
        WAYS[way](run, run / link / "a")


@pytest.mark.parametrize("path", ["../outside/a", "events/../../outside/a", "."])
@pytest.mark.parametrize("way", WAYS)
def test_a_path_that_leads_out_is_refused(run, way, path):
    """Neither `..` nor the folder itself is a place in it."""
    with pytest.raises(MachineError, match="does not lie in"):
        WAYS[way](run, run / path)
    with pytest.raises(MachineError, match="does not lie in"):
        WAYS[way](run, run.parent / "outside" / "a")


def test_a_link_at_the_end_is_replaced_or_refused(run):
    """A file takes the place of a link or of a second name; what is only continued must be a file of its own."""
    for name in ("text", "hash", "new"):
        (run / name).symlink_to(run.parent / "outside" / "a")
        WAYS[name](run, run / name)
        assert not (run / name).is_symlink()
    (run / "adapter").symlink_to(run.parent / "outside")
    with written_whole(run / "adapter", below=run) as temporary:
        fill(temporary)
    assert (run / "adapter" / "a").read_text() == "new"
    (run / "second").hardlink_to(run.parent / "outside" / "a")
    new_file(run, run / "second").close()
    (run / "log").symlink_to(run.parent / "outside" / "a")
    with pytest.raises(MachineError, match="it is a link"):
        appended(run, run / "log")
    (run / "third").hardlink_to(run.parent / "outside" / "a")
    with pytest.raises(MachineError, match="has a second name"):
        appended(run, run / "third")
    for name in ("log", "third", "adapter", "absent", "absent/too"):
        remove(run, run / name)
    assert not {"log", "third", "adapter"} & {path.name for path in run.iterdir()}


def test_leftovers_are_taken_away_where_they_lie_and_nowhere_else(run):
    """Half-written files go at any depth; what a link leads to stays."""
    (run / "samples").mkdir()
    (run / "samples" / ".a.png.0123abcd").write_text("half")
    (run / ".adapter.0123abcd").mkdir()
    (run / "checkpoint").symlink_to(run.parent / "outside")
    (run / "samples" / ".b.0123abcd").symlink_to(run.parent / "outside")
    remove_leftovers(run)
    assert sorted(path.name for path in run.rglob("*")) == ["checkpoint", "samples"]
    with pytest.raises(MachineError, match="checkpoint is not written or removed: it is a link"):
        refuse_links(run)


def test_a_link_that_is_swapped_in_meanwhile_is_not_followed(run):
    """A folder that turns into a link and back, again and again, never leads a write or a removal outside."""
    over, samples = threading.Event(), run / "samples"
    (run / "link").symlink_to(run.parent / "outside")
    samples.mkdir()

    def swap():
        while not over.is_set():
            for source, target in ((samples, run / "kept"), (run / "link", samples), (samples, run / "link")):
                with suppress(OSError):
                    source.rename(target)
            with suppress(OSError):
                (run / "kept").rename(samples)

    swapper = threading.Thread(target=swap)
    swapper.start()
    refused = written = 0
    try:
        for _ in range(300):
            for way in ("text", "new", "remove"):
                try:
                    WAYS[way](run, samples / "a")
                    written += 1
                except (MachineError, OSError):
                    refused += 1
    finally:
        over.set()
        swapper.join()
    assert written
    assert refused
