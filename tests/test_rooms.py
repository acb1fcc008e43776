"""Holds the two rooms and the floors: who may import whom, what may be loaded, and how long a file may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fluxkit

PACKAGE = Path(fluxkit.__file__).parent
MAX_LINES = 300
HEAVY = (
    "torch", "diffusers", "transformers", "accelerate", "peft", "skimage", "numpy", "tokenizers", "safetensors", "PIL",
)  # fmt: skip
LAZY = ("scipy", "altair", "vl_convert", "psutil", "pynvml", "rich", "jinja2")
"""Light, but not free: imported inside the functions that need them."""

# From the ground up; a module may import modules of the rows above its own.
LIGHT_FLOORS = (
    ("errors", "stats", "precision", "prices", "cache"),
    ("weights", "trials"),
    ("frozen",),
    ("workload", "execution", "architecture"),
    ("spec",),
    ("agreement", "scores"),
    ("specfile", "published", "dataset", "probes", "witness", "devices", "pipeline", "footprint", "definition"),
    ("events",),
    ("eventfile",),
    ("gpus", "nvml", "energy", "vitals", "libraries", "container"),
    ("system",),
    ("expected", "nvidia"),
    ("memory", "placement"),
    ("plan",),
    ("record", "child", "predict", "judgements"),
    ("doctor",),
    ("fetch", "folder", "look", "marks", "trail", "kit", "progress", "schema", "measures", "timeline"),
    ("bands", "ceilings", "clocks", "disturbances", "metering", "telemetry", "lock", "privacy", "cost", "watch"),
    ("again", "evidence", "given", "identity"),
    ("checks",),
    ("fold", "manifest"),
    ("settle", "shortage"),
    ("launch", "verify", "words", "cli_options"),
    ("study",),
    ("scaling",),
    ("comparison", "certificates", "clusters", "spending"),
    ("estimates", "targets"),
    ("contrasts",),
    ("compare", "figures", "ranking", "spreadsheet", "axes", "drawing", "tiles", "embedded"),
    ("answers", "environment", "pictures", "layers"),
    ("tables", "charts", "belief", "keep", "lede"),
    ("steps", "tradeoffs"),
    ("report",),
    ("demo", "join", "rerun", "selftest", "cli_compare"),
    ("cli_machine",),
    ("cli_proof",),
    ("cli",),
    ("__main__",),
)
ENGINE_FLOORS = (
    (
        "assistant",
        "attention",
        "checkpoint",
        "clock",
        "compiled",
        "flow",
        "heap",
        "images",
        "log",
        "marks",
        "photos",
        "placed",
        "precision",
        "storage",
    ),
    ("cached", "fetch", "pairs", "quality", "random_weights", "signals", "canary"),
    ("golden", "identity", "look", "model", "nano_autoencoder", "nano_pictures", "nano_text"),
    ("data", "nano_base", "sample"),
    ("agree", "evaluate", "nano_card", "parallel", "samples", "speed"),
    ("nano", "optimise"),
    ("tune",),
    ("run",),
    ("__main__",),
)
SHARED = {
    "cache", "dataset", "errors", "precision", "frozen", "workload", "execution", "spec",
    "architecture", "pipeline", "definition", "eventfile", "events", "system", "plan", "record", "witness",
    "folder",
}  # fmt: skip
"""What the engine room may import of the light one."""


def modules(folder):
    return {path.stem: path for path in sorted(folder.glob("*.py")) if path.stem != "__init__"}


LIGHT, ENGINE = modules(PACKAGE), modules(PACKAGE / "engine")


def imported(path):
    """Names of all modules that a file imports anywhere, except for type checking only."""
    names = set()
    tree = ast.parse(path.read_text("utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_at_load(path):
    """Names of the modules that loading a file imports."""
    tree = ast.parse(path.read_text("utf-8"))
    names = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def floor_of(name, floors):
    rows = [row for row, names in enumerate(floors) if name in names]
    assert rows, f"{name}.py stands on no floor: give it one in tests/test_floors.py, as low as its imports allow"
    return rows[0]


def ours(names, prefix):
    return {name.removeprefix(prefix).split(".")[0] for name in names if name.startswith(prefix)}


@pytest.mark.parametrize("name", LIGHT)
def test_a_light_module_imports_downwards(name):
    """A light module imports light modules of lower floors only, and never one of the engine room."""
    needs = ours(imported(LIGHT[name]), "fluxkit.")
    assert "engine" not in needs, f"{name} reaches into the engine room; only a child process may"
    above = {need for need in needs & set(LIGHT) if floor_of(need, LIGHT_FLOORS) >= floor_of(name, LIGHT_FLOORS)}
    assert not above, f"{name} imports {sorted(above)}, which is not below it"


@pytest.mark.parametrize("name", LIGHT)
def test_a_light_module_never_imports_the_torch_family(name):
    """The light room imports nothing of the torch family, not even inside a function."""
    assert not {each.split(".")[0] for each in imported(LIGHT[name])} & set(HEAVY)


@pytest.mark.parametrize("name", LIGHT)
def test_a_light_module_loads_quickly(name):
    """Packages that take long to load are imported inside the functions that need them."""
    assert not {each.split(".")[0] for each in imported_at_load(LIGHT[name])} & set(LAZY)


@pytest.mark.parametrize("name", ENGINE)
def test_an_engine_module_imports_downwards(name):
    """An engine module imports engine modules of lower floors, and of the light room only what both share."""
    names = imported(ENGINE[name])
    needs = ours(names, "fluxkit.engine.") & set(ENGINE)
    above = {need for need in needs if floor_of(need, ENGINE_FLOORS) >= floor_of(name, ENGINE_FLOORS)}
    assert not above, f"engine.{name} imports {sorted(above)}, which is not below it"
    foreign = (ours(names, "fluxkit.") & set(LIGHT)) - SHARED
    assert not foreign, f"engine.{name} imports {sorted(foreign)}, which the rooms do not share"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_file_is_short(path):
    """No file of the package reaches 300 lines."""
    assert len(path.read_text("utf-8").splitlines()) < MAX_LINES


def test_no_module_stands_on_two_floors():
    """The table gives every module one place."""
    for floors in (LIGHT_FLOORS, ENGINE_FLOORS):
        names = [name for row in floors for name in row]
        assert len(names) == len(set(names))


def test_the_light_room_never_loads_the_torch_family():
    """Importing every light module loads nothing of the torch family and nothing that is slow."""
    names = [f"fluxkit.{name}" for name in LIGHT if name != "__main__"]
    # typer may load rich for its own help texts; everything else that is slow must wait until it is needed.
    banned = [*HEAVY, *(name for name in LAZY if name != "rich")]
    code = (
        f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\n"
        f"loaded = sorted(set({banned!r}) & set(sys.modules))\nassert not loaded, loaded\n"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert child.returncode == 0, child.stderr
