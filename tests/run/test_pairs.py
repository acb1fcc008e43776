"""Two commands on one folder at the same moment; `just faults pairs` tries fifty of each kind."""

from __future__ import annotations

import pytest
from faults import pairs


@pytest.mark.parametrize("kind", pairs.KINDS)
def test_of_two_commands_on_one_folder_one_runs(tmp_path, kind):
    """The other one is refused in a sentence, with its exit code, and what the first one did verifies."""
    ended = pairs.verdict(kind.__name__, tmp_path / "folder", kind(tmp_path / "folder"))
    assert ended.startswith("one ran")
