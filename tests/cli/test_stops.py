"""The whole command, told to stop at moments when no engine is at work: one request, exit code 75, nothing torn."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fluxkit.fold.outcome import folded_result

COMMAND = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
from fluxkit.run import engine_process, launch, study
stand_in = {tests!r} + "/stand_in.py"
engine_process.engine_command = lambda folder, plan: [sys.executable, stand_in, "completed", str(folder)]

def stopping(module, name, *, after=False, number={number}):
    work = getattr(module, name)
    def stopped(*arguments, **options):
        setattr(module, name, work)
        if not after:
            os.kill(os.getpid(), number)
        value = work(*arguments, **options)
        if after:
            os.kill(os.getpid(), number)
        return value
    setattr(module, name, stopped)

{moment}
from fluxkit.__main__ import main
main()
"""
TESTS = str(Path(__file__).parents[1])
MOMENTS = {
    "planning": 'stopping(study, "plan_all")',
    "beginning": 'stopping(launch, "_write_down")',
    "folding": 'stopping(launch, "settle_on_disk")',
    "between": 'stopping(study, "launch", after=True)',
    "ending": 'stopping(study, "run_sentence", after=True)',
}


def run(out: Path, moment: str = "", number: int = signal.SIGTERM, *words: str) -> subprocess.CompletedProcess[str]:
    code = COMMAND.format(tests=TESTS, number=int(number), moment=moment)
    spec = ("run", "nano-laptop-cpu", "--repeats", "2", "--set", "tune.iterations=40", "--set", "tune.seconds=10.0")
    command = [sys.executable, "-c", code, *spec, "--out", str(out), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("planning", signal.SIGTERM),
        ("beginning", signal.SIGTERM),
        ("folding", signal.SIGUSR1),
        ("folding", signal.SIGINT),
        ("between", signal.SIGQUIT),
        ("ending", signal.SIGTERM),
    ],
)
def test_one_request_is_for_the_whole_command(tmp_path, moment, number):
    """No further run begins, the exit code says that it was told to stop, and the same command does the rest."""
    out = tmp_path / "study"
    done = run(out, MOMENTS[moment], number, "--json")
    assert done.returncode == (130 if number == signal.SIGINT else 75), done.stderr
    assert "Traceback" not in done.stderr
    begun = [folded_result(path).status for path in sorted(out.glob("0*-*"))]
    if moment == "planning":
        assert "Stopped by" in done.stderr
        assert not out.exists()
    else:
        assert f"fluxkit resume {out}" in done.stderr
        # At its beginning the stand-in may be done before it can be told.
        assert begun in ([["completed"], ["interrupted"]] if moment == "beginning" else [["completed"]])
    if moment not in {"planning", "folding"}:
        told = json.loads(done.stdout)
        assert told["stopped"] is True
    again = run(out, "", number, *(["--resume"] if out.exists() else []))
    assert again.returncode == 0, again.stderr
    assert [folded_result(path).status for path in sorted(out.glob("0*-*"))] == ["completed", "completed"]


def test_a_stop_while_python_itself_is_loading_is_heard(tmp_path):
    """From the first line of fluxkit on nothing ends the process but fluxkit."""
    command = [sys.executable, "-v", "-m", "fluxkit", "run", "nano-laptop-cpu", "--out", str(tmp_path / "study")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        for line in process.stderr:
            if line.startswith("import 'typer"):
                break
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
    assert process.returncode == 75
    assert "Traceback" not in said
    assert not (tmp_path / "study").exists()


def test_a_second_interrupt_while_a_run_is_folded_tears_nothing(tmp_path):
    """It ends at once, and what stood on disk before stands there whole."""
    out = tmp_path / "study"
    twice = f"{MOMENTS['folding']}\nstopping(launch, 'settle_on_disk')"
    began = time.monotonic()
    done = run(out, twice, signal.SIGINT)
    assert (done.returncode, time.monotonic() - began < 60) == (130, True)
    (first,) = out.glob("0*-*")
    assert json.loads((first / "result.json").read_text())["status"] == "started"
    assert folded_result(first).status == "completed"
    assert not list(out.rglob(".*"))
