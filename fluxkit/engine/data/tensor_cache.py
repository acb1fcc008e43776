"""Tensors that are computed once per content: read from the cache, or made and written there, whole or not at all."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib.metadata import version

import torch
from torch import Tensor

from fluxkit.engine.data.tensor_file import DamagedTensorsError, TensorFile, save_tensors
from fluxkit.files.cache import entry
from fluxkit.machine.environment import recorded
from fluxkit.values import canonical_sha256

ENCODING_PACKAGES = ("torch", "diffusers", "transformers", "tokenizers")


def computed_here(device: torch.device) -> str:
    """Hash of what an encoding depends on beside encoder and content, to the last bit.

    Packages, device, the instructions and threads of a CPU, and the variables that choose kernels: a cache may lie in
    a folder that several machines share.
    """
    if device.type == "cuda":
        place = [torch.cuda.get_device_name(device), str(torch.version.cuda), str(torch.backends.cudnn.version())]
    else:
        place = [torch.backends.cpu.get_cpu_capability(), str(torch.get_num_threads())]
    return canonical_sha256([device.type, place, [version(name) for name in ENCODING_PACKAGES], recorded()])


def cached_tensors(
    kind: str, keys: Sequence[str], make: Callable[[list[int]], Iterable[dict[str, Tensor]]]
) -> list[dict[str, Tensor]]:
    """The entries of `keys`, in order.

    Args:
        kind: folder inside the cache.
        keys: hash of everything that each entry depends on.
        make: computes the entries at the given places, called at most once and only if something is missing. Each is
            stored before the next is asked for.
    """
    stored = [_read_entry(kind, key) for key in keys]
    missing = [place for place, tensors in enumerate(stored) if tensors is None]
    made = dict[int, dict[str, Tensor]]()
    for place, tensors in zip(missing, make(missing) if missing else (), strict=True):
        made[place] = tensors
        with suppress(OSError):  # a cache that can't be written only costs time
            save_tensors(entry(kind, keys[place]), tensors, {"key": keys[place]}, durable=False)
    return [made[place] if tensors is None else tensors for place, tensors in enumerate(stored)]


def _read_entry(kind: str, key: str) -> dict[str, Tensor] | None:
    with suppress(OSError, DamagedTensorsError):  # what was changed on disk is made again
        file = TensorFile(entry(kind, key))
        return dict(file) if file.facts == {"key": key} else None
    return None
