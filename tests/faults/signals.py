"""Every signal that asks to stop, at every moment of real commands: heard, obeyed, and nothing lost by it.

A try goes wrong where the exit code is not 75 (130 for SIGINT), where a process outlives its launcher, where a person
or a log is shown a traceback, where something lies half written, and where the study does not complete in the end.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil
from faults._words import PRESETS, say, settings

from fluxkit.errors import FluxkitError
from fluxkit.fold.outcome import folded_result
from fluxkit.fold.verify import verify_all
from fluxkit.machine.stop_requests import STOP_SIGNALS

TINY = settings("tune.iterations=4", "tune.seconds=0.03", "inference.min_seconds=0.5", "inference.max_seconds=1.0")
PHASES = ("import", "prepare", "load", "warm_up", "tune", "evaluate", "inference")
STUDY = ("loading", "planning", "start", *PHASES, "folding", "between")
"""Moments of a study of two runs: before it begins, in its first run, while that is folded, and before the second."""
COMMANDS = ("download", "report")
MARK = "FLUXKIT_TEST_OF_SIGNALS"
"""Variable that tells the processes of a try."""
PATIENCE_SECONDS = 300.0
FAULTS = ("lost", "orphans", "tracebacks", "exit codes", "torn")


class Try(NamedTuple):
    """One command that is sent one signal."""

    process: subprocess.Popen[str]
    mark: str
    folder: Path
    run: Path
    earlier: frozenset[Path]
    """Events of the attempts before it."""


def start(folder: Path, *words: str | Path, **variables: str) -> Try:
    mark = f"{time.monotonic_ns()}"
    runs = sorted(folder.glob("0*-*"))
    run = runs[0] if runs else folder / "none"
    command = [sys.executable, "-m", "fluxkit", *map(str, words)]
    environment = {**os.environ, **variables, MARK: mark}
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)
    return Try(process, mark, folder, run, frozenset(run.glob("events/*")))


def family(mark: str) -> list[psutil.Process]:
    members = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process)
    return members


def events(attempt: Try) -> str:
    files = {file for run in attempt.folder.glob("0*-*") for file in run.glob("events/rank-0.*")}
    return "".join(file.read_text() for file in files - attempt.earlier)


def has_come(attempt: Try, moment: str) -> bool:
    if moment == "loading":  # before that no line of fluxkit has run
        return catches(attempt.process.pid)
    if moment in {"planning", "report"}:
        return cpu_seconds(attempt) > 0.3
    if moment in {"start", "download"}:
        return any(process.pid != attempt.process.pid for process in family(attempt.mark))
    if moment == "between":
        return any(attempt.folder.glob("01-*"))
    text = events(attempt)
    return '"event":"finished"' in text if moment == "folding" else f'"phase":"{moment}"' in text


def catches(pid: int) -> bool:
    """Whether a process handles SIGTERM."""
    with suppress(OSError, StopIteration):
        status = Path(f"/proc/{pid}/status").read_text()
        mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
        return bool(int(mask, 16) >> (signal.SIGTERM - 1) & 1)
    return False


def cpu_seconds(attempt: Try) -> float:
    with suppress(psutil.Error):
        times = psutil.Process(attempt.process.pid).cpu_times()
        return times.user + times.system
    return 0.0


def wait_for(attempt: Try, moment: str) -> bool:
    """Whether the moment has come before the command ended; a random part of a second later."""
    while attempt.process.poll() is None:
        if has_come(attempt, moment):
            time.sleep(0 if moment in {"loading", "planning"} else random.uniform(0, 0.5))
            return attempt.process.poll() is None
        time.sleep(0.02)
    return False


def problems_of(attempt: Try, number: int, said: str) -> set[str]:
    wanted = 130 if number == signal.SIGINT else 75
    problems = set()
    if attempt.process.returncode != wanted:
        problems.add("exit codes")
    if family(attempt.mark):
        problems.add("orphans")
    logs = "".join(log.read_text() for log in attempt.folder.glob("0*-*/engine.log"))
    # torchrun's own, wherever a rank leaves with another code than 0.
    if "Traceback" in said or logs.count("Traceback") > logs.count("ChildFailedError: "):
        problems.add("tracebacks")
    for run in attempt.folder.glob("0*-*"):
        try:
            result = folded_result(run)
        except FluxkitError:
            problems.add("torn")
            continue
        if result.status not in {"interrupted", "completed"} or (result.error and result.error.kind == "Lost"):
            problems.add("lost")
    if any(attempt.folder.rglob(".*.*")):
        problems.add("torn")
    return problems


class Table:
    """Counts by moment."""

    def __init__(self) -> None:
        self.tries: Counter[str] = Counter()
        self.faults: dict[str, Counter[str]] = defaultdict(Counter)
        self.slowest: dict[str, float] = defaultdict(float)

    def send(self, attempt: Try, moment: str, number: int) -> None:
        """Sends the signal at the moment, and counts what came of it."""
        if not wait_for(attempt, moment):
            attempt.process.communicate(timeout=PATIENCE_SECONDS)
            self.tries[f"{moment} (missed)"] += 1
            return
        began = time.monotonic()
        attempt.process.send_signal(number)
        _, said = attempt.process.communicate(timeout=PATIENCE_SECONDS)
        seconds = time.monotonic() - began
        problems = problems_of(attempt, number, said)
        self.tries[moment] += 1
        self.faults[moment].update(problems)
        self.slowest[moment] = max(self.slowest[moment], seconds)
        name = signal.Signals(number).name
        say(f"{moment:10} {name:8} {seconds:5.1f} s  {attempt.process.returncode} {' '.join(problems)}")
        if problems:
            say(said[-2000:])

    def show(self) -> int:
        """Prints it; gives how many faults there were."""
        say(f"\n{'moment':20}{'tries':>6}" + "".join(f"{fault:>12}" for fault in FAULTS) + f"{'slowest':>10}")
        for moment, tries in self.tries.items():
            cells = "".join(f"{self.faults[moment][fault]:12}" for fault in FAULTS)
            say(f"{moment:20}{tries:6}{cells}{self.slowest[moment]:8.1f} s")
        faults = sum(sum(counter.values()) for counter in self.faults.values())
        sent = sum(tries for moment, tries in self.tries.items() if moment in {*STUDY, *COMMANDS})
        say(f"signals: {sent} sent, {faults} faults")
        return faults


def one_study(table: Table, folder: Path, number: int, processes: int) -> None:
    """A study that gets the signal at each of its moments, is resumed after it, and completes in the end."""
    study = ("run", PRESETS[processes], *TINY, "--repeats", "2", "--out", folder)
    for moment in STUDY:
        table.send(start(folder, *study, *(["--resume"] if (folder / "study.json").exists() else [])), moment, number)
    last = start(folder, *study, "--resume")
    _, said = last.process.communicate(timeout=PATIENCE_SECONDS)
    completed = last.process.returncode == 0 and not any(verdict.problems for verdict in verify_all([folder]))
    table.tries["to the end"] += 1
    table.faults["to the end"]["lost"] += not completed
    if not completed:
        say(said[-2000:], [verdict.problems for verdict in verify_all([folder])])
    table.send(start(folder, "report", folder, "-o", folder.with_suffix(".html")), "report", number)


def one_download(table: Table, folder: Path, number: int) -> None:
    """A download from a hub that takes the call and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as hub:
        repository = ["model.repo=maker/model", f"model.revision={'0' * 40}", "model.download=true"]
        sets = [word for value in repository for word in ("--set", value)]
        words = ("run", "schnell-laptop-cpu", *sets, "--out", folder)
        address = f"http://127.0.0.1:{hub.getsockname()[1]}"
        hub_cache = {"HF_ENDPOINT": address, "HF_HOME": str(folder.with_suffix(".hub"))}
        table.send(start(folder, *words, **hub_cache), "download", number)


def main(count: int = 2 * len(STOP_SIGNALS)) -> int:
    """So many studies, each with one signal at every moment; gives how many faults there were."""
    random.seed(0)
    cells = [(number, processes) for processes in PRESETS for number in STOP_SIGNALS]
    if count < len(cells):
        random.shuffle(cells)
    table = Table()
    with tempfile.TemporaryDirectory() as scratch:
        for place in range(count):
            number, processes = cells[place % len(cells)]
            folder = Path(scratch) / f"{place}"
            one_study(table, folder, number, processes)
            one_download(table, folder.with_name(f"{place}-download"), number)
    return table.show()
