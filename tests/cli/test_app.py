"""The command line: what it costs, what it says of mistakes, and its exit codes."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jsonschema
import pytest

from fluxkit.cli.app import main
from fluxkit.errors import ExitCode
from fluxkit.spec.toml import preset_names

MAX_HELP_SECONDS = 0.2


SPEC = 'schema = "fluxkit.spec/2"\nname = "small"\n[tune]\niterations = 40\nseconds = 10.0\n'


def test_help_is_cheap():
    """Help costs less than a fifth of a CPU-second, so that nobody waits for it."""
    costs = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-m", "fluxkit", "--help"], capture_output=True, check=False, timeout=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0
        costs.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(costs) < MAX_HELP_SECONDS


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["presets"], ["schema", "spec"]])
def test_light_commands_load_nothing_heavy(words):
    """Help and the commands that only print load nothing of the torch family, nor statistics or charts."""
    code = (
        "import sys\nfrom fluxkit.cli import app\n"
        f"try: app.main({words!r})\nexcept SystemExit: pass\n"
        "loaded = {'torch', 'scipy', 'numpy', 'psutil', 'altair'} & set(sys.modules)\nassert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_every_command_has_a_sentence(fluxkit):
    """The command list is the one that is promised, each with words of its own."""
    commands = [
        "demo",
        "run",
        "resume",
        "plan",
        "compare",
        "report",
        "verify",
        "rerun",
        "selftest",
        "presets",
        "schema",
    ]
    code, out, _ = fluxkit("--help")
    assert code == 0
    listed = [line.split() for line in out.partition("Commands:")[2].splitlines() if line.startswith("  ")]
    assert [words[0] for words in listed if words[0] in commands] == commands
    for name in commands:
        code, out, _ = fluxkit(name, "--help")
        assert code == 0
        assert out.startswith("Usage:")


def test_the_version_says_what_it_is(fluxkit):
    """The version is data: one line with version, torch and device."""
    code, out, _ = fluxkit("--version")
    assert code == 0
    assert re.fullmatch(r"fluxkit 0\.[^,\n]+(, with changes\))?, torch \d[^,]+, \S.+\n", out)


def test_the_version_loads_no_torch():
    """Torch is named by its package's metadata."""
    code = "import sys\nfrom fluxkit.cli import app\ntry: app.main(['--version'])\nexcept SystemExit: pass\n"
    code += "assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True)


def test_a_shell_can_complete_it(monkeypatch, capsys):
    """Completion is typer's own."""
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    with pytest.raises(SystemExit) as leaving:
        main(["--show-completion", "bash"])
    assert not leaving.value.code
    assert "COMPLETE=complete_bash" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("broken = [", ["not valid TOML"]),
        (SPEC + "iteratoins = 3\n", ["unknown key tune.iteratoins", "did you mean iterations"]),
        (SPEC + 'lora_rank = "many"\n', ["tune.lora_rank", "many", "integer"]),
        (SPEC.replace("10.0", "-1.0"), ["tune.seconds = -1.0", "greater than 0"]),
        (SPEC + "[execution]\nprocesses = 3\n", ["divi", "processes"]),
        (SPEC.replace("spec/2", "spec/3"), ["schema"]),
        ("name = 'x'\n", ["no schema"]),
        (b"\xff\xd8\xff\xe0", ["UTF-8"]),
    ],
)
def test_a_wrong_spec_is_one_sentence(fluxkit, tmp_path, text, words):
    """A mistake in a spec names key, value and what is allowed, with exit code 2, and nothing is made."""
    file = tmp_path / "mine.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    for name in ("run", "plan"):
        code, out, err = fluxkit(name, file)
        assert (code, out) == (2, "")
        assert all(word in err for word in words), err
        assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "absent.toml"], "cannot be read"),
        (["run", "nano-laptop-cpuu"], "did you mean nano-laptop-cpu?"),
        (["run", "nano-laptop-cpu", "--set", "tune.seconds"], "table.key=value"),
        (["run", "nano-laptop-cpu", "--set", "tune.secnds=1.0"], "did you mean seconds?"),
        (["run", "nano-laptop-cpu", "--repeats", "0"], "greater than or equal to 1"),
        (["run"], "Missing argument"),
        (["unheard-of"], "No such command"),
        (["presets", "nano-laptop"], "no preset"),
        (["schema", "report"], "'report'"),
        (["resume", "absent"], "cannot be read"),
        (["verify", "absent"], "holds no result.json"),
        (["report", "absent"], "output"),
    ],
)
def test_a_wrong_command_is_one_sentence(fluxkit, tmp_path, words, sentence):
    """Wrong usage ends with exit code 2 and says what is wrong; nothing is made."""
    code, out, err = fluxkit(*words)
    assert (code, out) == (2, "")
    assert sentence in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_preset_without_a_gpu_is_refused(fluxkit, tmp_path, monkeypatch, machine):
    """What this machine can't do is refused in a sentence with exit code 3 before anything is made."""
    monkeypatch.setattr("fluxkit.machine.system.probe", lambda: machine(gpus=0))
    code, out, err = fluxkit("run", "nano-single-gpu")
    assert (code, out) == (3, "")
    assert len(err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["file", "a" * 300], ids=["below a file", "below a name that no disk takes"])
def test_an_unwritable_folder_is_refused(fluxkit, engine, tmp_path, place):
    """Where the study can't be written nothing is left, with exit code 3."""
    engine("completed")
    (tmp_path / "file").write_text("")
    code, _, err = fluxkit("run", "nano-laptop-cpu", "--out", tmp_path / place / "study")
    assert code == 3
    assert "--out" in err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_taken_folder_is_refused(fluxkit, engine, tmp_path):
    """A folder with something in it is refused with exit code 2."""
    engine("completed")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    code, _, err = fluxkit("run", "nano-laptop-cpu", "--out", tmp_path / "out")
    assert code == 2
    assert "fluxkit resume" in err


def test_run_names_the_study_folder(fluxkit, engine):
    """Standard output is the folder alone; words go to standard error; quiet says nothing."""
    engine("completed")
    code, out, err = fluxkit("run", "nano-laptop-cpu", "--out", "s")
    assert (code, out) == (0, "s\n")
    assert "Run 1 of 1: Laptop CPU, float32 (nano-laptop-cpu), repeat 0 with seed 0." in err
    assert err.endswith("Next: fluxkit report s -o report.html\n")
    assert fluxkit("run", "nano-laptop-cpu", "--out", "t", "--quiet") == (0, "t\n", "")


def test_run_gives_json(fluxkit, engine):
    """With --json standard output is one JSON value."""
    engine("completed")
    code, out, _ = fluxkit("run", "nano-laptop-cpu", "nano-laptop-cpu-bf16", "--repeats", "2", "--out", "s", "--json")
    assert code == 0
    assert {run["status"] for run in json.loads(out)["runs"]} == {"completed"}
    assert len(json.loads(out)["runs"]) == 4


def test_a_failed_run_has_an_exit_code(fluxkit, engine):
    """A run that fails ends with exit code 4, and its result is written."""
    engine("fails")
    code, out, err = fluxkit("run", "nano-laptop-cpu", "--out", "s")
    assert (code, out) == (4, "s\n")
    assert "failed in phase tune" in err
    assert (Path("s") / "00-nano-laptop-cpu-r0" / "result.json").is_file()


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)])
def test_a_stopped_run_has_an_exit_code(fluxkit, engine, tmp_path, number, expected):
    """Told to stop by a scheduler is 75 and by hand is 130; both say how to continue, and continuing completes."""
    engine("stoppable")

    def stop():
        while not list(tmp_path.glob("s/00-*/ready")):
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    code, _, err = fluxkit("run", "nano-laptop-cpu", "--out", "s")
    thread.join(5)
    assert code == expected
    assert "To continue: fluxkit resume s" in err
    assert fluxkit("resume", "s")[0] == 0


def test_a_dry_run_runs_nothing(fluxkit, engine, tmp_path):
    """--dry-run prints plan and order, and makes nothing."""
    engine("fails")
    code, out, _ = fluxkit("run", "nano-laptop-cpu", "--repeats", "3", "--dry-run")
    assert code == 0
    assert "3. nano-laptop-cpu, repeat 2, seed 2" in out
    assert "In all: 3 runs, " in out
    assert max(map(len, out.splitlines())) <= 80
    assert list(tmp_path.iterdir()) == []


def test_presets_are_specs(fluxkit):
    """Each preset is listed with its sentence within 80 columns, and can be printed."""
    code, out, _ = fluxkit("presets")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    listed = [line.split(maxsplit=1) for line in out.splitlines() if not line.startswith(" ")]
    assert len(listed) == len(preset_names())
    for name, sentence in listed:
        assert f'name = "{name}"' in fluxkit("presets", name)[1]
        assert sentence


def test_a_result_follows_the_published_schema(fluxkit, run_folder):
    """The schema is valid JSON Schema, and what is written follows it by an independent validator."""
    for which, value in (
        ("result", json.loads((run_folder / "result.json").read_text())),
        ("spec", json.loads((run_folder / "result.json").read_text())["spec"]),
    ):
        code, out, _ = fluxkit("schema", which)
        assert code == 0
        validator = jsonschema.validators.validator_for(json.loads(out))
        validator.check_schema(json.loads(out))
        validator(json.loads(out)).validate(value)


@pytest.mark.parametrize("which", ["spec", "result"])
def test_the_published_schema_is_pinned(fluxkit, golden, which):
    """The schema changes only together with the file that pins it."""
    golden(f"{which}.schema.json", fluxkit("schema", which)[1])


def test_a_completed_run_is_not_resumed(fluxkit, run_folder):
    """There is nothing to resume, which is wrong usage."""
    code, _, err = fluxkit("resume", run_folder)
    assert code == 2
    assert "nothing to resume" in err


def test_a_closed_pipe_is_silent():
    """A reader that stops early is no error worth a word."""
    code = f"{sys.executable} -m fluxkit schema result | head -c 10"
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (len(done.stdout), done.stderr) == (10, "")


def test_python_without_docstrings_is_one_sentence():
    """Charts, help and schemas are partly made of docstrings, so nothing is begun that would break off."""
    command = [sys.executable, "-OO", "-m", "fluxkit", "schema", "spec"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (ExitCode.MACHINE, "")
    assert done.stderr.startswith("fluxkit: Python runs with -OO")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [["plan", "nano-laptop-cpu"], ["run", "nano-laptop-cpu"], ["demo"], ["selftest"]])
def test_windows_is_one_sentence(monkeypatch, capsys, command):
    """Before anything is planned, installed or started, with what works there."""
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit) as leaving:
        main(command)
    assert leaving.value.code == ExitCode.MACHINE
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(
        "fluxkit: fluxkit runs on Linux and macOS, not on Windows itself; install it inside WSL 2"
    )
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_streams_are_no_fault(closed):
    """A service may start a command without standard streams: no file takes their place, and there is no traceback."""
    command = f"{shlex.quote(sys.executable)} -m fluxkit presets {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Traceback" not in done.stdout + done.stderr


def test_a_full_standard_output_is_one_sentence():
    """What can't be printed ends in exit code 3."""
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "fluxkit", "presets"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr.startswith("fluxkit: Standard output or a file can't be used: No space left on device.")
