"""A made-up machine's files."""

from __future__ import annotations

import pytest


@pytest.fixture
def root(tmp_path):
    """Makes a root folder of files: root({"proc/cpuinfo": "..."})."""

    def make(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return make
