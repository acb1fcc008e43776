"""What of a stranger's text reaches a terminal or a page."""

from __future__ import annotations

import pytest

from fluxkit.errors import UsageError, drive_hint, printable


@pytest.mark.parametrize(
    "text",
    [
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",  # a family, joined by ZWJ
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian with ZWNJ
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",  # the flag of England
        "soft\u00adhyphen, \u200emarks\u200f, \ue000 private, \U0001fae9 newer than Python, two\nlines\tand a tab",
    ],
)
def test_what_people_write_is_shown_as_it_is(text):
    """Joiners, tags, direction marks and characters that this Python does not know are part of it."""
    assert printable(text) == text


@pytest.mark.parametrize(
    "character",
    ["\0", "\x07", "\r", "\x1b", "\x7f", "\x85", "\x9b", "\u2028", "\u2029", "\u202e", "\u2066", "\ud800", "\uffff"],
)
def test_what_could_harm_is_replaced(character):
    """Control codes, overrides of direction, halves of characters, and what no XML may hold."""
    assert printable(f"a{character}b") == "a\N{REPLACEMENT CHARACTER}b"
    str(UsageError(f"a{character}b")).encode()


@pytest.mark.parametrize(
    ("path", "drive"), [("C:\\Users\\me", "C: is /mnt/c"), ("/home/me/d:/cats", "D: is /mnt/d"), ("/home/c/x", ""),
                        ("https://host/x", ""), ("C:", "")],
)  # fmt: skip
def test_a_path_of_windows_is_told_where_it_lies(path, drive):
    """Who works inside WSL 2 learns where the drive is; nobody else is told anything."""
    assert drive_hint(path).endswith(drive)
    assert bool(drive_hint(path)) == bool(drive)
