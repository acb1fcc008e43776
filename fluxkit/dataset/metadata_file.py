"""A metadata file beside pictures: one row a picture, in the spellings that tools of the field write."""

import csv
import io
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from fluxkit.dataset.folder_walk import Problem, UnusableError
from fluxkit.spec.plain_text import NotTextError, read_text
from fluxkit.units import counted

NAMES = ("metadata.jsonl", "metadata.csv", "metadata.tsv", "metadata.json")
"""In the order in which the first that can be read is taken."""
FILE_COLUMNS = ("file_name", "filename", "file", "image", "image_file", "image_path", "path")
CAPTION_COLUMNS = ("text", "caption", "prompt", "captions")
WANTED = "wanted are file_name and text"
DELIMITERS = (",", ";", "\t")
MAX_BYTES = 100_000_000


class Row(NamedTuple):
    """What one line says of one picture."""

    place: str
    """`line 3` of a file of lines, `entry 3` of a JSON list."""
    file_name: str
    caption: str | None
    group: str | None
    without: str
    """Why there is no caption, where there is none, as words that follow the place."""


def read_metadata(path: Path, suffix: str) -> list[Row | Problem]:
    """The rows of a metadata file; a line that can't be used is a problem, named by its place, and hides no other.

    Args:
        path: where it lies.
        suffix: of its name, in small letters; the name of what a link leads to says nothing.

    Raises:
        UnusableError: nothing of it can be used.
    """
    try:
        text = read_text(path, MAX_BYTES)
    except NotTextError as reason:
        raise UnusableError(str(reason)) from None
    except OSError as error:
        raise UnusableError(f"can't be read: {error.strerror}") from error
    read = {".json": _json, ".jsonl": _json_lines}.get(suffix, _table)
    rows = [_row(place, values) for place, values in read(text)]
    if not rows:
        raise UnusableError("is empty")
    return rows


def _row(place: str, values: Any) -> Row | Problem:
    if isinstance(values, Problem):
        return values
    if not isinstance(values, dict):
        return Problem(place, "not a JSON object")
    keys = {str(key).strip().casefold(): value for key, value in values.items()}
    columns = ", ".join(map(str, values)) or "none"
    file_name = next((keys[key] for key in FILE_COLUMNS if isinstance(keys.get(key), str) and keys[key].strip()), None)
    if file_name is None:
        return Problem(place, f"has no file_name: its columns are {columns}; {WANTED}")
    captions = {key: _first_text(keys[key]) for key in CAPTION_COLUMNS if key in keys}
    group = keys.get("group")
    return Row(
        place,
        file_name,
        next(filter(None, captions.values()), None),
        group if isinstance(group, str) and group else None,
        f"has no text in {next(iter(captions))}" if captions else f"has the columns {columns}; {WANTED}",
    )


def _first_text(value: Any) -> str | None:
    """A caption, or the first of several."""
    values = value if isinstance(value, list) else [value]
    return next((text for text in values if isinstance(text, str) and text.strip()), None)


def _json_lines(text: str) -> Iterator[tuple[str, Any]]:
    with suppress(ValueError, RecursionError):
        whole = json.loads(text)
        if whole and "\n" in text.strip():  # one list or object, laid out over lines
            rows = whole if isinstance(whole, list) else [whole]
            yield from ((f"entry {number}", row) for number, row in enumerate(rows, 1))
            return
    # Other line separators than \n are letters of a JSON string.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"line {number}", _parsed(f"line {number}", line.strip().removesuffix(","))


def _json(text: str) -> Iterator[tuple[str, Any]]:
    """A list of rows, a mapping of names to captions or rows, or one row a line, whatever the suffix says.

    Raises:
        UnusableError: it is none of them.
    """
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        if not isinstance(_parsed("", text.strip().split("\n", 1)[0].strip().removesuffix(",")), dict):
            raise UnusableError(f"is not JSON in line {getattr(error, 'lineno', 1)}") from error
        yield from _json_lines(text)
        return
    if isinstance(whole, dict) and not {str(key).strip().casefold() for key in whole} & set(FILE_COLUMNS):
        if not all(isinstance(row, dict) or _first_text(row) for row in whole.values()):
            raise UnusableError(f"has the keys {', '.join(map(str, whole))}, and they are no names of files; {WANTED}")
        rows = [{"file_name": name} | (row if isinstance(row, dict) else {"text": row}) for name, row in whole.items()]
    else:
        rows = whole if isinstance(whole, list) else [whole]
    yield from ((f"entry {number}", row) for number, row in enumerate(rows, 1))


def _parsed(place: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        found = f": {error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        return Problem(place, f"not JSON{found}")


def _table(text: str) -> Iterator[tuple[str, Any]]:
    """The lines under the header, by the first delimiter that tells a column of files apart.

    Raises:
        UnusableError: there is no such column.
    """
    if not text.strip():
        return
    for delimiter in DELIMITERS:
        # newline="" leaves line breaks inside of quotes to the reader; strict names a quote that is never closed.
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
        header: list[str] = []
        with suppress(csv.Error):  # another delimiter may make sense of it
            header = next((cells for cells in lines if cells and not cells[0].startswith("sep=")), [])
        names = [cell.strip().casefold() for cell in header]
        if set(names) & set(FILE_COLUMNS):
            if twice := [name for name in (*FILE_COLUMNS, *CAPTION_COLUMNS) if names.count(name) > 1]:
                raise UnusableError(f"has the column {twice[0]} twice; {WANTED}")
            yield from _table_rows(lines, header)
            return
    columns = ", ".join(re.split("[,;\t]", text.strip().split("\n", 1)[0].strip()))
    raise UnusableError(f"has in line 1 the columns {columns}; {WANTED}")


def _table_rows(lines: Any, header: list[str]) -> Iterator[tuple[str, Any]]:
    while True:
        place = f"line {lines.line_num + 1}"
        try:
            cells = next(lines, None)
        except csv.Error as error:
            reason = "a quote is never closed" if "end of data" in str(error) else str(error)
            yield place, Problem(place, f"not CSV: {reason}")
            continue
        if cells is None:
            return
        if any(cell.strip() for cell in cells[len(header) :]):
            columns = f"{counted(len(header), 'column')} ({', '.join(header)})"
            yield place, Problem(place, f"has {len(cells)} cells under {columns}: put text with commas in quotes")
        elif any(cell.strip() for cell in cells):
            yield place, dict(zip(header, cells, strict=False))
