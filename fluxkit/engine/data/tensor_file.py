"""Saves and restores tensors with a little JSON beside them, in one safetensors file, whole or not at all."""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from fluxkit.engine.process.error_message import reading

FACTS_KEY = "fluxkit"


def save_tensors(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Writes tensors and JSON facts to `path`; until the last moment the previous file stays in place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(held, temporary, metadata={FACTS_KEY: json.dumps(facts)})
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class TensorFile(Mapping[str, "Tensor"]):
    """The tensors of a file that `save_tensors` wrote, on the CPU.

    Each is read when it is looked up, so a process that keeps a share never holds them all.
    """

    def __init__(self, path: Path) -> None:
        with reading(path):
            self._file = cast("Any", safe_open(path, framework="pt", device="cpu"))
        self._names = set(self._file.keys())
        self.facts: dict[str, Any] = json.loads(self._file.metadata()[FACTS_KEY])
        """What was written beside the tensors."""

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        return self._file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._names))

    def __len__(self) -> int:
        return len(self._names)
