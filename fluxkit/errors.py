"""What a user may meet: what was wrong, where, what to do next, and the exit code."""

import re
from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of the command line; scripts and schedulers may rely on them."""

    DONE = 0
    USAGE = 2
    MACHINE = 3
    RUN_FAILED = 4
    NOT_COMPARABLE = 5
    CHECKPOINTED = 75
    INTERRUPTED = 130


class FluxkitError(Exception):
    """One plain sentence for a user: what was wrong, where, and what to do."""

    exit_code = ExitCode.RUN_FAILED

    def __init__(self, sentence: str) -> None:
        super().__init__(printable(sentence))


class UsageError(FluxkitError):
    """A wrong command, spec or file: nothing about this machine would make it right."""

    exit_code = ExitCode.USAGE


class MachineError(FluxkitError):
    """This machine or its files refuse what was asked; another machine might not."""

    exit_code = ExitCode.MACHINE


class RunError(FluxkitError):
    """A run failed; its result is written and says where and why."""

    exit_code = ExitCode.RUN_FAILED


HARMFUL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""Control codes, separators of lines, overrides of the reading direction, halves of pairs, and what XML forbids.

Joiners (ZWJ, ZWNJ), direction marks and characters newer than this Python are part of how people write.
"""


_DRIVE = re.compile(r"(?:^|/)([A-Za-z]):[\\/]")


def drive_hint(path: str) -> str:
    """What to add about a path that is not there because it is one of Windows; empty for others."""
    drive = _DRIVE.search(path)
    return f"; inside WSL 2 the drive {drive[1].upper()}: is /mnt/{drive[1].lower()}" if drive else ""


def printable(text: str) -> str:
    """`text` without what could steer the reader's terminal or break a page; new lines and tabs stay."""
    return HARMFUL.sub("\N{REPLACEMENT CHARACTER}", text)
