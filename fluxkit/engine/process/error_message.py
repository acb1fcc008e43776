"""What an error of a library means to a reader: a line or two of its message, and the file that it is about.

Libraries write messages for their own developers: a heading first, reports, hints and advice after it, or no more than
the name of a key.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fluxkit.errors import FluxkitError
from fluxkit.record.facts import OUT_OF_MEMORY

ENOUGH, MOST = 60, 400
"""Characters after which a message is one, and those after which nobody reads on."""
FEWEST_WORDS = 4
"""A message of fewer words is a name or a number; the error's class and place make it one."""
ASIDES = ("Developer debug context", "from user code", "For more details", "For further information", "Set TORCH")
"""How the lines begin that torch and pydantic add for developers."""


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Lets an error inside the block tell which file or folder was read."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, FluxkitError) and str(path) not in str(error):
            error.add_note(f"while reading {path}")
        raise


def meaning(error: BaseException) -> str:
    """The message of an error in one line, never empty: what it says, what caused it, and what was read."""
    words = _first_words(str(error))
    if isinstance(error, FluxkitError):
        return words
    if len(words.split()) < FEWEST_WORDS:
        words = f"{type(error).__name__}{': ' * bool(words)}{words}{_place(error)}"
    # The run begins again with less where memory ran out, and NCCL says that in its last line.
    memory = next(filter(OUT_OF_MEMORY.search, str(error).splitlines()), "").strip()
    if memory and not OUT_OF_MEMORY.search(words):
        words = f"{words} ({memory[:MOST]})"
    cause = _first_words(str(error.__cause__ or ""))
    if cause and cause not in words:
        words = f"{words} ({cause})"
    notes = [note for note in getattr(error, "__notes__", ()) if note not in words]
    return " ".join([words, *(f"({note})" for note in notes)])


def _first_words(message: str) -> str:
    """Lines until they say something: a heading that ends in a colon never stands alone."""
    words = ""
    for line in map(str.strip, message.splitlines()):
        if words and ((len(words) >= ENOUGH and not words.endswith(":")) or line.startswith(ASIDES)):
            break
        words = f"{words} {line}".strip()
    return words if len(words) <= MOST else f"{words[:MOST].rsplit(' ', 1)[0]} …"


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f" in {frames[-1].name}, {Path(frames[-1].filename).name} line {frames[-1].lineno}" if frames else ""
