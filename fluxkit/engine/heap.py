"""The C heap while a large model is built from parts that come and go.

glibc keeps freed memory of up to 32 MB a piece inside its heap, where the next piece of another size leaves holes:
building 12 GB of 8-bit weights from 16-bit blocks ended at 23 GB resident, and with pages of their own at 12.5 GB.

Source: mallopt(3) and malloc_trim(3) of glibc; other C libraries have neither, and are left alone.
"""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
OWN_PAGES_BYTES = 1 << 16
"""While building, everything larger has pages of its own, which go back to the system at once."""
SETTLED_BYTES = 1 << 25
"""Afterwards glibc's own upper limit of what the heap keeps: pages that are used again are not asked for again."""


@contextmanager
def compact_heap() -> Iterator[None]:
    """Freed memory goes back to the system inside the block, and what the heap still holds when it is left."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt") or not hasattr(libc, "malloc_trim"):
        yield
        return
    libc.mallopt(M_MMAP_THRESHOLD, OWN_PAGES_BYTES)
    try:
        yield
    finally:
        libc.mallopt(M_MMAP_THRESHOLD, SETTLED_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, 2 * SETTLED_BYTES)
        libc.malloc_trim(0)
