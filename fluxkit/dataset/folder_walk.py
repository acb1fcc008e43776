"""What lies in a folder and below it, each entry once, and which of it may be read."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fluxkit.errors import MachineError

JUNK = frozenset(
    {".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", ".localized", ".ipynb_checkpoints", "__macosx", "@eadir"}
)
"""Left behind by operating systems and notebooks; nobody meant it to be data. Small letters."""
APPLE_DOUBLE = "._"
MAX_ENTRIES = 1_000_000


class Problem(NamedTuple):
    """What can't be used, and why. It ends a run unless `on_error` is `skip`."""

    name: str
    reason: str


class Aside(Problem):
    """What is not used for a reason that ends no run: no picture, or one that a metadata file does not list."""


class UnusableError(Exception):
    """Why something can't be used, as words that follow its name."""


class Entry(NamedTuple):
    """Something in the folder that is no folder."""

    path: Path
    refusal: str | None = None
    """Why it must not be read."""


class Tree(NamedTuple):
    """What a walk found."""

    folder: Path
    """Links followed."""
    blobs: Path | None
    """Where the hub cache that the folder lies in keeps its files."""
    entries: dict[str, Entry]
    """By name relative to the folder, in POSIX spelling and the order of the walk."""
    problems: list[Problem]
    """Folders that were not walked."""


def walk(folder: Path) -> Tree:
    """Everything in the folder and below it but junk, each once; no file is opened.

    Raises:
        MachineError: it is the top of a hub cache, or holds too much.
        OSError: it can't be read.
        RuntimeError, ValueError: its name leads nowhere.
    """
    folder = folder.resolve(strict=True)
    tree = Tree(folder, _blobs_of(folder), {}, [])
    for name, entry in _entries(tree, ""):
        tree.entries[name] = entry
        if len(tree.entries) > MAX_ENTRIES:
            raise MachineError(f"data.path = {str(folder)!r} holds more than {MAX_ENTRIES} files.")
    return tree


def follow(tree: Tree, path: Path) -> Path:
    """Where a path leads, if a run may read that: inside the folder, or the blobs of the hub cache it lies in.

    Raises:
        UnusableError: it leads elsewhere, nowhere, or to something that is neither file nor folder.
    """
    try:
        target = path.resolve()
        blob = tree.blobs is not None and target.is_relative_to(tree.blobs)
        if not (blob or target.is_relative_to(tree.folder)):
            raise UnusableError("lies outside of the folder, so it is not read")
        if target.is_file() or target.is_dir():
            return path if blob else target  # the name of a blob is only a hash
        reason = "is no regular file" if target.exists() else "is not there"
    except (OSError, RuntimeError, ValueError):  # too long, a loop of links, a NUL
        reason = "is not there"
    raise UnusableError(reason)


def _entries(tree: Tree, base: str) -> Iterator[tuple[str, Entry]]:
    with os.scandir(tree.folder / base) as scanned:
        entries = sorted(scanned, key=lambda entry: entry.name)
    for entry in entries:
        name = base + entry.name
        if entry.name.casefold() in JUNK or entry.name.startswith(APPLE_DOUBLE):
            continue
        if entry.is_symlink():
            yield from _link(tree, name)
        elif not entry.is_dir():
            yield name, Entry(Path(entry.path), None if entry.is_file() else "is no regular file")
        elif entry.name.startswith("."):
            tree.problems.append(Aside(f"{name}/", "is a hidden folder, so it is not read"))
        else:
            yield from _folder(tree, f"{name}/")


def _folder(tree: Tree, name: str) -> Iterator[tuple[str, Entry]]:
    try:
        yield from _entries(tree, name)
    except OSError as error:
        tree.problems.append(Problem(name, f"is a folder that can't be read: {error.strerror}"))


def _link(tree: Tree, name: str) -> Iterator[tuple[str, Entry]]:
    path, refusal = tree.folder / name, None
    try:
        path = follow(tree, path)
    except UnusableError as reason:
        refusal = f"is a link, and what it leads to {reason}"
    if not os.path.isdir(path):  # noqa: PTH112 - unlike Path.is_dir, false for a name that is too long
        yield name, Entry(path, refusal)
    elif refusal:
        tree.problems.append(Problem(f"{name}/", refusal))
    else:
        tree.problems.append(Aside(f"{name}/", "is a link to a folder that is read where it lies"))


def _blobs_of(folder: Path) -> Path | None:
    """Where the hub cache that the folder lies in keeps its files: REPOSITORY/blobs of REPOSITORY/snapshots/REVISION.

    Raises:
        MachineError: the folder is REPOSITORY itself or above it, and so holds every file twice.
    """
    for pattern in ("snapshots/*", "*/snapshots/*", "hub/*/snapshots/*"):
        paths = (path for path in folder.glob(pattern) if (path.parent.parent / "blobs").is_dir())
        if revisions := sorted(path.relative_to(folder).as_posix() for path in paths):
            raise MachineError(
                f"data.path = {str(folder)!r} is the top of a hub cache: give its {' or '.join(revisions[:3])}."
            )
    if folder.name == "snapshots" and (folder.parent / "blobs").is_dir():
        raise MachineError(
            f"data.path = {str(folder)!r} is a part of a hub cache: give the folder of a revision in it."
        )
    for revision in (folder, *folder.parents):
        if revision.parent.name == "snapshots" and (blobs := revision.parent.parent / "blobs").is_dir():
            return blobs.resolve()
    return None
