"""Two commands on one folder at the same moment: one runs, the other is refused in a sentence, nothing is harmed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import builders
import psutil
from faults._words import say

from fluxkit.errors import ExitCode
from fluxkit.files.atomic_file import to_json
from fluxkit.files.lock import RunLock
from fluxkit.fold.verify import verify_all
from fluxkit.plan.plan import Job
from fluxkit.record.run_folder import write_result

STAND_IN = str(Path(__file__).parents[1] / "stand_in.py")
COMMAND = f"""
import sys
from fluxkit.cli.app import main
from fluxkit.run import engine_process
scenario = sys.argv.pop(1)
engine_process.engine_command = lambda folder, plan: [sys.executable, {STAND_IN!r}, scenario, str(folder)]
print("ready", flush=True)
sys.stdin.readline()
main(sys.argv[1:])
"""
"""fluxkit, with a stand-in for the engine; it waits at a gate once it is loaded."""
REFUSED = {ExitCode.USAGE, ExitCode.MACHINE}
"""The other one is at it, or was done with it already."""
ATTEMPTS = 2
"""Of a run that failed and was resumed once."""
Ends = list[tuple[int, str]]
"""Exit codes and last words."""


def waiting(scenario: str, *words: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, scenario, *words, "--quiet"], stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )
    process.stdout.readline()
    return process


def let_go(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()


def ends(*processes: subprocess.Popen[str]) -> Ends:
    said = [process.communicate()[1] for process in processes]
    return [(process.returncode, words) for process, words in zip(processes, said, strict=True)]


def at_once(scenario: str, *words: str) -> Ends:
    both = waiting(scenario, *words), waiting(scenario, *words)
    let_go(*both)
    return ends(*both)


def run(scenario: str, folder: Path, *more: str) -> subprocess.Popen[str]:
    process = waiting(scenario, "run", "nano-laptop-cpu", "--out", str(folder), *more)
    let_go(process)
    return process


def two_runs(folder: Path) -> Ends:
    return at_once("completed", "run", "nano-laptop-cpu", "--out", str(folder))


def two_resumes(folder: Path) -> Ends:
    ends(run("dies", folder))
    return at_once("completed", "resume", str(next(folder.glob("0*"))))


def two_resumes_of_a_dead_launcher(folder: Path) -> Ends:
    """Both have to settle what is left before they go on."""
    launcher = run("stubborn", folder)
    while not list(folder.glob("0*/ready")):
        time.sleep(0.01)
    engines = psutil.Process(launcher.pid).children()
    launcher.kill()
    ends(launcher)
    for engine in engines:  # the stand-in does not listen, and holds no lock
        engine.kill()
    return at_once("completed", "resume", str(next(folder.glob("0*"))))


def two_resumed_studies(folder: Path) -> Ends:
    ends(run("dies", folder))
    return at_once("completed", "run", "nano-laptop-cpu", "--out", str(folder), "--resume")


def a_resume_beside_a_run(folder: Path) -> Ends:
    run_folder = folder / "00-nano-laptop-cpu-r0"
    resume = waiting("completed", "resume", str(run_folder))
    running = run("leaves_child", folder)
    while not (run_folder / "result.json").exists():
        time.sleep(0.01)
    let_go(resume)
    return ends(running, resume)


def two_joins(folder: Path) -> Ends:
    """Of a run on two machines, whose first one is this process."""
    result = builders.result()
    plan = result.plan.model_copy(update={"processes": 2, "nodes": 2})
    folder.mkdir()
    with RunLock(folder):
        (folder / "job.json").write_text(to_json(Job(spec=result.spec, plan=plan, seed=0)))
        write_result(folder, result.model_copy(update={"status": "started", "plan": plan}))
        both = waiting("stubborn", "join", str(folder)), waiting("stubborn", "join", str(folder))
        let_go(*both)
        while all(process.poll() is None for process in both) or not (folder / "ready").exists():
            time.sleep(0.01)
        write_result(folder, result.model_copy(update={"plan": plan}))
        for process in both:
            if process.poll() is None:
                for engine in psutil.Process(process.pid).children():
                    engine.kill()
        return ends(*both)


KINDS = (two_runs, two_resumes, two_resumes_of_a_dead_launcher, two_resumed_studies, a_resume_beside_a_run, two_joins)


def verdict(kind: str, folder: Path, both: Ends) -> str:
    """What a pair came to; lost where not exactly one ran, one ended in no sentence, or the result does not verify."""
    codes = sorted(code for code, _ in both)
    words = " ".join(said for _, said in both)
    if kind == "two_resumed_studies" and codes == [0, 0] and len(list(folder.glob("0*/events/*"))) == ATTEMPTS:
        return "one ran, the other found it done"  # a study that is complete is resumed by reading it
    if codes[0] != ExitCode.DONE or codes[1] not in REFUSED or "Traceback" in words or "fluxkit: " not in words:
        return f"LOST: exit codes {codes}, {words[-300:]!r}"
    if kind != "two_joins" and (problems := [p for found in verify_all([folder]) for p in found.problems]):
        return f"LOST: {problems[:3]}"
    return f"one ran, the other: exit code {codes[1]}"


def main(count: int = 50) -> int:
    """Tries so many pairs of each kind; gives how many were lost."""
    tally: Counter[tuple[str, str]] = Counter()
    for kind in KINDS:
        for number in range(count):
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch) / f"pair-{number}"
                tally[kind.__name__, verdict(kind.__name__, folder, kind(folder))] += 1
    for (kind, end), tries in sorted(tally.items()):
        say(f"{kind:32}{tries:5}  {end}")
    lost = sum(tries for (_, end), tries in tally.items() if end.startswith("LOST"))
    say(f"pairs: {sum(tally.values())} tried, {lost} lost")
    return lost
