"""`fluxkit.values`: where a path from a stranger's file may lead."""

from __future__ import annotations

import pytest

from fluxkit.values import path_inside


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret.png", "out.png", "loop.png", "x\0.png"])
def test_a_path_that_leads_out_is_none(tmp_path, path):
    """Neither an absolute path nor a climbing one, nor a link out, nor one that leads nowhere is inside."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "secret.png").write_bytes(b"secret")
    (folder / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "loop.png").symlink_to("loop.png")
    assert path_inside(folder, path) is None


def test_a_link_that_stays_inside_is_followed(tmp_path):
    """A link is refused for where it leads, not for being one."""
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "b.png").symlink_to("a.png")
    assert path_inside(tmp_path, "b.png") == (tmp_path / "a.png").resolve()
    assert path_inside(tmp_path, "missing.png") == (tmp_path / "missing.png").resolve()
