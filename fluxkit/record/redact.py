"""Takes this machine's paths and names out of text that will travel with a result."""

import getpass
import os
import platform
import re
import sys
from collections.abc import Callable
from pathlib import Path

from fluxkit.errors import printable
from fluxkit.files.atomic_file import write_atomically
from fluxkit.spec.run_spec import RunSpec

USER = "$USER"
"""Stands for the user's name where it is a folder of a path."""
MIN_NAME = 3
"""Shorter user and host names are everyday letters; replacing them would only garble the text."""


def public_spec(spec: RunSpec) -> RunSpec:
    """The spec as it is stored: a path as its last part only; its content is told by a hash."""
    return _with_paths(spec, lambda path: Path(path).resolve().name or "root")


def home_as_tilde(spec: RunSpec) -> RunSpec:
    """The spec of a run that may be continued: its paths lead to their files, and name neither home folder nor user."""
    home, user = str(Path.home()) + os.sep, _user()

    def without(path: str) -> str:
        if path.startswith(home):
            return f"~/{path.removeprefix(home)}"
        return str(Path(*(USER if user and part == user else part for part in Path(path).parts)))

    return _with_paths(spec, without)


def tilde_as_home(spec: RunSpec) -> RunSpec:
    """The inverse of `home_as_tilde`, for the same user."""
    user = _user() or USER
    return _with_paths(
        spec, lambda path: str(Path(*(user if part == USER else part for part in Path(path).expanduser().parts)))
    )


def _with_paths(spec: RunSpec, change: Callable[[str], str]) -> RunSpec:
    tables = {}
    for table, keys in (("model", ("path", "assistant_adapter")), ("data", ("path",))):
        paths = {key: change(value) for key in keys if (value := getattr(getattr(spec, table), key))}
        tables[table] = getattr(spec, table).model_copy(update=paths)
    return spec.model_copy(update=tables)


def redact(text: str, folder: Path) -> str:
    """`text` without the run folder's, the home folder's and the installation's path, user and host name."""
    for path, stand_in in _paths(folder):
        text = text.replace(path, stand_in)
    for name, stand_in in _names():
        text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", stand_in, text)
    return printable(text)


def redact_file(path: Path, folder: Path, lines_with: str = "") -> None:
    """The same for a text file of the run folder, in place, on lines that contain `lines_with`."""
    if path.is_symlink() or not path.is_file():
        return
    before = path.read_bytes().decode("utf-8", errors="replace")
    lines = before.splitlines(keepends=True)
    after = "".join(redact(line, folder) if lines_with in line else line for line in lines)
    if after != before:
        write_atomically(path, after, below=folder)


def _paths(folder: Path) -> list[tuple[str, str]]:
    """Longest first, so that a folder inside the home folder keeps its own stand-in."""
    known = {
        str(folder.resolve()): "RUN",
        str(folder.absolute()): "RUN",
        str(Path.home()): "~",
        sys.prefix: "PYTHON",
        sys.base_prefix: "PYTHON",
        str(Path(__file__).resolve().parents[2]): "FLUXKIT",
        str(Path.cwd()): "HERE",
    }
    system = {"/", "/usr", "/usr/local", "/opt", "/tmp"}  # noqa: S108 - names to leave alone, not files to make
    return sorted(((path, name) for path, name in known.items() if path not in system), key=lambda pair: -len(pair[0]))


def _names() -> list[tuple[str, str]]:
    names = [(platform.node(), "HOST"), (platform.node().partition(".")[0], "HOST"), (_user(), "USER")]
    # Everyone's machine has these: they say nothing about whose it is.
    return [(name, word) for name, word in names if len(name) >= MIN_NAME and name not in {"root", "localhost"}]


def _user() -> str:
    """The name of this user; empty for a container's user id without an entry in /etc/passwd."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""
