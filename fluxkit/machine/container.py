"""Which container is around this process, and what it was not given, in one sentence with the flag that mends it."""

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from fluxkit.errors import MachineError
from fluxkit.machine.readings import ROOT

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


def container_engine(root: Path, environment: Mapping[str, str]) -> str:
    """`apptainer`, `podman`, `docker` or `none`."""
    # Apptainer first: it may run an image that was built for docker and still carries docker's mark.
    if "APPTAINER_CONTAINER" in environment or "SINGULARITY_CONTAINER" in environment:
        return "apptainer"
    # With --read-only Podman hides its mark below an empty /run, but not the variable.
    if (root / "run/.containerenv").exists() or environment.get("container") == "podman":
        return "podman"
    return "docker" if (root / ".dockerenv").exists() else "none"


def own_image_flags() -> Flags | None:
    """The flags of the engine around this process; None outside of fluxkit's own images, whose folders are known."""
    return FLAGS.get(container_engine(ROOT, os.environ)) if BUILD_FILE.is_file() else None


def unwritable(folder: Path, error: OSError, otherwise: str = "choose another folder with --out") -> str:
    """Why `folder` can't be written, and what to do, `otherwise` if nothing else."""
    flags, mend = own_image_flags(), ""
    if flags and error.errno in {errno.EACCES, errno.EPERM} and is_bound(folder):
        mend = f"start the container as the owner of that folder, with {flags.user}, or "
    elif flags and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        mend = f"bind a larger folder in its place, as in {flags.bind}, or "
    elif flags and error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        mend = f"start the container with a folder of yours for the results, {flags.bind}, or "
    return f"{folder} can't be written: {error.strerror}; {mend}{otherwise}."


def warnings(folder: Path, cache: Path) -> Iterator[str]:
    """What will be regretted later: results that go with the container, a cache without space.

    Raises:
        MachineError: the cache can't be written; importing torch alone would fail.
    """
    flags = own_image_flags()
    if flags is None:
        return
    if not os.access(existing(cache), os.W_OK):
        raise MachineError(
            f"The cache {cache} can't be written by user {os.getuid()}; give the container another: {flags.cache}."
        )
    if not is_bound(folder):
        yield f"{folder} lies inside the container and goes with it; to keep it, start it with {flags.bind}."
    if shutil.disk_usage(existing(cache)).free < SCARCE_BYTES:
        yield f"The cache {cache} has less than {SCARCE_BYTES // 10**6} MB left; give it more with {flags.cache}."


def is_bound(folder: Path, root: Path = ROOT) -> bool:
    """Whether `folder` lies on something that was mounted into the container, not on the container itself."""
    return existing(folder).stat().st_dev != root.stat().st_dev


def existing(folder: Path) -> Path:
    """The nearest folder that is there; one that may not be looked into counts as absent."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if os.access(place, os.F_OK))
