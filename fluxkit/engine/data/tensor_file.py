"""Saves and restores tensors with a little JSON beside them, in one safetensors file, whole or not at all.

The file's metadata holds a hash of every tensor and one of all metadata, checked when they are read: a flipped bit
would give a run that completes, can be compared, and is wrong.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fluxkit.engine.process.error_message import reading
from fluxkit.files.atomic_file import written_whole

METADATA_KEY = "fluxkit"


class DamagedTensorsError(ValueError):
    """A file of tensors is not what was written."""


def save_tensors(
    path: Path, tensors: dict[str, Tensor], facts: dict[str, Any], *, below: Path | None = None, durable: bool = True
) -> None:
    """Writes tensors and JSON facts to `path`; until the last moment the previous file stays in place.

    `below`, the run folder that it lies in, and `durable` are as for `written_whole`.
    """
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    hashes = {name: tensor_sha256(tensor) for name, tensor in held.items()}
    told = json.dumps({"facts": facts, "tensors": hashes}, sort_keys=True)
    with written_whole(path, below=below, durable=durable) as temporary:
        save_file(held, temporary, metadata={METADATA_KEY: f"{_seal(told)} {told}"})


def tensor_sha256(tensor: Tensor) -> str:
    """Hash over dtype, shape and bytes of a tensor on the CPU."""
    digest = hashlib.sha256(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _seal(told: str) -> str:
    return hashlib.sha256(told.encode()).hexdigest()


class TensorFile(Mapping[str, "Tensor"]):
    """The tensors of a file that `save_tensors` wrote, on the CPU.

    Each is read when it is looked up, so a process that keeps a share never holds them all.

    Raises:
        DamagedTensorsError: here or at a look-up: the file is not what was written.
    """

    def __init__(self, path: Path) -> None:
        with reading(path):
            try:
                self._file = cast("Any", safe_open(path, framework="pt", device="cpu"))
                metadata = self._file.metadata() or {}
                names = set(self._file.keys())
            except (SafetensorError, ValueError) as error:
                raise DamagedTensorsError(str(error)) from error
        seal, _, told = metadata.get(METADATA_KEY, "").partition(" ")
        if seal != _seal(told):
            raise DamagedTensorsError("its metadata is not what was written")
        values = json.loads(told)
        self._hashes: dict[str, str] = values["tensors"]
        if names != set(self._hashes):
            raise DamagedTensorsError("it does not hold the tensors that were written")
        self.facts: dict[str, Any] = values["facts"]
        """What was written beside the tensors."""

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._hashes:
            raise KeyError(name)
        tensor = cast("Tensor", self._file.get_tensor(name))
        if tensor_sha256(tensor) != self._hashes[name]:
            raise DamagedTensorsError(f"{name} is not what was written")
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._hashes))

    def __len__(self) -> int:
        return len(self._hashes)
