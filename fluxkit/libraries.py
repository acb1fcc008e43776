"""Versions of NVIDIA's libraries that come with torch, from package metadata: nothing is loaded to ask them."""

from __future__ import annotations

import re
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from fluxkit.probes import Reading, attempt

WHEELS = {"cuda": "nvidia-cuda-runtime", "cudnn": "nvidia-cudnn", "nccl": "nvidia-nccl"}
SUFFIXES = ("-cu13", "-cu12", "-cu11", "")
"""Of a wheel's name: the major version of CUDA that it is for, which newer ones leave out."""


def libraries() -> dict[str, Reading]:
    """CUDA, cuDNN and NCCL, or why not; CUDA also from the name of torch's build, which may bring it by itself."""
    return {
        f"{name}_version": attempt("metadata of the nvidia-* and torch packages", partial(_version, name))
        for name in WHEELS
    }


def _version(name: str) -> str:
    """Raises: LookupError: there is none, with the reason in words."""
    for suffix in SUFFIXES:
        if found := _installed(WHEELS[name] + suffix):
            return found
    torch = _installed("torch")
    if torch is None:
        raise LookupError("torch is not installed")
    build = torch.partition("+")[2]
    if build == "cpu":
        raise LookupError(f"torch {torch} is built for the CPU alone")
    digits = re.fullmatch(r"cu(\d+)(\d)", build)
    if name == "cuda" and digits:
        return f"{digits[1]}.{digits[2]}"
    raise LookupError(f"torch {torch} does not name it, and no {WHEELS[name]} package is installed")


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
