"""What the README and docker/README.md tell people to type, held to the command line and tried."""

import re
import shlex
from pathlib import Path

import builders
import pytest
from typer.main import get_command

from fluxkit.cli.app import app
from fluxkit.spec.toml import load_spec

ROOT = Path(__file__).parents[2]
MOST_LINES = 120
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def typed(start):
    """Command lines of both files that begin with `start`, as words after it, without comments."""
    text = "".join((ROOT / name).read_text("utf-8") for name in ("README.md", "docker/README.md"))
    lines = "\n".join(BLOCK.findall(text)).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[len(start.split()) :] for line in lines if re.search(start, line[:60])]


FLUXKIT = [[word for word in words if word != "fluxkit"] for words in typed("^fluxkit")]
SUBMITTED = [words[words.index("apptainer/run.sbatch") + 1 :] for words in typed("^sbatch")]


def parsed(words):
    """The context of a command line, parsed and not run."""
    command = get_command(app).get_command(None, words[0])
    return command.make_context(words[0], list(words[1:]))


@pytest.mark.parametrize("words", [*FLUXKIT, *[["run", *words] for words in SUBMITTED]], ids=" ".join)
def test_every_command_can_be_typed(words):
    """Commands and options are there, and presets and settings make specs."""
    given = parsed(words).params
    if words[0] in {"run", "plan"}:
        for name in given["specs"]:
            assert load_spec(name, given["sets"] or ()).name == name


def test_the_readme_is_short():
    """Two commands, a picture, the walk and the page: all else stands where one looks for it."""
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= MOST_LINES


def test_results_of_the_laptop_and_of_the_cluster_come_together(fluxkit, tmp_path):
    """A study folder, and a folder of two jobs' studies, are compared and reported by the README's own words."""
    asked = {
        folder: builders.spec(hardware={"label": label, "usd_per_hour": price})
        for folder, label, price in (
            ("laptop/00-nano-laptop-cpu-r", "Laptop CPU", 0.0),
            ("cluster/4711/00-nano-single-gpu-r", "One GPU", 1.9),
            ("cluster/4712/00-nano-multi-gpu-r", "Four GPUs", 7.6),
        )
    }
    for folder, spec in asked.items():
        for repeat in range(3):
            run = builders.result(of=spec, repeat=repeat, id=f"{spec.hardware.label}-{repeat}")
            builders.run_folder(tmp_path / f"{folder}{repeat}", run)
    for command in ("compare", "report"):
        (words,) = [words for words in FLUXKIT if words[:3] == [command, "laptop", "cluster"]]
        code, _, err = fluxkit(*words)
        assert code == 0, err
    page = (tmp_path / "report.html").read_text("utf-8")
    assert all(spec.hardware.label in page for spec in asked.values())
