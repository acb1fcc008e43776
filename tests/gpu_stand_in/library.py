"""Builds `device.cpp` for the torch that the locks hold, or says why that cannot be."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

SOURCE = Path(__file__).with_name("device.cpp")
LOCK = Path(__file__).parents[2] / "docker" / "requirements-cpu.txt"


def locked_torch() -> str:
    """The version that the CPU image's lock holds, with its build."""
    return re.search(r"^torch==(\S+)", LOCK.read_text(), re.MULTILINE)[1]


def obstacle() -> str | None:
    """Why the stand-in cannot be built here; None where it can."""
    try:
        installed = version("torch")
    except PackageNotFoundError:
        return "the engine extra is not installed"
    if installed != locked_torch():
        return (
            f"the stand-in for CUDA is made for torch {locked_torch()}, which the lock holds, and this is {installed}"
        )
    return None if shutil.which("g++") else "there is no g++ to build the stand-in for CUDA with"


def build(folder: Path) -> Path:
    """The shared library, in seconds.

    Raises: CalledProcessError: it does not compile; the compiler has said why.
    """
    torch = Path(find_spec("torch").origin).parent
    library = folder / "libgpu_stand_in.so"
    headers = [torch / "include", torch / "include/torch/csrc/api/include"]
    subprocess.run(
        ["g++", "-std=c++20", "-shared", "-fPIC", *(f"-I{each}" for each in headers), SOURCE, "-o", library,
         f"-L{torch / 'lib'}", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{torch / 'lib'}"],
        check=True,
    )  # fmt: skip
    return library
