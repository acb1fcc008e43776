"""What weights these are: hashes of files, each computed once as long as the file does not change."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fluxkit.dataset.cache import cache_folder
from fluxkit.engine.flux.random_weights import recipe_sha256
from fluxkit.model.pipeline_files import pipeline_folder
from fluxkit.record.atomic_file import write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxkit.spec.workload import ModelSpec


def weights_sha256(spec: ModelSpec) -> str:
    """Hash over every weight file of the pipeline and the assistant adapter, and over how weights are made."""
    if not spec.can_draw:
        return recipe_sha256(pipeline_folder(spec))
    digest = hashlib.sha256(spec.weights.encode())
    digest.update(component_sha256(spec, ("transformer", "vae", "text_encoder", "text_encoder_2")).encode())
    if spec.assistant_adapter:
        digest.update(adapter_sha256(spec.assistant_adapter).encode())
    return digest.hexdigest()


def component_sha256(spec: ModelSpec, components: Sequence[str]) -> str:
    """Hash over names and contents of all files of some components of the pipeline."""
    folder = pipeline_folder(spec)
    digest = hashlib.sha256()
    for component in components:
        for path in sorted((folder / component).iterdir()):
            if path.is_file():
                digest.update(f"{component}/{path.name}:{file_sha256(path)}\n".encode())
    return digest.hexdigest()


def adapter_sha256(path: str) -> str:
    """Hash over the safetensors files of an adapter: one file, or a folder of them."""
    place = Path(path)
    files = [place] if place.is_file() else sorted(place.glob("*.safetensors"))
    return hashlib.sha256("".join(file_sha256(file) for file in files).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, remembered by its place, size and time of change."""
    seen = path.resolve()
    facts = seen.stat()
    key = hashlib.sha256(f"{seen}|{facts.st_size}|{facts.st_mtime_ns}".encode()).hexdigest()
    note = cache_folder() / "hashes" / key
    with suppress(OSError):
        return note.read_text("ascii")
    with seen.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with suppress(OSError):  # a cache that can't be written only costs time
        write_atomically(note, digest)
    return digest
