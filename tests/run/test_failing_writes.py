"""Writes that fail, as on a read-only, full or broken disk; `just faults writes` tries all of them."""

from __future__ import annotations

import shutil

import pytest
from faults import writes


@pytest.mark.skipif(not shutil.which("gcc"), reason="there is no gcc to build what lets writes fail")
@pytest.mark.parametrize(
    ("work", "count"),
    [
        ("run", 3), ("resume", 1), ("cache", 1), ("verify", 1),
        *[pytest.param(work, 8, marks=pytest.mark.slow) for work in ("report", "rerun", "download", "compare")],
    ],
)  # fmt: skip
def test_a_write_that_fails_is_one_sentence(tmp_path, work, count):
    """The exit code fits, nothing is torn, and the same work is done once the disk is well; readers write nothing."""
    ends = writes.tried(tmp_path, [work], count)
    assert not [end for end in ends if end[1] == "LOST"]
    assert bool(ends) != (work in {"verify", "compare"})
