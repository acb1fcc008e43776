"""What a user may meet: what was wrong, where, what to do next, and the exit code."""

import unicodedata
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


def printable(text: str) -> str:
    """`text` without control characters: a stranger's file name can't steer the reader's terminal."""
    if text.isprintable():  # nearly all: a page cleans some thousand texts
        return text
    return "".join(
        character if character in "\n\t" or unicodedata.category(character)[0] != "C" else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )
