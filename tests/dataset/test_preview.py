"""A folder is looked at before a run."""

from __future__ import annotations

import pytest
from PIL import Image

from fluxkit.dataset.preview import preview
from fluxkit.errors import MachineError
from fluxkit.spec.workload import DataSpec


def test_a_preview_says_the_same_as_the_run(tmp_path):
    """It names what would be tuned on, held out and left out, or refuses like the run."""
    for number in range(7):
        Image.new("RGB", (80, 80), (number, 0, 0)).save(tmp_path / f"{number}.png")
    folder = DataSpec(source="folder", path=str(tmp_path), caption="a cat")
    lines = preview(folder).splitlines()
    heads = [line for line in lines if not line.startswith(" ")]
    assert heads == ["4 images tuned on:", "3 images held out:", "0 images left out:"]
    assert lines[1].endswith(": a cat")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(MachineError, match=r"text\.png"):
        preview(folder)
    assert preview(folder.model_copy(update={"on_error": "skip"})).endswith(
        "1 images left out:\n  text.png: is not an image in a format that Pillow reads"
    )
