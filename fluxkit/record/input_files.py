"""Which files a run reads, each by a hash, so that a run that is continued can tell whether they are still the same."""

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from fluxkit.dataset.cache import cache_folder
from fluxkit.dataset.picture_folder import list_folder
from fluxkit.model.adapter_file import adapter_files
from fluxkit.model.pipeline_files import pipeline_folder, single_file
from fluxkit.model.weight_files import COMPONENTS
from fluxkit.record.atomic_file import file_sha256, written_whole
from fluxkit.spec.run_spec import RunSpec
from fluxkit.spec.workload import ModelSpec

NAMED = 5
SETTLED_SECONDS = 2.0
"""The coarsest clock of a file system in use."""


def input_files(spec: RunSpec) -> dict[str, str]:
    """SHA-256 of every picture with its caption, and of every file of the weights and of the assistant adapter.

    Raises:
        MachineError: the pictures or the weights are not there.
    """
    files: dict[str, str] = {}
    if spec.data.source == "folder":
        for image in list_folder(spec.data)[0]:
            # Two lines of metadata may give one picture two captions.
            parts = (files.get(f"data/{image.name}"), cached_file_sha256(image.file), image.caption, image.group)
            files[f"data/{image.name}"] = hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()
    files |= {name: cached_file_sha256(path) for name, path in _weights(spec.model)}
    return {name.encode("utf-8", "backslashreplace").decode(): sha256 for name, sha256 in files.items()}


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Which files are gone, new or changed, as part of a sentence; empty where none is."""
    words = [f"{name} is gone" for name in before if name not in now]
    words += [f"{name} has changed" for name in before if name in now and now[name] != before[name]]
    words += [f"{name} is new" for name in now if name not in before]
    more = [f"and {len(words) - NAMED} more"] if len(words) > NAMED else []
    return ", ".join([*words[:NAMED], *more])


def cached_file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, remembered by its place and by all that changes when its content does."""
    file = path.resolve()
    before = _stamp(file)
    key = hashlib.sha256(before.encode()).hexdigest()
    note = cache_folder() / "hashes" / key
    with suppress(OSError, ValueError):
        digest, check = note.read_text("ascii").split()
        if check == _check(key, digest):
            return digest
    digest = file_sha256(file)
    # What is written again within a tick of the file system's clock would bear the same stamp.
    old_enough = time.time() - file.stat().st_ctime > SETTLED_SECONDS
    if old_enough and _stamp(file) == before:
        # A cache that can't be written only costs time.
        with suppress(OSError), written_whole(note, durable=False) as temporary:
            temporary.write_text(f"{digest} {_check(key, digest)}\n", "ascii")
    return digest


def _stamp(file: Path) -> str:
    """A copy may keep size and time of change; the inode and the time of its own change no program sets."""
    status = file.stat()
    parts = (file, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return "|".join(map(str, parts))


def _check(key: str, digest: str) -> str:
    """Tells a note that was emptied or changed on disk, which is then made again."""
    return hashlib.sha256(f"{key} {digest}".encode()).hexdigest()


def _weights(model: ModelSpec) -> Iterator[tuple[str, Path]]:
    """Files of the pipeline's components, of a single file given instead, and of the assistant adapter."""
    if model.can_draw:
        folder = pipeline_folder(model)
        paths = [path for component in COMPONENTS for path in sorted((folder / component).glob("*"))]
        yield from ((path.relative_to(folder).as_posix(), path) for path in paths if path.is_file())
    if file := single_file(model):
        yield file.name, file
    if model.assistant_adapter:
        yield from ((path.name, path) for path in adapter_files(model.assistant_adapter))
