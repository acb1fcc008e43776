"""Which weights a run uses: hashes of files, each computed once as long as the file does not change."""

import hashlib
from collections.abc import Sequence

from fluxkit.engine.flux.random_weights import recipe_sha256
from fluxkit.files.file_hashes import cached_file_sha256
from fluxkit.model.adapter_file import adapter_files
from fluxkit.model.pipeline_files import pipeline_folder, single_file
from fluxkit.spec.workload import ModelSpec


def weights_sha256(spec: ModelSpec) -> str:
    """Hash over every weight file of the pipeline and of the assistant adapter, and over how weights are made."""
    if not spec.can_draw:
        return recipe_sha256(pipeline_folder(spec))
    digest = hashlib.sha256(spec.weights.encode())
    digest.update(component_sha256(spec, ("transformer", "vae", "text_encoder", "text_encoder_2")).encode())
    if spec.assistant_adapter:
        hashes = "".join(cached_file_sha256(file) for file in adapter_files(spec.assistant_adapter))
        digest.update(hashlib.sha256(hashes.encode()).hexdigest().encode())
    return digest.hexdigest()


def component_sha256(spec: ModelSpec, components: Sequence[str]) -> str:
    """Hash over names and contents of all files of some components of the pipeline; a single file has no name."""
    folder, file = pipeline_folder(spec), single_file(spec)
    digest = hashlib.sha256()
    for component in components:
        if file and component == "transformer":
            digest.update(f"{component}:{cached_file_sha256(file)}\n".encode())
            continue
        for path in sorted((folder / component).iterdir()):
            if path.is_file():
                digest.update(f"{component}/{path.name}:{cached_file_sha256(path)}\n".encode())
    return digest.hexdigest()
