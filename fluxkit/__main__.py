"""`python -m fluxkit` and `fluxkit`: the command line, which hears that it is to stop from its first moment."""

import os
import sys
from typing import NoReturn

from fluxkit.machine.stop_requests import StopRequests


def main() -> NoReturn:
    """The command `fluxkit`."""
    StopRequests.listen()  # loading the command line takes longer than a signal
    open_standard_streams()
    from fluxkit.cli.app import main as command

    command()


def open_standard_streams() -> None:
    """Who starts a program may close its standard streams; a file opened later would take their place, and words."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free is this one
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


if __name__ == "__main__":
    main()
