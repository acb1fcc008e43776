"""SIGKILL for the launcher, torchrun, both or a rank of real runs, in every phase, and again while they are resumed.

A try is lost where a process outlives it, where the run is called dead while one lives, where a second team gets in
beside one, where what is left can't be read, or where the run does not complete in the end.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
from faults._words import PRESETS, say, settings

from fluxkit.engine.process.parent_watch import LAUNCHER
from fluxkit.errors import FluxkitError
from fluxkit.files.lock import RunLock, is_held
from fluxkit.fold.outcome import folded_result
from fluxkit.fold.verify import verify_all

SMALL = settings(
    "tune.iterations=8", "tune.seconds=3.0", "execution.checkpoint_seconds=1.0", "inference.min_seconds=1.0"
)
VICTIMS = {1: ("launcher", "rank", "launcher+rank"), 2: ("launcher", "torchrun", "launcher+torchrun", "rank")}
PHASES = ("start", "import", "load", "tune", "evaluate", "inference")
KILLS_OF_A_RUN = 3
ORPHAN_SECONDS = 30.0
"""After a kill all is to be over by then: a block, a checkpoint, and what a loaded machine adds."""


def fluxkit(*words: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fluxkit", *map(str, words), "--quiet"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def family(launcher: int) -> list[psutil.Process]:
    """The processes that a launcher started, wherever they hang now."""
    members = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            mark = process.environ().get(LAUNCHER, "")
            if mark.startswith(f"{launcher} ") and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process)
    return members


def role(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return "torchrun" if "torch.distributed.run" in process.cmdline() else "rank"
    return "gone"


def has_begun(run: Path, phase: str, earlier: set[Path]) -> bool:
    """Whether the newest attempt has come to a phase."""
    events = [line for file in set(run.glob("events/rank-0.*")) - earlier for line in file.read_text().splitlines()]
    return any('"phase_started"' in line and f'"phase":"{phase}"' in line for line in events)


def await_phase(launcher: subprocess.Popen[str], run: Path, phase: str, earlier: set[Path]) -> None:
    while launcher.poll() is None:
        if family(launcher.pid) if phase == "start" else has_begun(run, phase, earlier):
            break
        time.sleep(0.05)
    time.sleep(random.uniform(0, 1))


def kill(launcher: subprocess.Popen[str], victim: str) -> bool:
    """Ends the victims at once; whether all of them were there."""
    members = {role(process): process.pid for process in family(launcher.pid)}
    if launcher.poll() is None:
        members["launcher"] = launcher.pid
    numbers = [members.get(name) for name in victim.split("+")]
    if None in numbers:
        return False
    for number in numbers:
        with suppress(OSError):
            os.kill(number, signal.SIGKILL)
    return True


def writers(launcher: int) -> list[psutil.Process]:
    """Ranks that may write: each holds its lock open."""
    ranks = []
    for process in family(launcher):
        with suppress(psutil.Error):
            if any("run.rank-" in file.path for file in process.open_files()):
                ranks.append(process)
    return ranks


def is_let_in(run: Path) -> bool:
    """Whether a second team could begin."""
    try:
        with RunLock(run):
            return True
    except FluxkitError:
        return False


def watch_the_end(launcher: subprocess.Popen[str], run: Path, problems: Counter[str]) -> float:
    """Seconds until all is over; what others would be told of it meanwhile is looked at all the time."""
    began = time.monotonic()
    while launcher.poll() is None or family(launcher.pid):
        if time.monotonic() - began > ORPHAN_SECONDS:
            problems["orphan"] += 1
            break
        before = writers(launcher.pid)
        free = not is_held(run), launcher.poll() is not None and is_let_in(run)
        alive = {process.pid for process in before} & {process.pid for process in writers(launcher.pid)}
        problems["called dead"] += bool(alive) and free[0]
        problems["second team"] += bool(alive) and free[1]
        time.sleep(0.05)
    return time.monotonic() - began


def what_is_left(run: Path, problems: Counter[str]) -> str:
    """How the run ended by what lies there; everything must be readable."""
    time.sleep(0.5)  # the last thread of a killed process lets go of its locks a moment after the process is gone
    try:
        result = folded_result(run)
    except FluxkitError:
        return "nothing begun"
    problems["still started"] += result.status == "started"
    problems["unreadable"] += bool(result.error and result.error.kind == "UnreadableEvents")
    return f"{result.status}: {result.error.kind}" if result.error else result.status


def one_run(processes: int, folder: Path, cells: list[tuple[str, str]], tally: Counter[tuple[str, ...]]) -> None:
    """Kills a run and its resumed attempts, one cell after the other, and lets the last attempt complete."""
    study = ("run", PRESETS[processes], *SMALL, "--out", folder)
    for victim, phase in [*cells, ("", "")]:
        runs = sorted(folder.glob("0*"))
        begin = study if not (folder / "study.json").exists() else (*study, "--resume")
        earlier = set(runs[0].glob("events/*")) if runs else set()
        launcher, run = fluxkit(*begin), folder / f"00-{PRESETS[processes]}-r0"
        if not victim:
            _, said = launcher.communicate()
            done = launcher.returncode == 0 and not any(verdict.problems for verdict in verify_all([folder]))
            tally[str(processes), "to the end", "", "completed" if done else f"LOST: {said[-300:]}"] += 1
            return
        await_phase(launcher, run, phase, earlier)
        if not kill(launcher, victim):
            launcher.communicate()
            tally[str(processes), victim, phase, "came too late"] += 1
            continue
        problems: Counter[str] = Counter()
        seconds = watch_the_end(launcher, run, problems)
        launcher.communicate()
        outcome = what_is_left(run, problems)
        lost = [name for name, count in problems.items() if count]
        tally[str(processes), victim, phase, f"LOST: {', '.join(lost)}" if lost else outcome] += 1
        say(
            f"{processes} {victim:18} {phase:10} {seconds:5.1f} s  {outcome} {' '.join(lost)}",
        )


def main(count: int = 200) -> int:
    """Tries so many kills; gives how many were lost."""
    random.seed(0)
    cells = [(n, victim, phase) for n, victims in VICTIMS.items() for victim in victims for phase in PHASES]
    wanted = [cells[place % len(cells)] for place in range(count)]
    tally: Counter[tuple[str, ...]] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        for processes in VICTIMS:
            mine = [(victim, phase) for n, victim, phase in wanted if n == processes]
            random.shuffle(mine)
            for first in range(0, len(mine), KILLS_OF_A_RUN):
                one_run(processes, Path(scratch) / f"{processes}-{first}", mine[first : first + KILLS_OF_A_RUN], tally)
    say(f"\n{'processes':10}{'killed':20}{'in':12}{'tries':>6}  came to")
    for key, tries in sorted(tally.items()):
        say(f"{key[0]:10}{key[1]:20}{key[2]:12}{tries:6}  {key[3]}")
    lost = sum(tries for key, tries in tally.items() if key[3].startswith("LOST"))
    kills = sum(tries for key, tries in tally.items() if key[2] and key[3] != "came too late")
    say(f"kills: {kills} tried, {lost} lost")
    return lost
