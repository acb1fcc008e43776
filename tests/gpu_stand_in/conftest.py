"""The stand-in for CUDA, built once and loaded once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from gpu_stand_in import library

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gpu_stand_in.engines import Engines

REQUIRED = os.environ.get("FLUXKIT_REQUIRE_STAND_IN") == "1"


@pytest.fixture(scope="session")
def stand_in_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled device guard; where it cannot be built, the tests that need it are skipped and say why."""
    obstacle = library.obstacle()
    if obstacle and not REQUIRED:
        pytest.skip(obstacle)
    assert not obstacle, f"FLUXKIT_REQUIRE_STAND_IN=1, but {obstacle}"
    return library.build(tmp_path_factory.mktemp("stand-in"))


@pytest.fixture(scope="session")
def engines(stand_in_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    """Runs the real engine on made-up cards, or on the CPU for comparison."""
    from gpu_stand_in.engines import Engines

    with Engines(stand_in_library, tmp_path_factory.mktemp("stand-in-cache")) as running:
        yield running
