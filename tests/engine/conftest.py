"""One short run of the real engine that several tests look at."""

from __future__ import annotations

import pytest
from real_engine import EngineRun, run_engine, small_spec


@pytest.fixture(scope="session")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> EngineRun:
    """One short LoRA run that several tests look at."""
    return run_engine(tmp_path_factory.mktemp("short"), small_spec())
