"""Tensors that are computed once per content: read from the cache, or made and written there, whole or not at all."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from safetensors import SafetensorError
from torch import Tensor

from fluxkit.dataset.cache import entry
from fluxkit.engine.data.tensor_file import TensorFile, save_tensors


def cached_tensors(
    kind: str, keys: Sequence[str], make: Callable[[list[int]], list[dict[str, Tensor]]]
) -> list[dict[str, Tensor]]:
    """The entries of `keys`, in order.

    Args:
        kind: folder inside the cache.
        keys: hash of everything that each entry depends on.
        make: computes the entries at the given places, called at most once and only if something is missing.
    """
    stored = [_read_entry(kind, key) for key in keys]
    missing = [place for place, tensors in enumerate(stored) if tensors is None]
    made = dict(zip(missing, make(missing), strict=True)) if missing else {}
    for place, tensors in made.items():
        with suppress(OSError):  # a cache that can't be written only costs time
            save_tensors(entry(kind, keys[place]), tensors, {})
    return [made[place] if tensors is None else tensors for place, tensors in enumerate(stored)]


def _read_entry(kind: str, key: str) -> dict[str, Tensor] | None:
    with suppress(OSError, SafetensorError, KeyError, TypeError):
        return dict(TensorFile(entry(kind, key)))
    return None
