"""Text files that people write: the one place that decodes them."""

import codecs
import errno
from pathlib import Path

from fluxkit.values import read_regular

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


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
    if "\0" in text:  # UTF-16 without its mark, UTF-32, or no text at all
        raise NotTextError("is not a text file in UTF-8, it holds NUL: save it as UTF-8")
    return text
