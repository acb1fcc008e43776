"""A folder of captioned images: which files, which captions, and what is wrong with the rest. Decodes no image.

Captions come from a metadata file beside the images (see `metadata_file`), else from a `.txt` or `.caption` file
beside each image, else from `data.caption`. What is neither image nor caption is named with its reason.
"""

import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from fluxkit.dataset import metadata_file
from fluxkit.dataset.folder_walk import Aside, Problem, Tree, UnusableError, follow, walk
from fluxkit.dataset.picture_file import ADVICE, looks_like_picture, openable_suffixes, refusal
from fluxkit.errors import MachineError, drive_hint, printable
from fluxkit.spec.plain_text import NO_TEXT, NotTextError, read_text
from fluxkit.spec.workload import MAX_CAPTION, DataSpec

SIDE_CARS = (".txt", ".caption")
TRIGGER = "[trigger]"
MAX_IMAGES = 100_000
MAX_SIDE_CAR_BYTES = 4 * MAX_CAPTION + 4
"""The longest caption, in UTF-8 or in UTF-16 with its mark."""
REPEATS = re.compile(r"(\d+)_.")
"""How the names of kohya's folders begin: 10_cat is shown ten times an epoch."""
NAMED = 100
"""So many problems are named in one sentence."""
MAX_WORDS = 300


class Listed(NamedTuple):
    """An image with its caption."""

    file: Path
    name: str
    """Relative to the folder."""
    caption: str
    group: str | None
    """Images of one group are not independent; None: alone."""


def list_folder(spec: DataSpec) -> tuple[list[Listed], list[Problem]]:
    """Every image of the folder in the order of names, and whatever else lies in it but junk, with its reason.

    Raises:
        MachineError: the folder can't be read, or holds no image.
    """
    try:
        tree = walk(Path(str(spec.path)))
    except OSError as error:
        raise MachineError(
            f"data.path = {spec.path!r} can't be read: {error.strerror}{drive_hint(str(spec.path))}."
        ) from error
    except (RuntimeError, ValueError) as error:  # a loop of links, a NUL
        raise MachineError(f"data.path = {spec.path!r} can't be read: {error}.") from error
    stock = _StockTaking(spec, tree)
    pictures = sorted(stock.pictures(), key=lambda picture: picture[0])
    listed = [picture for _, picture in pictures if isinstance(picture, Listed)]
    unusable = [picture for _, picture in pictures if isinstance(picture, Problem)]
    problems = [one_line(problem) for problem in (*stock.problems, *unusable, *tree.problems, *stock.rest(listed))]
    if not pictures:
        seen = f"; in it lie {in_words(problems)}" if problems else ""
        raise MachineError(f"data.path = {spec.path!r} holds no image, such as a .jpg, .png or .webp{seen}.")
    if len(pictures) > MAX_IMAGES:
        raise MachineError(f"data.path = {spec.path!r} holds more than {MAX_IMAGES} images.")
    return listed, problems


def in_words(problems: Sequence[Problem]) -> str:
    """Problems as part of a sentence."""
    more = f"; and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
    return "; ".join(f"{problem.name}: {problem.reason}" for problem in problems[:NAMED]) + more


def one_line(problem: Problem) -> Problem:
    """The problem in words that a terminal, a page and JSON can hold, whatever a stranger's name is made of."""
    words = (printable(text).replace("\n", "\N{REPLACEMENT CHARACTER}").replace("\t", " ") for text in problem)
    return type(problem)(*(text if len(text) <= MAX_WORDS else f"{text[:MAX_WORDS]}…" for text in words))


class _Metadata(NamedTuple):
    name: str
    rows: list[metadata_file.Row]


class _StockTaking:
    """Says of each entry of a tree what it is. What is not taken as an image, a caption or metadata is left."""

    def __init__(self, spec: DataSpec, tree: Tree) -> None:
        self._spec, self._tree, self._openable = spec, tree, openable_suffixes()
        self._by_spelling: dict[str, list[str]] = defaultdict(list)
        for name in tree.entries:
            self._by_spelling[_spelling(name)].append(name)
        self._taken: set[str] = set()
        self.problems: list[Problem] = []
        """Of metadata files."""
        self._metadata: dict[str, _Metadata] = {}
        """By the folder that it speaks for: "" or "sub/"."""
        for rank in metadata_file.NAMES:
            for name in self._tree.entries:
                folder, file = posixpath.split(name)
                if file.lower() == rank:
                    self._read_metadata(f"{folder}/" if folder else "", name)

    def pictures(self) -> Iterator[tuple[str, Listed | Problem]]:
        """What metadata lists, then what lies in the tree, by the name that it is sorted by."""
        for folder, metadata in self._metadata.items():
            for row in metadata.rows:
                yield folder + row.file_name, self._of_row(folder, metadata.name, row)
        for name in self._tree.entries:
            if name not in self._taken and self._is_picture(name):
                self._taken.add(name)
                yield name, self._of_file(name)

    def rest(self, listed: list[Listed]) -> Iterator[Problem]:
        """What is neither image, caption nor metadata, and the repeats that folders ask for."""
        for name, entry in self._tree.entries.items():
            if name not in self._taken:
                yield Aside(name, entry.refusal or self._why_left(name))
        for folder in sorted({posixpath.dirname(image.name) for image in listed}):
            if (repeats := REPEATS.match(posixpath.basename(folder))) and int(repeats[1]) != 1:
                yield Aside(f"{folder}/", f"is read, but its {repeats[1]} repeats are ignored: each image counts once")

    def _read_metadata(self, folder: str, name: str) -> None:
        if folder in self._metadata:
            return  # the first that can be read speaks for its folder
        self._taken.add(name)
        try:
            path = self._readable(name)
            rows = metadata_file.read_metadata(path, _suffix(name))
        except UnusableError as reason:
            self.problems.append(Problem(name, str(reason)))
            return
        self.problems += [Problem(f"{name}, {row.name}", row.reason) for row in rows if isinstance(row, Problem)]
        self._metadata[folder] = _Metadata(name, [row for row in rows if isinstance(row, metadata_file.Row)])

    def _governing(self, name: str) -> str | None:
        """The metadata file that speaks for an entry: the nearest on the way up."""
        folder = name
        while folder:
            folder = posixpath.dirname(folder)
            if metadata := self._metadata.get(f"{folder}/" if folder else ""):
                return metadata.name
        return None

    def _is_picture(self, name: str) -> bool:
        """Told by the suffix, and by the first bytes where that is of nothing known."""
        entry, suffix = self._tree.entries[name], _suffix(name)
        if suffix in self._openable or suffix in ADVICE:
            return True
        return suffix not in SIDE_CARS and not entry.refusal and looks_like_picture(entry.path)

    def _why_left(self, name: str) -> str:
        metadata, file = self._governing(name), posixpath.basename(name).lower()
        if metadata and (file in metadata_file.NAMES or file.endswith(SIDE_CARS)):
            return f"is not read, because {metadata} is"
        if file.startswith("metadata."):
            return f"is not read: wanted is one of {', '.join(metadata_file.NAMES)}"
        return "is a caption without an image of its name" if file.endswith(SIDE_CARS) else "is no image"

    def _of_row(self, folder: str, metadata: str, row: metadata_file.Row) -> Listed | Problem:
        try:
            name, file = self._located(folder, row.file_name)
            without = f"has no caption: {metadata}, {row.place}, {row.without}"
            return self._usable(file, name, row.caption, row.group, without)
        except UnusableError as reason:
            return Problem(folder + row.file_name, str(reason))

    def _of_file(self, name: str) -> Listed | Problem:
        try:
            metadata = self._governing(name)
            side_car = None if metadata else self._side_car(name)
            file = self._readable(name)
            if metadata:
                return Aside(name, f"is in no line of {metadata}")
            without = "has no caption; add a .txt file beside it, or set data.caption"
            if side_car:
                without = f"has its caption in {side_car}, which is empty"
            return self._usable(file, name, self._text(side_car), None, without)
        except UnusableError as reason:
            return Problem(name, str(reason))

    def _readable(self, name: str) -> Path:
        entry = self._tree.entries[name]
        if entry.refusal:
            raise UnusableError(entry.refusal)
        return entry.path

    def _find(self, name: str) -> str | None:
        """The entry of this name; without one, the only one that differs in case or in how accents are coded."""
        if name in self._tree.entries:
            return name
        alike = self._by_spelling.get(_spelling(name), [])
        return alike[0] if len(alike) == 1 else None

    def _relative(self, folder: str, written: str) -> str:
        """A path that a file in `folder` names, in the spelling of entries; an absolute one may lie inside too."""
        if not written.startswith("/"):
            return posixpath.normpath(folder + written)
        with suppress(OSError, RuntimeError, ValueError):  # it lies elsewhere, or is no path
            path = Path(written)
            return (path.parent.resolve() / path.name).relative_to(self._tree.folder).as_posix()
        return written

    def _located(self, folder: str, written: str) -> tuple[str, Path]:
        """Name and place of what a metadata file means, in other tools' spellings of its path too."""
        for spelling in dict.fromkeys((written, written.strip(), written.strip().replace("\\", "/"))):
            if name := self._find(self._relative(folder, spelling)):
                self._taken.add(name)
                return name, self._readable(name)
        target = follow(self._tree, self._tree.folder / folder / written)
        if target.is_dir():
            raise UnusableError("is a folder")
        inside = target.is_relative_to(self._tree.folder)
        name = target.relative_to(self._tree.folder).as_posix() if inside else folder + written
        self._taken.add(name)
        return name, target

    def _side_car(self, image: str) -> str | None:
        """The name of the file that holds the caption of an image."""
        stem = posixpath.splitext(image)[0]
        for candidate in (*(stem + suffix for suffix in SIDE_CARS), *(image + suffix for suffix in SIDE_CARS)):
            if name := self._find(candidate):
                self._taken.add(name)
                return name
        return None

    def _text(self, side_car: str | None) -> str | None:
        if side_car is None:
            return None
        try:
            return read_text(self._readable(side_car), MAX_SIDE_CAR_BYTES)
        except (UnusableError, NotTextError) as reason:
            raise UnusableError(f"has its caption in {side_car}, which {reason}") from None
        except OSError as error:
            raise UnusableError(f"has its caption in {side_car}, which can't be read: {error.strerror}") from error

    def _usable(self, file: Path, name: str, written: str | None, group: str | None, without: str) -> Listed:
        """The image with its caption as it is tuned on.

        Raises:
            UnusableError: Pillow does not open its kind, or the caption can't be used; `without` where there is none.
        """
        suffix = _suffix(name)
        if suffix in ADVICE and suffix not in self._openable and (reason := refusal(file, suffix)):
            raise UnusableError(reason)
        caption = (written or "").strip() or self._spec.caption
        if not caption:
            raise UnusableError(without)
        if NO_TEXT.search(caption + (group or "")):
            raise UnusableError(
                "has a caption or group with control characters or half of a character in it, which is no text"
            )
        if TRIGGER in caption and self._spec.trigger is None:
            raise UnusableError(f"has {TRIGGER} in its caption, but data.trigger is not set")
        caption = " ".join(caption.replace(TRIGGER, self._spec.trigger or "").split())
        if len(caption) > MAX_CAPTION:
            raise UnusableError(f"has a caption of more than {MAX_CAPTION} characters")
        return Listed(file, name, caption, group)


def _suffix(name: str) -> str:
    return posixpath.splitext(name)[1].lower()


def _spelling(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
