"""Which packages an engine process imports: its own, and none that merely happens to be installed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

import pytest
from real_engine import EngineRun, small_spec, write_job

from fluxkit.engine.process.package_check import NOT_ASKED_FOR
from fluxkit.machine.system import probe

PLANTED = ("bitsandbytes", "torchvision", "apex", "sklearn")
ENGINE = """
import json, sys
from pathlib import Path
from fluxkit.engine.__main__ import main
code = main(Path(sys.argv[1]))
Path(sys.argv[1], "modules.json").write_text(json.dumps(sorted(name for name in sys.modules if "." not in name)))
sys.exit(code)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[EngineRun, set[str]]:
    """A whole run, where packages that must not be imported end it; and the modules it had at its end."""
    folder, planted = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("planted")
    for name in PLANTED:
        (planted / name).mkdir()
        (planted / name / "__init__.py").write_text(f"raise RuntimeError('{name} was imported')")
    write_job(folder, small_spec(), probe())
    path = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(planted)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", ENGINE, str(folder)]
    done = subprocess.run(command, text=True, capture_output=True, env=environment, timeout=300, check=False)
    modules = set(json.loads((folder / "modules.json").read_text()))
    return EngineRun(folder, done.returncode, done.stdout + done.stderr), modules


def required(name: str) -> set[str]:
    """Distributions that one needs without its extras, and what those need."""
    known, wanted = set[str](), [name]
    while wanted:
        one = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        try:
            needs = requires(one) or []
        except PackageNotFoundError:
            continue
        if one not in known:
            known.add(one)
            extras = ("extra == 'engine'", 'extra == "engine"') if one == "fluxkit" else ()
            plain = [need for need in needs if "extra ==" not in need or any(extra in need for extra in extras)]
            wanted += [match[0] for need in plain if (match := re.match(r"[\w.-]+", need))]
    return known


def test_only_what_the_engine_requires_is_imported(run: tuple[EngineRun, set[str]]) -> None:
    """Every module of a real engine belongs to Python, to fluxkit, or to what they require; torchao to none of them."""
    engine, modules = run
    assert engine.code == 0, engine.output
    allowed, owners = required("fluxkit"), packages_distributions()
    others = {
        name
        for name in modules - set(sys.stdlib_module_names)
        if (found := {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners.get(name, [])}) and not found & allowed
    }
    assert others - {"_distutils_hack"} == set()
    assert modules & NOT_ASKED_FOR == set()


def test_what_was_planted_was_not_touched(run: tuple[EngineRun, set[str]]) -> None:
    """Optional packages on the path are not looked into, and the libraries' words about torchao are gone."""
    engine, _ = run
    assert "was imported" not in engine.output
    assert "torchao" not in engine.output
