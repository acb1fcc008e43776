"""A folder of captioned images: which files, which captions, and what is wrong with the rest. Opens no image.

Captions come from `metadata.jsonl` or `metadata.csv` beside the images (columns `file_name` and `text`, or `caption`
or `prompt`; optionally `group`), else from a `.txt` or `.caption` file beside each image, else from `data.caption`.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fluxkit.errors import MachineError
from fluxkit.spec.workload import MAX_CAPTION, DataSpec
from fluxkit.values import path_inside

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp"})
SIDE_CARS = (".txt", ".caption")
METADATA = ("metadata.jsonl", "metadata.csv")
CAPTION_COLUMNS = ("text", "caption", "prompt")
TRIGGER = "[trigger]"
MAX_IMAGES = 100_000
MAX_TEXT_BYTES = 100_000_000


class Listed(NamedTuple):
    """An image with its caption."""

    file: Path
    name: str
    """Relative to the folder."""
    caption: str
    group: str | None
    """Images of one group are not independent; None: alone."""


class Problem(NamedTuple):
    """A file that can't be used, and why."""

    name: str
    reason: str


def list_folder(spec: DataSpec) -> tuple[list[Listed], list[Problem]]:
    """Every image of the folder in the order of names: usable by its caption, or a problem.

    Raises:
        MachineError: the folder can't be read, or holds no image.
    """
    folder = Path(str(spec.path))
    try:
        rows = list(_rows(folder))
    except OSError as error:
        raise MachineError(f"data.path = {spec.path!r} can't be read: {error.strerror}.") from error
    if not rows:
        kinds = ", ".join(sorted(SUFFIXES))
        raise MachineError(f"data.path = {spec.path!r} holds no image; images end in {kinds}.")
    if len(rows) > MAX_IMAGES:
        raise MachineError(f"data.path = {spec.path!r} holds more than {MAX_IMAGES} images.")
    entries = [_judge(spec, folder, row) for row in sorted(rows, key=lambda row: str(row.get("file_name")))]
    listed = [entry for entry in entries if isinstance(entry, Listed)]
    return listed, [entry for entry in entries if isinstance(entry, Problem)]


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    """What is said of each image: the lines of a metadata file, or the images themselves."""
    for name in METADATA:
        file = folder / name
        if file.is_file():
            yield from _metadata(file)
            return
    for path in folder.iterdir():
        if path.suffix.lower() in SUFFIXES and path.is_file():
            yield {"file_name": path.name, "text": _side_car(path)}


def _side_car(image: Path) -> str | None:
    for suffix in SIDE_CARS:
        file = image.with_suffix(suffix)
        if file.is_file() and file.stat().st_size <= MAX_CAPTION * 4:
            return file.read_text("utf-8", errors="replace").strip()
    return None


def _metadata(file: Path) -> Iterator[dict[str, Any]]:
    if file.stat().st_size > MAX_TEXT_BYTES:
        raise MachineError(f"{file} is larger than {MAX_TEXT_BYTES} bytes.")
    try:
        text = file.read_text("utf-8-sig")
        if file.suffix == ".csv":
            yield from csv.DictReader(text.splitlines())
            return
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield _json_row(file, number, line)
    except UnicodeDecodeError as error:
        raise MachineError(f"{file} is not text in UTF-8.") from error
    except csv.Error as error:
        raise MachineError(f"{file} is not CSV: {error}.") from error


def _json_row(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MachineError(f"{file}, line {number}: not JSON.") from error
    if not isinstance(row, dict):
        raise MachineError(f"{file}, line {number}: not a JSON object.")
    return row


class _UnusableError(Exception):
    """Why a listed file can't be used."""


def _judge(spec: DataSpec, folder: Path, row: dict[str, Any]) -> Listed | Problem:
    name = row.get("file_name")
    if not isinstance(name, str) or not name:
        return Problem("(metadata)", "a line has no file_name")
    group = row.get("group")
    try:
        file, caption = _file(folder, name), _caption(spec, row)
    except _UnusableError as reason:
        return Problem(name, str(reason))
    return Listed(file, name, caption, group if isinstance(group, str) and group else None)


def _file(folder: Path, name: str) -> Path:
    path = path_inside(folder, name)
    if path is None:
        raise _UnusableError("lies outside of the folder")
    if not path.is_file():
        raise _UnusableError("is listed but not there")
    return path


def _caption(spec: DataSpec, row: dict[str, Any]) -> str:
    written = next((row[key] for key in CAPTION_COLUMNS if isinstance(row.get(key), str) and row[key].strip()), None)
    caption = written or spec.caption
    if not caption:
        raise _UnusableError("has no caption; add a .txt file beside it, or set data.caption")
    if TRIGGER in caption and spec.trigger is None:
        raise _UnusableError(f"has {TRIGGER} in its caption, but data.trigger is not set")
    caption = " ".join(caption.replace(TRIGGER, spec.trigger or "").split())
    if len(caption) > MAX_CAPTION:
        raise _UnusableError(f"has a caption of more than {MAX_CAPTION} characters")
    return caption
