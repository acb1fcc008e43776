"""SIGKILL for launcher, torchrun and ranks of real runs; `just faults kills` tries two hundred."""

from __future__ import annotations

import pytest
from faults import kills


@pytest.mark.slow
@pytest.mark.parametrize("processes", kills.VICTIMS)
def test_a_kill_loses_nothing_and_leaves_nobody(tmp_path, processes):
    """Each victim is killed while it tunes: no orphan, no second team, and the run completes in the end."""
    tally = kills.Counter()
    kills.one_run(processes, tmp_path / "study", [(victim, "tune") for victim in kills.VICTIMS[processes]], tally)
    assert not [key for key in tally if key[3].startswith("LOST")]
