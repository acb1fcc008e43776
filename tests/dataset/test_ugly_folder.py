"""A person's folder as it is: everything in it is used, or named with its reason; one bad file hides no other."""

from __future__ import annotations

import json
import os
import re
import struct
import time
import zlib

import pytest
from PIL import Image

from fluxkit.dataset.picture_folder import list_folder
from fluxkit.dataset.picture_loader import load_image, load_pairs
from fluxkit.dataset.preview import preview
from fluxkit.errors import MachineError
from fluxkit.record import events
from fluxkit.spec.workload import DataSpec

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
PERSIAN = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"


def data(folder, **keys):
    return DataSpec(source="folder", path=str(folder), **{"resolution": 32, "on_error": "skip", **keys})


@pytest.fixture
def draw(tmp_path):
    """Saves another picture in `tmp_path/data`, and gives its path."""
    seeds = iter(range(1, 1000))

    def make(name, **options):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((48, 40), next(seeds)).convert("RGB").save(path, **options)
        return path

    return make


@pytest.fixture
def captions(tmp_path):
    """Captions by name, and problems by name, of `tmp_path/data`."""

    def read(**keys):
        listed, problems = list_folder(data(tmp_path / "data", **keys))
        return {image.name: image.caption for image in listed}, dict(problems)

    return read


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_chunk(path, added):
    """The PNG with a chunk behind its header."""
    png = path.read_bytes()
    path.write_bytes(png[:33] + added + png[33:])
    return path


def exif_that_cannot_be_written_back():
    """XResolution as a byte, and orientation 6."""
    entries = struct.pack(">HHI4s", 0x11A, 1, 1, b"H") + struct.pack(">HHIHH", 0x112, 3, 1, 6, 0)
    return b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", 2) + entries + bytes(4)


def test_of_forty_ugly_files_each_is_used_or_named(tmp_path, draw):
    """After one reading every file is in `used` or in what was left out with its reason, junk aside."""
    folder = tmp_path / "data"
    used = {
        "a.avif": draw("a.avif"), "b.jfif": draw("b.jfif", format="JPEG"), "c.JPE": draw("c.JPE", format="JPEG"),
        "IMG_0042": draw("IMG_0042", format="JPEG"), "d.jpg_large": draw("d.jpg_large", format="PNG"),
        "exif.jpg": draw("exif.jpg", exif=exif_that_cannot_be_written_back()),
        "flow.png": with_chunk(draw("flow.png"), chunk(b"zTXt", b"w\0\0" + zlib.compress(bytes(1_500_000)))),
        "eXIf.png": with_chunk(draw("eXIf.png"), chunk(b"eXIf", b"MM\0garbage")),
        "crc.png": with_chunk(draw("crc.png"), chunk(b"eXIf", b"MM\0garbage")[:-1] + b"!"),
        "10_cat/k.png": draw("10_cat/k.png"), "sub/deep/n.webp": draw("sub/deep/n.webp"),
        f"{FAMILY}.png": draw(f"{FAMILY}.png"),
        "new\nline.png": draw("new\nline.png"),
    }  # fmt: skip
    os.rename(draw("bytes.png"), os.fsencode(folder) + b"/nam\xff.png")  # noqa: PTH104 - a name that is not UTF-8
    left = {
        "x.HEIC": "pillow-heif|fluxkit\\[heif\\]", "y.jxl": "pillow-jxl-plugin", "raw.NEF": "raw file",
        "text.png": "not an image", "cut.png": "broken", "small.png": "smaller than the resolution",
        "dangling.png": "not there", "loop.png": "not there", "out.png": "outside", "fifo.png": "no regular file",
        "cp1252.png": r"cp1252\.txt, which is not a text file in UTF-8", "metadata.csv": "outside",
        "leak.png": r"leak\.txt, which is a link.*outside", "README.md": "no image",
        "orphan.txt": "caption without an image",
        ".hidden/": "hidden folder", "elsewhere/": "outside",
    }  # fmt: skip
    for name in ("x.HEIC", "y.jxl", "raw.NEF", "text.png", "README.md", "orphan.txt"):
        (folder / name).write_text("words")
    (folder / "cut.png").write_bytes(draw("whole.png").read_bytes()[:900])
    Image.new("RGB", (20, 90)).save(folder / "small.png")
    links = {
        "dangling.png": "nowhere",
        "loop.png": "loop.png",
        "out.png": "/etc/hostname",
        "metadata.csv": "/etc/passwd",
    }
    for name, target in {**links, "leak.txt": "/etc/hostname", "elsewhere": "/usr"}.items():
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "fifo.png")
    draw("cp1252.png"), draw("leak.png"), draw(".hidden/h.png")
    (folder / "cp1252.txt").write_bytes(b"a \x93red\x94 barn")
    for name in ("._a.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (folder / name).write_bytes(b"junk")
    draw(".ipynb_checkpoints/a-checkpoint.png")

    pairs = load_pairs(data(folder, caption="a thing"))
    reasons = dict(pairs.skipped)
    assert len(pairs.used) == len(used) + 2  # whole.png, and the one whose name is not UTF-8
    for name, reason in left.items():
        assert re.search(reason, reasons[name]), f"{name}: {reasons[name]}"
    assert set(reasons) == {*left, "10_cat/"}
    assert "10 repeats are ignored" in reasons["10_cat/"]


def test_without_skipping_every_unusable_picture_is_named_and_nothing_else_stops_a_run(draw):
    """Twenty photographs of a phone are twenty names; a README beside three pictures is none."""
    folder = draw("a.png").parent
    (folder / "README.md").write_text("words")
    assert len(load_pairs(data(folder, on_error="stop", caption="x")).used) == 1
    for number in range(20):
        (folder / f"IMG_{number:02}.HEIC").write_bytes(b"heic")
    with pytest.raises(MachineError, match="20 files can't be used") as caught:
        load_pairs(data(folder, on_error="stop", caption="x"))
    assert all(f"IMG_{number:02}.HEIC" in str(caught.value) for number in range(20))
    assert "README" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"a cat",
        b"\xef\xbb\xbfa cat\r\n",
        b"\xef\xbb\xbf\xef\xbb\xbfa\x0bcat",
        "a cat".encode("utf-16"),
        b"\xfe\xff" + "a cat".encode("utf-16-be"),
    ],
)
def test_side_cars_are_decoded(draw, captions, content):
    """UTF-8 with and without a byte order mark and UTF-16 with one are the same caption."""
    draw("p.png").with_suffix(".txt").write_bytes(content)
    assert captions() == ({"p.png": "a cat"}, {})


@pytest.mark.parametrize(
    "content",
    [
        b"caf\xe9", "a cat".encode("utf-16-le"), "a cat".encode("utf-32"), b"\xff\xfea", b"a\0",
        *("\u8d64\u3044\u7d0d".encode(name) for name in ("cp932", "euc_jp", "iso2022_jp", "gb18030", "big5hkscs")),
        "caf\u00e9".encode("mac_roman"), "\u043a\u043e\u0442".encode("cp1251"), b"PK\x03\x04\x14",
        b"a \x1b[31mred\x1b[0m cat",
    ],
)  # fmt: skip
def test_other_encodings_are_named_and_not_guessed(draw, captions, content):
    """Not even a caption for all takes the place of one that can't be read."""
    draw("p.png").with_suffix(".txt").write_bytes(content)
    draw("q.png").with_suffix(".txt").write_bytes(b"a dog")
    listed, problems = captions(caption="x")
    assert listed == {"q.png": "a dog"}
    assert "p.txt, which is not a text file in UTF-8" in problems["p.png"]


def test_spellings_of_side_cars_are_found(draw, captions):
    """`.TXT`, the image's whole name with `.txt`, another case, and accents coded in the other way."""
    names = {
        "a.png": "a.TXT",
        "b.png": "b.png.txt",
        "C.JPG": "c.txt",
        "e\u0301.png": "\u00e9.txt",
        "d.png": "d.Caption",
    }
    for image, text in names.items():
        draw(image).with_name(text).write_text(f"of {text}")
    assert captions() == ({image: f"of {text}" for image, text in names.items()}, {})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.csv", 'file_name,text\np.png,"a red\nbarn"\n'),
        ("metadata.csv", 'file_name;text\np.png;"a red\r\nbarn"\n'),
        ("metadata.csv", "sep=;\nfile_name;text\np.png;a red barn;;\n"),
        ("metadata.csv", "file_name\ttext\np.png\ta red barn\n"),
        ("metadata.tsv", "image\tcaption\np.png\ta red barn\n"),
        ("metadata.csv", 'File_Name, Text\r\n"p.png", "a red barn"\r\n'),
        ("metadata.csv", b"\xff\xfe" + "file_name,text\np.png,a red barn\n".encode("utf-16-le")),
        ("Metadata.JSONL", '{"image": "p.png", "caption": "a red\u2028barn"}\r\n\r\n'),
        ("metadata.jsonl", '\ufeff{"file_name": "p.png", "text": "a red\u0085barn"}'),
        ("metadata.jsonl", '{"file_name": "./p.png", "text": ["a red barn", "another"]}'),
        ("metadata.jsonl", '{"file_name": ".\\\\p.png", "captions": ["a red barn"]}'),
        ("metadata.json", '[{"file_name": "p.png", "text": "a red barn"}]'),
        ("metadata.json", '{"p.png": "a red barn"}'),
        ("metadata.jsonl", '{"file_name": "p.png", "text": "a red barn"},\n{"file_name": "q.png", "text": "x"},\n'),
        ("metadata.jsonl", '[{"file_name": "p.png", "text": "a red barn"},\n {"file_name": "q.png", "text": "x"}]'),
        ("metadata.jsonl", '{\n "file_name": "p.png",\n "text": "a red barn"\n}\n'),
        ("metadata.json", '{"p.png": {"caption": "a red barn"}}'),
        ("metadata.json", '{"file_name": "p.png", "text": "a red barn"}\n{"file_name": "q.png", "text": "x"}'),
    ],
)
def test_metadata_is_read_where_its_meaning_is_plain(draw, captions, name, content):
    """Whatever the delimiter, the line breaks, the names of columns and the encoding: one caption."""
    file = draw("p.png").with_name(name)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert captions()[0] == {"p.png": "a red barn"}


@pytest.mark.parametrize(
    ("name", "content", "problem", "words"),
    [
        ("metadata.csv", "a,b\n1,2\n", "metadata.csv", "in line 1 the columns a, b; wanted are file_name and text"),
        ("metadata.csv", "file_name,text\np.png,a cat, asleep\n", "metadata.csv, line 2", "3 cells under 2 columns"),
        ("metadata.csv", 'file_name,text\nq.png,x\np.png,"a cat\n', "metadata.csv, line 3", "not CSV"),
        ("metadata.csv", 'file_name,text\np.png,"a cat\nq.png,x\n', "metadata.csv, line 2", "a quote is never closed"),
        ("metadata.csv", "file_name,text,Text\np.png,a,b\n", "metadata.csv", "has the column text twice"),
        ("metadata.csv", "file_name,text\np.png,\n", "p.png", "no caption: metadata.csv, line 2, has no text in text"),
        ("metadata.jsonl", '{"image": "p.png", "caption": 7}\n', "p.png", "line 1, has no text in caption"),
        ("metadata.jsonl", "{'file_name': 'p.png'}", "metadata.jsonl, line 1", "double quotes, column 2"),
        (
            "metadata.json",
            '{"images": [{"file_name": "p.png"}], "info": {}}',
            "metadata.json",
            "has the keys images, info",
        ),
        ("metadata.jsonl.gz", "\x1f\x8b", "metadata.jsonl.gz", "is not read: wanted is one of metadata.jsonl"),
        ("metadata.csv", "file_name,label\np.png,3\n", "p.png", "line 2, has the columns file_name, label; wanted are"),
        (
            "metadata.jsonl",
            '{"file_name": "q.png"}\n{"name": "p.png"}',
            "metadata.jsonl, line 2",
            "its columns are name",
        ),
        ("metadata.jsonl", '{"file_name": "q.png"}\n{p.png}', "metadata.jsonl, line 2", "not JSON"),
        ("metadata.json", '[\n{"file_name"}]', "metadata.json", "not JSON in line 2"),
        ("metadata.json", '[{"file_name": "q.png"}, 3]', "metadata.json, entry 2", "not a JSON object"),
    ],
)
def test_metadata_that_is_not_plain_is_named_with_its_line(draw, captions, name, content, problem, words):
    """With the columns found and what is wanted; the lines and files beside it are still told of."""
    draw("p.png").with_name(name).write_text(content)
    assert words in captions()[1][problem]


def test_folders_below_have_metadata_of_their_own(draw, captions):
    """It speaks for its folder and those below; names in it are meant from there."""
    draw("train/p.png").with_name("metadata.jsonl").write_text('{"file_name": "p.png", "text": "a cat"}')
    draw("train/deep/r.png")
    draw("q.png").with_suffix(".txt").write_text("a dog")
    listed, problems = captions()
    assert listed == {"train/p.png": "a cat", "q.png": "a dog"}
    assert problems == {"train/deep/r.png": "is in no line of train/metadata.jsonl"}


def test_links_lead_inside_or_into_the_blobs_of_the_same_hub_cache(tmp_path):
    """Pictures, captions and metadata of a snapshot are read; the blobs of another repository are not."""
    repository = tmp_path / "hub" / "datasets--me--cats"
    snapshot = repository / "snapshots" / "abc"
    (snapshot / "sub").mkdir(parents=True)
    for folder in (repository, tmp_path / "hub" / "datasets--you--dogs"):
        (folder / "blobs").mkdir(parents=True)
        Image.effect_noise((48, 40), 9).save(folder / "blobs" / "0a", format="PNG")
    (repository / "blobs" / "0b").write_text("a cat")
    (repository / "blobs" / "0c").write_text('{"file_name": "n.png", "text": "a kitten"}')
    (snapshot / "p.png").symlink_to("../../blobs/0a")
    (snapshot / "p.txt").symlink_to("../../blobs/0b")
    (snapshot / "sub" / "n.png").symlink_to("../../../blobs/0a")
    (snapshot / "sub" / "metadata.jsonl").symlink_to("../../../blobs/0c")
    (snapshot / "other.png").symlink_to("../../../datasets--you--dogs/blobs/0a")
    pairs = load_pairs(data(snapshot, caption="x"))
    assert [(pair.id.partition("-")[0], pair.caption) for pair in pairs.used] == [("p", "a cat"), ("n", "a kitten")]
    assert "outside of the folder" in dict(pairs.skipped)["other.png"]
    with pytest.raises(MachineError, match="top of a hub cache: give its snapshots/abc"):
        list_folder(data(repository))


def test_absolute_paths_that_lie_inside_are_inside(tmp_path, draw, captions):
    """Also by way of a link to the folder; those that lie elsewhere are named."""
    file = draw("p.png")
    (tmp_path / "link").symlink_to("data")
    names = [str(file), str(tmp_path / "link" / "p.png"), "/etc/hostname", "../data/p.png"]
    rows = (json.dumps({"file_name": name, "text": "x"}) + "\n" for name in names)
    file.with_name("metadata.jsonl").write_text("".join(rows))
    listed, problems = captions()
    assert listed == {"p.png": "x"}
    assert "outside" in problems["/etc/hostname"]


NAMES = [
    "\0.png",
    "\ud800.png",
    "x" * 5000,
    "loop/p.png",
    "\x1b[31m.png",
    "a\nb.png",
    "/" * 3000,
    "~",
    ".",
    "..",
    "p.png/x",
]


def test_no_name_ends_in_a_traceback(draw, captions):
    """NUL, halves of characters, loops, names that are too long: each is a line that JSON and a terminal can hold."""
    file = draw("p.png")
    file.with_name("loop").symlink_to("loop")
    rows = [{"file_name": name, "text": "x"} for name in NAMES]
    rows += [{"file_name": "p.png", "text": "x\ud800"}, {"file_name": "p.png", "text": "x", "group": "a\0b"}]
    rows += [{"\udfff": 1}, {"file_name": "p.png", "text": PERSIAN}]
    file.with_name("metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    listed, problems = captions()
    assert listed == {"p.png": PERSIAN}
    assert len(list_folder(data(file.parent))[1]) >= len(NAMES) + 3
    skipped = [f"{name}: {reason}" for name, reason in problems.items()]
    written = events.Inputs(
        at_seconds=0,
        weights_sha256="",
        dataset_sha256="",
        pairs=(),
        parameters=0,
        trainable_parameters=0,
        skipped=skipped,
    )
    assert events.parse_event(written.model_dump_json().encode()) == written
    shown = preview(data(file.parent))
    assert PERSIAN in shown
    assert "\x1b" not in shown
    shown.encode()


def test_text_beside_pixels_does_not_change_them(draw):
    """A PNG with more text than Pillow reads, a broken note and an APNG's control chunk has the pixels it had."""
    plain = draw("p.png")
    before = load_image(plain, 32).tobytes()
    for added in (
        chunk(b"zTXt", b"workflow\0\0" + zlib.compress(bytes(70_000_000))),
        chunk(b"iTXt", b"prompt\0\0\0\0\0" + bytes(3_000_000)),
        chunk(b"eXIf", b"\xff" * 9),
        chunk(b"acTL", struct.pack(">II", 5, 0)),
        chunk(b"tEXt", b"no keyword at all"),
    ):
        with_chunk(plain, added)
        assert load_image(plain, 32).tobytes() == before


@pytest.mark.parametrize("kind", [b"eXIf", b"zTXt"])
def test_the_orientation_of_a_png_is_read_wherever_it_stands(draw, kind):
    """In its own chunk, or in the text that older programs write."""
    exif = Image.Exif()
    exif[0x0112] = 3
    path = draw("p.png")
    turned = Image.open(path).transpose(Image.Transpose.ROTATE_180)
    raw = exif.tobytes().removeprefix(b"Exif\0\0")
    hexed = b"\nexif\n%8d\n" % (len(raw) + 6) + (b"Exif\0\0" + raw).hex().encode()
    text = b"Raw profile type exif\0\0" + zlib.compress(hexed)
    with_chunk(path, chunk(kind, raw if kind == b"eXIf" else text))
    turned.save(path.with_name("upright.png"))
    assert load_image(path, 40).tobytes() == load_image(path.with_name("upright.png"), 40).tobytes()


def test_ten_thousand_pictures_are_listed_in_seconds_without_being_opened(tmp_path, monkeypatch):
    """Listing asks the file system for names, and Pillow for none of them."""
    for number in range(10_000):
        (tmp_path / f"{number:05}.jpg").touch()
    monkeypatch.setattr(Image, "open", lambda *_arguments, **_options: pytest.fail("a picture was opened"))
    began = time.process_time()
    assert len(list_folder(data(tmp_path, caption="x"))[0]) == 10_000
    assert time.process_time() - began < 5


def test_a_caption_that_is_empty_or_rich_text_is_named_by_its_file(draw, captions):
    """Nobody is told to add a file that lies there."""
    draw("p.png").with_suffix(".txt").write_bytes(b"\xef\xbb\xbf \r\n")
    draw("q.png").with_suffix(".txt").write_bytes(rb"{\rtf1\ansi a cat}")
    assert captions()[1] == {
        "p.png": "has its caption in p.txt, which is empty",
        "q.png": "has its caption in q.txt, which is rich text: save it as plain text in UTF-8",
    }


def test_the_caption_of_a_picture_that_is_not_read_is_its_caption_still(draw, captions, tmp_path):
    """One file, one reason: a caption is not said to lack the image that a link stands for."""
    folder = draw("a.png").parent
    (folder / "a.txt").write_text("a cat")
    (tmp_path / "elsewhere.png").write_bytes((folder / "a.png").read_bytes())
    (folder / "b.png").symlink_to(tmp_path / "elsewhere.png")
    (folder / "b.txt").write_text("a dog")
    listed, problems = captions()
    assert listed == {"a.png": "a cat"}
    assert list(problems) == ["b.png"]


def test_content_decides_where_a_suffix_lies(draw):
    """A JPEG named .heic is used; what a file really is is said of those that Pillow does not open."""
    folder = draw("IMG_1.HEIC", format="JPEG").parent
    draw("drawing.svg", format="PNG"), draw("page.exr", format="WEBP")
    heif = b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(40)
    contents = {
        "phone.jpg": (heif, r"is HEIF.*fluxkit\[heif\]"), "IMG_0043": (heif, "is HEIF"),
        "new.png": (bytes.fromhex("0000000c4a584c200d0a870a") + bytes(9), "is JPEG XL"),
        "empty.webp": (b"", "is empty"),
        "pointer.jpg": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS pointer.*lfs pull"),
        "gone.jpeg": (b"\n<!DOCTYPE html><title>404", "web page"), "photo.NEF": (b"II*\0" + bytes(9), "raw file"),
    }  # fmt: skip
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    Image.new("I", (48, 40), 70_000).save(folder / "deep.tif")
    pairs = load_pairs(data(folder, caption="x"))
    assert sorted(pair.name for pair in pairs.used) == ["IMG_1.HEIC", "drawing.svg", "page.exr"]
    reasons = dict(pairs.skipped)
    assert reasons.keys() == {*contents, "deep.tif"}
    assert all(re.search(reason, reasons[name]) for name, (_, reason) in contents.items()), reasons
    assert "8 or 16 bits" in reasons["deep.tif"]


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tiff", "avif"])
def test_frames_that_are_not_used_are_said(draw, suffix):
    """Of an animation or a file of pages the first is used; a phone's second copy of a photograph is no other one."""
    frames = [Image.effect_noise((48, 40), seed).convert("RGB") for seed in (201, 202, 203)]
    file = draw("still.png").with_name(f"moving.{suffix}")
    frames[0].save(file, save_all=True, append_images=frames[1:])
    frames[1].save(file.with_name("phone.jpg"), format="MPO", save_all=True, append_images=frames[2:])
    pairs = load_pairs(data(file.parent, caption="x", on_error="stop"))
    assert len(pairs.used) == 3
    assert dict(pairs.skipped) == {file.name: "is read, but of its 3 frames only the first"}


def test_a_preview_shows_names_as_people_write_them(draw):
    """Not the names of the run's own files, which are made of a to z."""
    for name in (f"{FAMILY}.png", f"{PERSIAN}.png", "\u8d64\u3044.png", "new\nline.png"):
        draw(name)
    shown = preview(data(draw("a.png").parent, caption="x")).splitlines()
    assert {f"  {FAMILY}.png: x", f"  {PERSIAN}.png: x", "  \u8d64\u3044.png: x", "  new\ufffdline.png: x"} <= set(
        shown
    )


@pytest.mark.parametrize("given", ["hub", "hub/datasets--me--cats", "hub/datasets--me--cats/snapshots", "."])
def test_a_hub_cache_above_a_revision_is_refused_with_what_to_give(tmp_path, given):
    """It holds every file twice: as a blob, and as the link to it that bears the name."""
    repository = tmp_path / "hub" / "datasets--me--cats"
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "blobs").mkdir()
    Image.effect_noise((48, 40), 9).save(repository / "blobs" / "0a", format="PNG")
    (repository / "snapshots" / "abc" / "p.png").symlink_to("../../blobs/0a")
    with pytest.raises(MachineError, match=r"snapshots/abc\.|the folder of a revision"):
        list_folder(data(tmp_path / given, caption="x"))
