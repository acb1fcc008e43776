"""Text files that people write: the one place that decodes them."""

import codecs
import errno
import re
from pathlib import Path

from fluxkit.values import read_regular

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
RICH_TEXT = "{\\rtf"
"""How the files of word processors begin, whatever their suffix."""
NO_TEXT = re.compile("[\0-\x08\x0e-\x1f\ud800-\udfff]")
"""Controls that no editor writes, and halves of pairs, which JSON can spell and no file can hold.

They tell UTF-16 without its mark and UTF-32 (NUL), JIS (ESC) and what is no text at all.
"""


class NotTextError(Exception):
    """Why a file can't be read as text, as words that follow its name."""


def read_text(path: Path, max_bytes: int) -> str:
    """The text of a file in UTF-8, with or without a byte order mark, or in UTF-16 with one; line ends as they are.

    Raises:
        NotTextError: it is larger than `max_bytes`, or in another encoding, which would only be guessed.
        OSError: it can't be read.
    """
    try:
        content = read_regular(path, max_bytes)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise NotTextError(f"is larger than {max_bytes} bytes") from None
        raise
    try:
        text = content.decode("utf-16" if content.startswith(UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotTextError("is not a text file in UTF-8: save it as UTF-8") from error
    if NO_TEXT.search(text):
        raise NotTextError("is not a text file in UTF-8, it holds control characters: save it as UTF-8")
    if text.startswith(RICH_TEXT):
        raise NotTextError("is rich text: save it as plain text in UTF-8")
    return text.lstrip("\ufeff")  # a second mark, where a file was appended to an empty one
