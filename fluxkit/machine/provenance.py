"""Which fluxkit is measuring: version, source commit, container image."""

import json
import os
import re
import subprocess
from pathlib import Path

from fluxkit import __version__
from fluxkit.machine.container import BUILD_FILE
from fluxkit.values import Frozen

_IMAGE = re.compile(r"[\w./:@+-]{1,300}")


class Kit(Frozen):
    """Which fluxkit measured."""

    version: str
    commit: str | None = None
    """Git commit of a source checkout."""
    dirty: bool | None = None
    """Whether that checkout had changes."""
    image: str | None = None
    """Container image that it ran in."""


def version_line(kit: Kit) -> str:
    """Version, commit and image of this fluxkit."""
    parts = [f"commit {kit.commit[:12]}{', with changes' if kit.dirty else ''}"] if kit.commit else []
    parts += [f"image {kit.image}"] if kit.image else []
    return f"fluxkit {kit.version}" + (f" ({', '.join(parts)})" if parts else "")


def this_kit(source: Path | None = None, build_file: Path = BUILD_FILE) -> Kit:
    """The running fluxkit; `source` is the folder that holds the package, for tests."""
    build = _build_facts(build_file)
    commit, dirty = _checkout(source or Path(__file__).resolve().parents[2])
    if commit is None and "commit" in build:
        commit, dirty = build["commit"].removesuffix("-dirty"), build["commit"].endswith("-dirty")
    image = os.environ.get("FLUXKIT_IMAGE") or build.get("image")
    return Kit(
        version=__version__,
        commit=commit,
        dirty=dirty,
        image=image if image and _IMAGE.fullmatch(image) else None,
    )


def _build_facts(file: Path) -> dict[str, str]:
    """What the image's build wrote down; nothing outside of an image."""
    try:
        values = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    known = values.items() if isinstance(values, dict) else ()
    return {key: value for key, value in known if isinstance(value, str) and value}


def _checkout(source: Path) -> tuple[str | None, bool | None]:
    """Commit and whether tracked files changed; nothing where the package is not in a checkout of its own."""
    # An installed package may lie inside somebody else's repository (a .venv in a project): that commit is not ours.
    if not (source / ".git").exists() or not (source / "pyproject.toml").is_file():
        return None, None
    commit = _git(source, "rev-parse", "HEAD")
    changes = _git(source, "status", "--porcelain", "--untracked-files=no")
    return commit or None, None if changes is None else bool(changes)


def _git(source: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(source), *words],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            # A git hook's GIT_DIR would name its own repository.
            env={name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
