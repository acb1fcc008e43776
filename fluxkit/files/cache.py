"""Where fluxkit keeps what need not be computed twice, how much that is, and how to clear it.

Files are named by the hash of everything that they depend on, so a changed image, caption or encoder makes another
file, and nothing in here can be stale.
"""

import os
import shutil
from pathlib import Path
from typing import NamedTuple

from fluxkit.errors import MachineError

ENVIRONMENT_VARIABLE = "FLUXKIT_CACHE"


class CacheSize(NamedTuple):
    """How much lies in the cache."""

    files: int
    bytes: int


def cache_folder() -> Path:
    """`$FLUXKIT_CACHE`, else the place that the operating system has for caches."""
    from platformdirs import user_cache_dir

    return Path(os.environ.get(ENVIRONMENT_VARIABLE) or user_cache_dir("fluxkit", appauthor=False))


def entry(kind: str, key: str) -> Path:
    """The file of one entry; `key` is a hexadecimal hash."""
    return cache_folder() / kind / key[:2] / f"{key}.safetensors"


def cache_size() -> CacheSize:
    """What lies in the cache now."""
    sizes = [path.stat().st_size for path in cache_folder().rglob("*") if path.is_file()]
    return CacheSize(len(sizes), sum(sizes))


def clear_cache() -> CacheSize:
    """Removes every entry; gives what was removed. The next run computes again what it needs.

    Raises:
        MachineError: something can't be removed.
    """
    size = cache_size()
    for kind in KINDS:
        try:
            shutil.rmtree(cache_folder() / kind)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise MachineError(
                f"{cache_folder() / kind} can't be cleared: {error.strerror or error}. Remove it by hand, or name"
                f" another cache with {ENVIRONMENT_VARIABLE}."
            ) from error
    return size


KINDS = ("latents", "captions", "hashes", "pictures")
"""Folders that belong to fluxkit inside the cache folder."""
