"""Which weights a run uses: hashes of files, each computed once as long as the file does not change."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from fluxkit.engine.flux.random_weights import recipe_sha256
from fluxkit.model.pipeline_files import pipeline_folder
from fluxkit.record.input_files import cached_file_sha256
from fluxkit.spec.workload import ModelSpec


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
