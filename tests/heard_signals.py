"""What a shell or `nohup` began deaf to some signals hears them again, and so does what it starts."""

import signal

from fluxkit.machine.stop_requests import STOP_SIGNALS


def hear_every_signal() -> None:
    """Those that ask to stop do what they do in Python by themselves, where they were ignored."""
    for number in STOP_SIGNALS:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
