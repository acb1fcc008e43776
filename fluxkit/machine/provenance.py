"""Which fluxkit is measuring: version, source commit, container image."""

import hashlib
import json
import os
import re
import subprocess
from functools import cache
from pathlib import Path

from fluxkit import __version__
from fluxkit.machine.container import BUILD_FILE
from fluxkit.values import Frozen, canonical_sha256

MEASURING = (
    "engine", "fold", "model", "plan", "machine/environment.py", "machine/nvml_sampler.py", "run/energy_meter.py",
    "run/engine_process.py", "run/telemetry.py", "stats.py",
)  # fmt: skip
"""What computes and times, what decides how, and what looks on; what was asked and read has hashes of its own."""
NOT_MEASURING = "nano"
"""Of the engine: the recipe that made the embedded model, which no run uses."""
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
    measuring_sha256: str | None = None
    """Hash of the source of all that decides a number; null in results that were made without. Where it is equal, two
    versions measure alike."""


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
        measuring_sha256=measuring_sha256(),
    )


@cache
def measuring_sha256() -> str:
    """Hash of the source files that decide a run's numbers, by their paths."""
    package = Path(__file__).resolve().parents[1]
    files = sorted(
        path
        for name in MEASURING
        for path in ([package / name] if name.endswith(".py") else (package / name).rglob("*.py"))
        if NOT_MEASURING not in path.parts
    )
    sources = {path.relative_to(package).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return canonical_sha256(sources)


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
