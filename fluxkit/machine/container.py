"""What a container was not given by whoever started it, in one sentence with the flag that mends it."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fluxkit.errors import MachineError
from fluxkit.machine.readings import ROOT, container

if TYPE_CHECKING:
    from collections.abc import Iterator

BUILD_FILE = Path("/etc/fluxkit/build.json")
"""Written when an image is built: `{"image": "...", "commit": "..."}`; a commit with changes ends in `-dirty`."""
RESULTS = "/bench/runs"
"""Where the images expect the folder of results; `runs/` of their working folder."""
SCARCE_BYTES = 100_000_000
"""Less free space than this does not hold the encoded images and compiled kernels of one run."""


class Flags(NamedTuple):
    """How one engine is asked for something."""

    bind: str
    user: str
    gpus: str
    cache: str


FLAGS = {
    "docker": Flags(
        f'-v "$PWD/runs:{RESULTS}"', '--user "$(id -u):$(id -g)"', "--gpus all", "-v /a/folder/of/yours:/cache"
    ),
    "podman": Flags(
        f'-v "$PWD/runs:{RESULTS}"', "--userns keep-id", "--device nvidia.com/gpu=all", "-v /a/folder/of/yours:/cache"
    ),
    "apptainer": Flags(
        f'--bind "$PWD/runs:{RESULTS}" --pwd /bench',
        f'--bind "$PWD/runs:{RESULTS}" of a folder that is yours',
        "--nv",
        "--bind /a/folder/of/yours:/cache",
    ),
}


def flags(kind: str) -> Flags | None:
    """The flags of one engine; None for `none`."""
    return FLAGS.get(kind)


def around() -> Flags | None:
    """The flags of the engine around this process; None outside of fluxkit's own images, whose folders are known."""
    return flags(container(ROOT, os.environ)) if BUILD_FILE.is_file() else None


def unwritable(folder: Path, error: OSError) -> str:
    """Why `folder` can't be written, and what to do."""
    said, known = f"{folder} can't be written: {error.strerror}; ", around()
    out = "choose another folder with --out."
    if known and error.errno in {errno.EACCES, errno.EPERM} and is_bound(folder):
        return f"{said}start the container as the owner of that folder, with {known.user}, or {out}"
    if known and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"{said}bind a larger folder in its place, as in {known.bind}, or {out}"
    if known and error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return f"{said}start the container with a folder of yours for the results, {known.bind}, or {out}"
    return f"{said}{out}"


def warnings(folder: Path, cache: Path) -> Iterator[str]:
    """What will be regretted later: results that go with the container, a cache without space.

    Raises:
        MachineError: the cache can't be written; importing torch alone would fail.
    """
    known = around()
    if known is None:
        return
    if not os.access(existing(cache), os.W_OK):
        raise MachineError(
            f"The cache {cache} can't be written by user {os.getuid()}; give the container another: {known.cache}."
        )
    if not is_bound(folder):
        yield f"{folder} lies inside the container and goes with it; to keep it, start it with {known.bind}."
    if shutil.disk_usage(existing(cache)).free < SCARCE_BYTES:
        yield f"The cache {cache} has less than {SCARCE_BYTES // 10**6} MB left; give it more with {known.cache}."


def is_bound(folder: Path, root: Path = ROOT) -> bool:
    """Whether `folder` lies on something that was mounted into the container, not on the container itself."""
    return existing(folder).stat().st_dev != root.stat().st_dev


def existing(folder: Path) -> Path:
    """The nearest folder that is there; one that may not be looked into counts as absent."""
    return next(each for each in (folder.absolute(), *folder.absolute().parents) if os.access(each, os.F_OK))
