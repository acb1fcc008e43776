"""Which files a run reads, each by a hash, so that a run that is continued can tell whether they are still the same."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from fluxkit.dataset.picture_folder import list_folder
from fluxkit.files.file_hashes import cached_file_sha256
from fluxkit.model.adapter_file import adapter_files
from fluxkit.model.pipeline_files import pipeline_folder, single_file
from fluxkit.model.weight_files import COMPONENTS
from fluxkit.spec.run_spec import RunSpec
from fluxkit.spec.workload import ModelSpec

NAMED = 5


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
