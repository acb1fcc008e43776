"""Requests to stop: heard at once, or noted and looked at; never swallowed, never forgotten."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from fluxkit.dataset.picture_loader import load_pairs
from fluxkit.machine.stop_requests import STOP_SIGNALS, StopRequestedError, check_stop, stop_requests
from fluxkit.spec.workload import DataSpec

if TYPE_CHECKING:
    from pathlib import Path


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_every_signal_is_heard_at_once_and_no_library_swallows_it(number: int) -> None:
    """A lazy import that forgives every `Exception` does not forgive this one."""
    with stop_requests() as stop, stop.at_once():
        kind = KeyboardInterrupt if number == signal.SIGINT else StopRequestedError
        with pytest.raises(kind), suppress(Exception):  # as libraries do
            send(number)
        assert (stop.first, stop.name) == (number, signal.Signals(number).name)


def test_what_is_swallowed_all_the_same_is_heard_at_the_next_boundary() -> None:
    """A destructor's exceptions are only printed; the boundary after it hears the request."""
    with stop_requests() as stop, stop.at_once():
        with suppress(BaseException):  # as a destructor does
            send(signal.SIGTERM)
        with pytest.raises(StopRequestedError):
            check_stop()


def test_a_deferred_request_is_noted_and_the_deferral_ends_however_its_block_does() -> None:
    """An error in the block leaves the request to be looked at, and the next one would be heard at once."""
    with stop_requests() as stop, stop.at_once():
        with suppress(ValueError), stop.deferred():
            send(signal.SIGUSR1)
            raise ValueError
        with pytest.raises(StopRequestedError):
            stop.check()
    with stop_requests() as stop, stop.at_once():
        with suppress(ValueError), stop.deferred():
            raise ValueError
        with pytest.raises(StopRequestedError):
            send(signal.SIGTERM)


def test_only_a_second_interrupt_by_hand_ends_it_at_once() -> None:
    """A scheduler that repeats itself changes nothing, not even while what is begun is ended."""
    with stop_requests() as stop, stop.deferred():
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM):
            send(number)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
        assert stop.first == signal.SIGUSR1


def test_pictures_are_looked_through_one_by_one(tmp_path: Path) -> None:
    """A folder of pictures is left between two of them, whatever has swallowed the signal."""
    for number in range(2):
        Image.new("RGB", (80, 80), (number, 0, 0)).save(tmp_path / f"{number}.png")
    data = DataSpec(source="folder", path=str(tmp_path), caption="a colour")
    with stop_requests() as stop:
        assert len(load_pairs(data).used) == 2
        with stop.deferred():
            send(signal.SIGTERM)
        with pytest.raises(StopRequestedError):
            load_pairs(data)


def test_there_is_one_for_a_whole_command_and_then_all_is_as_before() -> None:
    """Whoever asks inside gets the same one, and the handlers from before come back."""
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    with stop_requests() as outer, stop_requests() as inner:
        assert outer is inner
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before
    check_stop()


def test_once_the_end_is_decided_nothing_is_heard() -> None:
    """A signal after that neither raises nor ends the process."""
    with stop_requests() as stop, stop.at_once():
        stop.ignore()
        for number in STOP_SIGNALS:
            send(number)


def test_what_is_ignored_from_the_start_stays_so() -> None:
    """Under nohup the end of a terminal is no request to stop."""
    code = (
        "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from fluxkit.machine.stop_requests import StopRequests\n"
        "stop = StopRequests.listen(); os.kill(os.getpid(), signal.SIGHUP); print(stop.requested)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
