"""What the rooms load: the order of their imports is held by import-linter (`lint-imports`, in `just check`)."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fluxkit

PACKAGE = Path(fluxkit.__file__).parent
TORCH_FAMILY = ("torch", "diffusers", "transformers", "accelerate", "peft", "skimage", "tokenizers", "safetensors")
SLOW = ("numpy", "PIL", "scipy", "altair", "vl_convert", "psutil", "pynvml", "rich", "jinja2")
"""Light, but not free: imported inside the functions that need them."""
LIGHT = {
    path.relative_to(PACKAGE).as_posix(): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.relative_to(PACKAGE).parts[0] != "engine" and path.name not in {"__init__.py", "__main__.py"}
}


def imported_at_load(path):
    """Names of the packages that loading a file imports."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("name", LIGHT)
def test_a_light_module_loads_quickly(name):
    """Packages that take long to load are imported inside the functions that need them."""
    assert not set(imported_at_load(LIGHT[name])) & set(SLOW)


def test_the_light_rooms_never_load_the_torch_family():
    """Importing every light module loads nothing of the torch family and nothing that is slow."""
    names = ["fluxkit." + name.removesuffix(".py").replace("/", ".") for name in LIGHT]
    # typer may load rich for its own help texts; everything else that is slow must wait until it is needed.
    banned = [*TORCH_FAMILY, *(name for name in SLOW if name != "rich")]
    code = (
        f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\n"
        f"loaded = sorted(set({banned!r}) & set(sys.modules))\nassert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("room", sorted({path.parent for path in PACKAGE.rglob("*.py")}), ids=lambda room: room.name)
def test_a_room_says_what_it_is_in_one_sentence(room):
    """A room's `__init__.py` is one docstring of one sentence, and re-exports nothing."""
    tree = ast.parse((room / "__init__.py").read_text("utf-8"))
    assert ast.get_docstring(tree)
    if room != PACKAGE:
        assert len(tree.body) == 1
