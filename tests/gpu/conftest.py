"""Tests on a CUDA GPU; everywhere else they are skipped, and say why."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the engine extra is not installed")


@pytest.fixture(scope="session", autouse=True)
def cuda() -> torch.device:
    """The first GPU."""
    if not torch.version.cuda:
        pytest.skip("no GPU test: this torch is built without CUDA")
    if not torch.cuda.is_available():
        pytest.skip("no GPU test: torch finds no CUDA GPU on this machine")
    return torch.device("cuda", 0)
