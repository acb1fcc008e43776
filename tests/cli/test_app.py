"""The command line: what it costs, what it says of mistakes, and its exit codes."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import builders
import jsonschema
import pytest

from fluxkit.cli import app
from fluxkit.run import study
from fluxkit.run.launch import launch

STAND_IN = Path(__file__).parents[1] / "stand_in.py"
MAX_HELP_SECONDS = 0.2
SPEC = 'schema = "fluxkit.spec/1"\nname = "small"\n[tune]\niterations = 40\nseconds = 10.0\n'


@pytest.fixture
def fluxkit(capsys, tmp_path, monkeypatch):
    """Runs a command line in an empty folder; gives exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        with pytest.raises(SystemExit) as leaving:
            app.main([str(word) for word in words])
        told = capsys.readouterr()
        return int(leaving.value.code or 0), told.out, told.err

    return run


@pytest.fixture
def engine(engine_is, monkeypatch, small_plan):
    """Lets a scenario of the stand-in be the engine, with a plan that is made up."""
    monkeypatch.setattr(study, "plan_all", lambda specs, **_: [small_plan for _ in specs])
    return engine_is


@pytest.fixture
def run_folder(small_spec, small_plan, tmp_path, engine_is):
    """A completed run."""
    engine_is("completed")
    launch(small_spec, small_plan, folder=tmp_path / "done", seed=0)
    return tmp_path / "done"


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
    """The version is data: one line on standard output."""
    code, out, _ = fluxkit("--version")
    assert code == 0
    assert out.startswith("fluxkit 0.")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("broken = [", ["not valid TOML"]),
        (SPEC + "iteratoins = 3\n", ["unknown key tune.iteratoins", "did you mean iterations"]),
        (SPEC + 'lora_rank = "many"\n', ["tune.lora_rank", "many", "integer"]),
        (SPEC.replace("10.0", "-1.0"), ["tune.seconds = -1.0", "greater than 0"]),
        (SPEC + "[execution]\nprocesses = 3\n", ["divi", "processes"]),
        (SPEC.replace("spec/1", "spec/2"), ["schema"]),
        ("name = 'x'\n", ["no schema"]),
        (b"\xff\xfe", ["UTF-8"]),
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


def test_an_unwritable_folder_is_refused(fluxkit, engine, tmp_path):
    """Where the study can't be written nothing is left, with exit code 3."""
    engine("completed")
    (tmp_path / "file").write_text("")
    code, _, err = fluxkit("run", "nano-laptop-cpu", "--out", tmp_path / "file" / "study")
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
    assert "--resume" in err


def test_run_names_the_study_folder(fluxkit, engine):
    """Standard output is the folder alone; words go to standard error; quiet says nothing."""
    engine("completed")
    code, out, err = fluxkit("run", "nano-laptop-cpu", "--out", "s")
    assert (code, out) == (0, "s\n")
    assert "Run 1 of 1" in err
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
    assert "with --resume --out s" in err
    assert fluxkit("run", "nano-laptop-cpu", "--out", "s", "--resume")[0] == 0


def test_a_dry_run_runs_nothing(fluxkit, engine, tmp_path):
    """--dry-run prints plan and order, and makes nothing."""
    engine("fails")
    code, out, _ = fluxkit("run", "nano-laptop-cpu", "--repeats", "3", "--dry-run")
    assert code == 0
    assert "3. nano-laptop-cpu, repeat 2, seed 2" in out
    assert list(tmp_path.iterdir()) == []


def test_a_plan_is_a_table_or_json(fluxkit, small_pipeline):
    """The plan says processes and micro-batches, as text and as JSON."""
    assert small_pipeline.is_dir()
    code, out, _ = fluxkit("plan", "nano-laptop-cpu", "nano-laptop-cpu-bf16")
    assert code == 0
    assert "global batch" in out
    code, out, _ = fluxkit("plan", "nano-laptop-cpu", "--json")
    assert json.loads(out)["nano-laptop-cpu"]["processes"] == 1


def test_a_plan_for_other_devices_is_a_prediction(fluxkit, small_pipeline):
    """With --device the plan is a prediction for machines that are not here, and says so."""
    assert small_pipeline.is_dir()
    words = ("plan", "nano-laptop-cpu", "--device", "laptop-cpu", "--device", "h200")
    code, out, _ = fluxkit(*words, "--usd-per-hour", "1.5", "--usd-per-hour", "h200=36")
    assert code == 0
    assert "not measured" in out
    assert out.splitlines()[2].endswith("0.025")  # 60 s at 1.5 USD an hour
    assert out.splitlines()[3].endswith("0.6")
    code, _, err = fluxkit(*words, "--usd-per-hour", "A40=1.0")
    assert (code, err) == (2, "fluxkit: --usd-per-hour prices A40, which no --device names; add --device A40.\n")
    code, out, _ = fluxkit(*words, "--json")
    assert [each["device"] for each in json.loads(out)["nano-laptop-cpu"]] == ["laptop-cpu", "H200"]
    code, _, err = fluxkit("plan", "nano-laptop-cpu", "--device", "abacus")
    assert code == 2
    assert "H100" in err


def test_the_doctor_reads_this_machine(fluxkit):
    """The doctor ends with exit code 0 whatever it finds, in words and in JSON."""
    code, out, _ = fluxkit("doctor")
    assert code == 0
    assert "This machine" in out
    code, out, _ = fluxkit("doctor", "--json")
    assert code == 0
    assert {each["verdict"] for each in json.loads(out)["findings"]} <= {"fit", "remark", "doubt", "unknown"}


def test_presets_are_specs(fluxkit):
    """Each preset that is listed can be printed."""
    code, out, _ = fluxkit("presets")
    assert code == 0
    for name in out.split():
        assert f'name = "{name}"' in fluxkit("presets", name)[1]


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


@pytest.fixture
def reporting(monkeypatch):
    """Stands in for comparison, tables and report; keeps what they were given."""
    given = {}
    modules = {
        "compare.compare": {
            "compare": lambda results, *_: SimpleNamespace(comparable=len(results) < 2, results=results)
        },
        "text.text_table": {"render": lambda comparison, form, **_: f"{form} of {len(comparison.results)}\n"},
        "report.page": {"write_report": lambda paths, output, *_: given.update({output: list(paths)})},
    }
    for name, functions in modules.items():
        monkeypatch.setitem(sys.modules, f"fluxkit.{name}", SimpleNamespace(**functions))
    monkeypatch.setattr("fluxkit.fold.outcome.load_all", lambda paths: [(path, None) for path in paths])
    return given


def test_results_that_do_not_compare_have_an_exit_code(fluxkit, reporting):
    """Results of different workloads are printed and end with exit code 5."""
    assert reporting == {}
    assert fluxkit("compare", "a", "--format", "csv") == (0, "csv of 1\n", "")
    code, out, err = fluxkit("compare", "a", "b")
    assert (code, out) == (5, "table of 2\n")
    assert "not comparable" in err


@pytest.fixture
def two_labels(tmp_path):
    """The folder of two configurations with three runs each, measured and written as files."""
    for repeat in range(3):
        for label, seconds in (("Laptop", 0.1), ("Cluster", 0.05)):
            asked = builders.spec(hardware={"label": label}, execution={"threads": len(label)})
            made = builders.result(
                of=asked, repeat=repeat, id=f"{label}-{repeat}", iteration_seconds=(seconds,) * 220,
                energy=builders.energy(),
            )  # fmt: skip
            builders.run_folder(tmp_path / "study" / made.id, made)
    return tmp_path / "study"


def test_prices_and_a_target_come_from_the_command_line(fluxkit, two_labels):
    """Stored results are priced and timed as the reader says, and stay as they are."""
    before = {file: file.read_bytes() for file in two_labels.rglob("result.json")}
    prices = ("--usd-per-hour", "2", "--usd-per-hour", "Cluster=3.6", "--usd-per-kwh", "0.3")
    code, out, _ = fluxkit("compare", two_labels, *prices, "--target-psnr", "18", "--format", "json")
    workload = json.loads(out)["workloads"][0]
    assert code == 0
    assert {row["label"]: (row["usd_per_hour"], row["usd_per_kwh"]) for row in workload["rows"]} == {
        "Cluster": (3.6, 0.3),
        "Laptop": (2.0, 0.3),
    }
    assert all(row["costs"]["usd_per_adapter"]["mean"] > 0 for row in workload["rows"])
    assert workload["target"] == {"psnr_db": 18.0, "origin": "given by the reader"}
    assert {file: file.read_bytes() for file in before} == before


@pytest.mark.parametrize("words", [("--usd-per-hour", "H100=2"), ("--usd-per-kwh", "dear")])
def test_a_price_that_prices_nothing_is_wrong_usage(fluxkit, two_labels, words):
    """A price for an unknown label, or no number, ends with exit code 2 and one sentence."""
    code, out, err = fluxkit("compare", two_labels, *words)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1


@pytest.mark.parametrize("value", ["inf", "nan", "-1", "101"])
def test_a_target_that_no_picture_has_is_wrong_usage(fluxkit, two_labels, value):
    """A PSNR that is not from 0 to 100 dB ends with exit code 2 and one sentence that names the option."""
    code, out, err = fluxkit("compare", two_labels, "--target-psnr", value, "--format", "json")
    assert (code, out) == (2, "")
    assert f"--target-psnr {value}: write a PSNR in dB, from 0 to 100." in err


def test_a_pair_of_other_workloads_is_refused_by_row(fluxkit, tmp_path):
    """Two result files that ask for different work give no ratio, exit code 5, and each differing row by name."""
    for name, tune in (("one", {}), ("two", {"learning_rate": 1e-3, "lora_rank": 8})):
        made = builders.result(of=builders.spec(tune={"seconds": 60.0, "iterations": 200, **tune}), id=name)
        builders.run_folder(tmp_path / name, made)
    code, out, err = fluxkit("compare", tmp_path / "one", tmp_path / "two")
    assert code == 5
    assert "not comparable" in err
    assert "Not comparable. The workloads differ in:" in out
    assert [line.split(":")[0].strip() for line in out.splitlines() if line.startswith("  tune.")] == [
        "tune.learning_rate",
        "tune.lora_rank",
    ]
    assert " times" not in out


def test_report_names_its_file(fluxkit, reporting):
    """Standard output is the path of the page."""
    assert fluxkit("report", "a", "b", "-o", "page.html") == (0, "page.html\n", "")
    assert reporting == {Path("page.html"): [Path("a"), Path("b")]}


def test_the_demo_runs_two_configurations_and_names_its_report(fluxkit, engine, reporting):
    """The demo is one workload in two precisions, and ends with the path of the report, even if a run failed."""
    engine("completed")
    code, out, err = fluxkit("demo", "--out", "d", "--set", "tune.seconds=10.0", "--set", "tune.iterations=40")
    assert (code, out) == (0, "d/report.html\n")
    assert "The report is d/report.html" in err
    assert reporting == {Path("d/report.html"): [Path("d")]}
    specs = study.read_study(Path("d")).specs
    assert [spec.execution.precision for spec in specs] == ["float32", "bfloat16"]
    assert len({spec.workload_sha256() for spec in specs}) == 1
    engine("fails")
    assert fluxkit("demo", "--out", "e", "--quiet") == (4, "e/report.html\n", "")


def test_verify_has_an_exit_code(fluxkit, run_folder):
    """A result that holds is verified; one that was changed ends with exit code 5 and the number's name."""
    code, out, _ = fluxkit("verify", run_folder)
    assert code == 0
    assert out.endswith("verified\n")
    text = (run_folder / "result.json").read_text()
    (run_folder / "result.json").write_text(text.replace('"psnr_db_untuned": 10.0', '"psnr_db_untuned": 1.0'))
    code, out, _ = fluxkit("verify", run_folder)
    assert code == 5
    assert "summary.psnr_db_untuned is 1.0" in out
    code, out, _ = fluxkit("verify", run_folder, "--json")
    assert code == 5
    assert len(json.loads(out)[str(run_folder / "result.json")]) == 1


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
