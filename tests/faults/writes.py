"""Every write of a command fails in turn, alone or with all after it, as on a read-only, full or broken disk.

A try is lost where a person is shown a traceback or no sentence, where the exit code is none of those that fit, where
something lies half written, or where the same work can't be done once the disk is well again.
"""

from __future__ import annotations

import errno
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import pytest
from engine.data import test_hub_client
from faults._measured_study import SMALL
from faults._words import say

from fluxkit.errors import ExitCode
from fluxkit.fold.verify import verify_result

SOURCE = Path(__file__).with_name("_failing_writes.c")
STAND_IN = Path(__file__).parents[1] / "stand_in.py"
ERRORS = (errno.EROFS, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EIO)
EVER = 10**9
PATIENCE_SECONDS = 600
COMMAND = f"""
import sys
from fluxkit.run import engine_process
scenario = sys.argv.pop(1)
engine_process.engine_command = lambda folder, plan: [sys.executable, {str(STAND_IN)!r}, scenario, str(folder)]
from fluxkit.__main__ import main
main()
"""
"""fluxkit, with a stand-in for the engine."""
STAND_INS = re.compile(r"/(events|samples|checkpoint)(/|$)")
"""What the stand-in writes, which is nothing of fluxkit's."""
LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}")
PRESET = "nano-laptop-cpu"


class Work(NamedTuple):
    """A command whose writes are tried, in a folder of its own."""

    words: Callable[[Path], list[str]]
    """What does it, or what is left of it."""
    before: Callable[[Path], list[str]] = lambda _: []
    """The command that makes what it begins with."""
    codes: tuple[int, ...] = (ExitCode.DONE, ExitCode.MACHINE, ExitCode.RUN_FAILED)
    stood_in: bool = True
    """Whether a stand-in does the engine's part."""


def stood_in(scenario: str, *words: str | Path) -> list[str]:
    return [sys.executable, "-c", COMMAND, scenario, *map(str, words)]


def run(folder: Path, scenario: str = "completed") -> list[str]:
    begun = ["--resume"] if (folder / "study/study.json").is_file() else []
    return stood_in(scenario, "run", PRESET, "--quiet", "--out", folder / "study", *begun)


def real_run(folder: Path) -> list[str]:
    sets = [word for value in SMALL for word in ("--set", value)]
    return [sys.executable, "-m", "fluxkit", *run(folder)[4:], *sets]


def rerun(folder: Path) -> list[str]:
    shutil.rmtree(folder / "again", ignore_errors=True)  # it is no study that could be continued
    return stood_in("completed", "rerun", folder / "study", "--yes", "--quiet", "--out", folder / "again")


def resume(folder: Path) -> list[str]:
    return stood_in("completed", "resume", next(folder.glob("study/0*")), "--quiet")


def report(folder: Path) -> list[str]:
    return stood_in("", "report", folder / "study", "-o", folder / "page.html", "--with-results")


def download(_: Path) -> list[str]:
    return [sys.executable, "-m", "fluxkit.engine.data.hub_client", "maker/schnell", test_hub_client.COMMIT]


def entries(folder: Path) -> list[str]:
    return ["install", "-D", "-t", f"{folder}/cache/latents/ab", __file__, STAND_IN]


ENDED = (ExitCode.DONE, ExitCode.MACHINE)
WORKS = {
    "run": Work(run),
    "resume": Work(resume, lambda folder: run(folder, "dies")),
    "rerun": Work(rerun, run, (*ENDED, ExitCode.RUN_FAILED, ExitCode.NOT_COMPARABLE)),
    "report": Work(report, run, ENDED),
    "verify": Work(lambda folder: stood_in("", "verify", folder / "study"), run, ()),
    "compare": Work(lambda folder: stood_in("", "compare", folder / "study"), run, ()),
    "cache": Work(lambda _: stood_in("", "cache", "--clear"), entries, ENDED),
    "download": Work(download, codes=ENDED),
    "real run": Work(real_run, stood_in=False),
}


class Disk:
    """A folder below which writes are counted, and some of them fail."""

    def __init__(self, scratch: Path) -> None:
        self.folder, self._library = scratch / "work", scratch / "failing_writes.so"
        self._count, self._log = scratch / "count", scratch / "log"
        subprocess.run(["gcc", "-shared", "-fPIC", SOURCE, "-o", self._library, "-ldl"], check=True)

    def lay(self, state: Path) -> None:
        """Puts a copy of a folder in place."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(state, self.folder)

    def run(self, command: list[str], first: int = EVER, last: int = EVER, error: int = 0) -> tuple[int, str]:
        """Exit code and words of a command whose writes with these numbers, from 1 on, fail."""
        self._count.write_bytes(bytes(8))
        self._log.write_text("")
        variables = {
            "LD_PRELOAD": self._library, "WRITES_BELOW": f"{self.folder}/", "WRITES_COUNT": self._count,
            "WRITES_LOG": self._log, "WRITES_FIRST": first, "WRITES_LAST": last, "WRITES_ERRNO": error,
            "FLUXKIT_CACHE": self.folder / "cache", "HF_HOME": self.folder / "hub",
        }  # fmt: skip
        done = subprocess.run(
            command, env=os.environ | {name: str(value) for name, value in variables.items()}, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=PATIENCE_SECONDS,
        )  # fmt: skip
        return done.returncode, done.stdout

    def writes(self) -> list[tuple[int, str, str]]:
        """Number, call and path of what the last command did."""
        lines = [line.split(" ", 2) for line in self._log.read_text().splitlines()]
        return [(int(number), call, path) for number, call, path in lines]


def problems(disk: Disk, work: Work, code: int, said: str, *, broken: bool) -> list[str]:
    """What was wrong with how a command ended, and with what it left.

    On a disk that was `broken` to its end it could take nothing away; `verify` finds what lies in the folder of a run.
    """
    wrong = []
    if code not in work.codes:
        wrong.append(f"exit code {code}")
    if "Traceback" in said or not said.strip():
        wrong.append("no sentence")
    again, words = disk.run(work.words(disk.folder))
    if again not in {ExitCode.DONE, ExitCode.NOT_COMPARABLE} and "nothing to resume" not in words:
        wrong.append(f"can't be done again: {words[-300:]}")
    results = sorted(disk.folder.glob("study/*/result.json"))
    wrong += [problem for file in results for problem in verify_result(file).problems]
    wrong += [f"left {file.name}" for file in disk.folder.rglob(".*") if LEFTOVER.fullmatch(file.name) and not broken]
    return wrong


@contextmanager
def hub() -> Iterator[None]:
    """A hub on this machine, for what this process starts."""
    handler = type("Handler", (test_hub_client.Hub,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, pytest.MonkeyPatch.context() as patch:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        patch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        patch.setenv("HF_HUB_DISABLE_XET", "1")
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield
        server.shutdown()


def tries_of(disk: Disk, name: str, state: Path) -> list[tuple[str, int, int]]:
    """Each write of a command alone, and each with all after it, by their numbers; of a real run one of each kind.

    Keeps in `state` what the command begins with.
    """
    work = WORKS[name]
    disk.folder.mkdir()
    if before := work.before(disk.folder):
        disk.run(before)
    disk.folder.rename(state)
    disk.lay(state)
    code, said = disk.run(work.words(disk.folder))
    assert code in {ExitCode.DONE, ExitCode.NOT_COMPARABLE}, said
    kinds = {
        (call, re.sub(r"[0-9a-f]{8,}|\d+", "", path) if name == "real run" else number): number
        for number, call, path in disk.writes()
        if name == "real run" or not STAND_INS.search(path)
    }
    shutil.rmtree(disk.folder)
    return [(name, number, last) for number in kinds.values() for last in (number, EVER)]


def tried(scratch: Path, works: Sequence[str], count: int = EVER) -> Counter[tuple[str, str]]:
    """How so many tries of some works end, each told where it is lost."""
    ends, errors = Counter[tuple[str, str]](), cycle(ERRORS)
    with hub():
        disk = Disk(scratch)
        tries = [one for name in works for one in tries_of(disk, name, scratch / name)]
        for name, first, last in random.Random(0).sample(tries, min(count, len(tries))):
            disk.lay(scratch / name)
            error = next(errors)
            code, said = disk.run(WORKS[name].words(disk.folder), first, last, error)
            failed = next((" ".join(write[1:]) for write in disk.writes() if write[0] == first), "nothing")
            wrong = problems(disk, WORKS[name], code, said, broken=last == EVER)
            ends[name, "LOST" if wrong else f"exit code {code}"] += 1
            if wrong:
                after = "" if first == last else " and all after it"
                say(f"lost: {name}, {os.strerror(error)} at {failed}{after}: {'; '.join(wrong)}\n{said[-1500:]}")
    return ends


def main(count: int = EVER) -> int:
    """So many tries, or all; gives how many were lost."""
    with tempfile.TemporaryDirectory() as scratch:
        ends = tried(Path(scratch), tuple(WORKS), count)
    for (name, end), number in sorted(ends.items()):
        say(f"{name:10}{number:6}  {end}")
    lost = sum(number for (_, end), number in ends.items() if end == "LOST")
    say(f"writes: {ends.total()} failed, {lost} lost")
    return lost
