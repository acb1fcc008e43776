"""Which images and captions a folder gives, without opening an image."""

from __future__ import annotations

import json

import pytest

from fluxkit.dataset.picture_folder import list_folder
from fluxkit.errors import MachineError
from fluxkit.spec.workload import DataSpec


def data(folder, **keys):
    return DataSpec(source="folder", path=str(folder), **keys)


def captions(folder, **keys):
    listed, problems = list_folder(data(folder, **keys))
    return {each.name: each.caption for each in listed}, dict(problems)


def touch(folder, *names):
    for name in names:
        (folder / name).write_bytes(b"")


def test_side_cars_give_captions(tmp_path):
    """A .txt or .caption file beside an image is its caption; other files are named as no images."""
    touch(tmp_path, "a.jpg", "b.PNG", "notes.md")
    (tmp_path / "a.txt").write_text("a cat\n")
    (tmp_path / "b.caption").write_text("a  dog")
    assert captions(tmp_path) == ({"a.jpg": "a cat", "b.PNG": "a dog"}, {"notes.md": "is no image"})


@pytest.mark.parametrize("column", ["text", "caption", "prompt"])
def test_metadata_lines_give_captions(tmp_path, column):
    """metadata.jsonl names files and captions; side-cars and images that it does not list are named as not read."""
    touch(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "a.txt").write_text("not this")
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "a.jpg", column: "a cat"}) + "\n\n")
    left = {"b.jpg": "is in no line of metadata.jsonl", "a.txt": "is not read, because metadata.jsonl is"}
    assert captions(tmp_path) == ({"a.jpg": "a cat"}, left)


def test_metadata_may_be_a_table(tmp_path):
    """metadata.csv with a header does the same, commas and quotes included."""
    touch(tmp_path, "a.jpg")
    (tmp_path / "metadata.csv").write_text('file_name,text\na.jpg,"a cat, asleep"\n')
    assert captions(tmp_path)[0] == {"a.jpg": "a cat, asleep"}


def test_one_caption_serves_images_that_have_none(tmp_path):
    """data.caption fills in where no caption is found, and only there."""
    touch(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "a.txt").write_text("a cat")
    assert captions(tmp_path, caption="a thing")[0] == {"a.jpg": "a cat", "b.jpg": "a thing"}


def test_the_trigger_word_is_put_into_captions(tmp_path):
    """[trigger] becomes data.trigger; without one it is a problem, not a caption."""
    touch(tmp_path, "a.jpg")
    (tmp_path / "a.txt").write_text("a photo of [trigger]")
    assert captions(tmp_path, trigger="xyz cat")[0] == {"a.jpg": "a photo of xyz cat"}
    assert "data.trigger is not set" in captions(tmp_path)[1]["a.jpg"]


def test_every_unusable_file_is_named_with_its_reason(tmp_path):
    """A missing caption, a missing file and a path out of the folder are problems, each with its name."""
    touch(tmp_path, "bare.jpg")
    rows = [{"file_name": "bare.jpg"}, {"file_name": "gone.jpg", "text": "x"}, {"file_name": "../out.jpg", "text": "x"}]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, [*rows, {"text": "x"}])))
    problems = captions(tmp_path)[1]
    assert "no caption" in problems["bare.jpg"]
    assert "not there" in problems["gone.jpg"]
    assert "outside" in problems["../out.jpg"]
    assert problems["metadata.jsonl, line 4"] == (
        "has no file_name: its columns are text; wanted are file_name and text"
    )


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    """An image that is a symbolic link to elsewhere lies outside of the folder."""
    (tmp_path / "secret.png").write_bytes(b"")
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.png").symlink_to(tmp_path / "secret.png")
    assert "outside" in captions(folder, caption="x")[1]["a.png"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "holds no image"),
        ({"metadata.jsonl": "{"}, "line 1: not JSON"),
        ({"metadata.jsonl": "[]"}, "line 1: not a JSON object"),
        ({"metadata.csv": b"file_name,text\n\x93"}, "not a text file in UTF-8"),
        ({"metadata.csv": b"\xff\xfe"}, "is empty"),
    ],
)
def test_a_folder_without_usable_content_is_refused(tmp_path, files, words):
    """An empty folder and damaged metadata end in one sentence."""
    for name, content in files.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(MachineError, match=words):
        list_folder(data(tmp_path))


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    """A wrong path is named with the system's reason."""
    with pytest.raises(MachineError, match="No such file"):
        list_folder(data(tmp_path / "nowhere"))
