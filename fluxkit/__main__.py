"""`python -m fluxkit` and `fluxkit`: the command line, which hears that it is to stop from its first moment."""

from typing import NoReturn

from fluxkit.machine.stop_requests import StopRequests


def main() -> NoReturn:
    """The command `fluxkit`."""
    StopRequests.listen()  # loading the command line takes longer than a signal
    from fluxkit.cli.app import main as command

    command()


if __name__ == "__main__":
    main()
