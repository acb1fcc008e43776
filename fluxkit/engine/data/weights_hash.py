"""Which weights a run uses: hashes of files, each computed once as long as the file does not change."""

import hashlib
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fluxkit.dataset.cache import cache_folder
from fluxkit.engine.flux.random_weights import recipe_sha256
from fluxkit.model.pipeline_files import pipeline_folder
from fluxkit.record.atomic_file import file_sha256, write_atomically
from fluxkit.spec.workload import ModelSpec

SETTLED_SECONDS = 2.0
"""The coarsest clock of a file system in use."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


def weights_sha256(spec: ModelSpec) -> str:
    """Hash over every weight file of the pipeline and of the assistant adapter, and over how weights are made."""
    if not spec.can_draw:
        return recipe_sha256(pipeline_folder(spec))
    digest = hashlib.sha256(spec.weights.encode())
    digest.update(component_sha256(spec, ("transformer", "vae", "text_encoder", "text_encoder_2")).encode())
    if spec.assistant_adapter:
        adapter = Path(spec.assistant_adapter)
        files = [adapter] if adapter.is_file() else sorted(adapter.glob("*.safetensors"))
        hashes = "".join(cached_file_sha256(file) for file in files)
        digest.update(hashlib.sha256(hashes.encode()).hexdigest().encode())
    return digest.hexdigest()


def component_sha256(spec: ModelSpec, components: Sequence[str]) -> str:
    """Hash over names and contents of all files of some components of the pipeline."""
    folder = pipeline_folder(spec)
    digest = hashlib.sha256()
    for component in components:
        for path in sorted((folder / component).iterdir()):
            if path.is_file():
                digest.update(f"{component}/{path.name}:{cached_file_sha256(path)}\n".encode())
    return digest.hexdigest()


def cached_file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, remembered by its place and by all that changes when its content does."""
    file = path.resolve()
    before = _stamp(file)
    note = cache_folder() / "hashes" / hashlib.sha256(before.encode()).hexdigest()
    with suppress(OSError, ValueError):
        if _SHA256.fullmatch(remembered := note.read_text("ascii")):
            return remembered
    digest = file_sha256(file)
    # What is written again within a tick of the file system's clock would bear the same stamp.
    old_enough = time.time() - file.stat().st_ctime > SETTLED_SECONDS
    if old_enough and _stamp(file) == before:
        with suppress(OSError):  # a cache that can't be written only costs time
            write_atomically(note, digest)
    return digest


def _stamp(file: Path) -> str:
    """A copy may keep size and time of change; the inode and the time of its own change no program sets."""
    status = file.stat()
    parts = (file, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return "|".join(map(str, parts))
