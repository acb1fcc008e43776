"""One picture for a page: read only from inside its run folder, checked, made small and lossy, and counted."""

from __future__ import annotations

import base64
import functools
import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel

from fluxkit.errors import FluxkitError
from fluxkit.record.run_folder import safe_path
from fluxkit.values import FROZEN

if TYPE_CHECKING:
    from pathlib import Path

MAX_FILE_BYTES = 12_000_000
MAX_TOTAL_BYTES = 3_300_000
"""Of all pictures of a page; a third more as base64, so that the page stays below 5 MB."""
MAX_PIXELS_A_SIDE = 4096
PNG_START = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""By the colour type of a PNG."""
HEADER_BYTES = 33
SMALL_SIDE = 200
"""Pictures up to this side in pixels are shown enlarged, pixel by pixel."""


class Tile(BaseModel):
    """One picture of the grid, or why it is not there."""

    model_config = FROZEN
    source: str | None
    """Data URI of a lossy copy of the stored picture."""
    alt: str
    width: int = 0
    height: int = 0
    chip: str = ""
    """PSNR and SSIM against the real image."""
    missing: str = ""

    @property
    def small(self) -> bool:
        """Whether it is shown enlarged."""
        return max(self.width, self.height) <= SMALL_SIDE


class Copy(NamedTuple):
    """How pictures are copied onto the page."""

    side: int
    """Longest side in pixels; larger pictures are made smaller."""
    quality: int
    """Of the JPEG, to 100."""


LARGE, SMALL = Copy(side=256, quality=86), Copy(side=160, quality=72)


class Spent:
    """Bytes of pictures that the page may still hold, and how pictures are copied onto it."""

    def __init__(self, left: int | None = None, how: Copy = LARGE) -> None:
        self.left, self.how = MAX_TOTAL_BYTES if left is None else left, how
        self.copied: list[tuple[Path, str]] = []


def tile(folder: Path, image: str | None, alt: str, chip: str, spent: Spent) -> Tile:
    """A stored PNG of a run folder as a tile; what is missing or no PNG is said on it."""
    content = read_png(folder, image) if image else None
    if image is None or content is None:
        return Tile(source=None, alt=alt, chip=chip, missing="image not beside it" if image else "not kept")
    spent.copied.append((folder, image))
    copied, width, height = _lossy(content, spent.how)
    spent.left -= len(copied)
    source = f"data:image/jpeg;base64,{base64.b64encode(copied).decode()}"
    return Tile(source=source, alt=alt, width=width, height=height, chip=chip)


def read_png(folder: Path, image: str) -> bytes | None:
    """A whole 8-bit PNG inside the run folder; None for anything else."""
    try:
        path = safe_path(folder, image)
        if path.stat().st_size > MAX_FILE_BYTES:
            return None
        content = path.read_bytes()
    except (FluxkitError, OSError):
        return None
    return content if _whole(content) else None


def _whole(content: bytes) -> bool:
    """Whether every pixel of a PNG is there: a picture cut short would be copied as an empty one."""
    if not content.startswith(PNG_START) or len(content) < HEADER_BYTES or content[12:16] != b"IHDR":
        return False
    header: tuple[int, ...] = struct.unpack(">IIBBBBB", content[16:29])
    width, height, bits, colour, _, _, interlace = header
    if min(width, height) < 1 or max(width, height) > MAX_PIXELS_A_SIDE or (bits, interlace) != (8, 0):
        return False
    expected = height * (1 + width * CHANNELS.get(colour, 0))
    unpack = zlib.decompressobj()
    try:
        pixels = unpack.decompress(_pixel_chunks(content), expected + 1)
    except zlib.error:
        return False
    return len(pixels) == expected


def _pixel_chunks(content: bytes) -> bytes:
    place, found = len(PNG_START), []
    while place + 8 <= len(content):
        length, kind = struct.unpack(">I4s", content[place : place + 8])
        if kind == b"IDAT":
            found.append(content[place + 8 : place + 8 + length])
        place += 12 + length
    return b"".join(found)


@functools.lru_cache(maxsize=4096)
def _lossy(content: bytes, how: Copy) -> tuple[bytes, int, int]:
    """A JPEG of a PNG with its width and height, drawn by the chart compiler, which carries an encoder."""
    import vl_convert

    width, height = struct.unpack(">II", content[16:24])
    shrink = min(1.0, how.side / max(width, height))
    width, height = max(1, round(width * shrink)), max(1, round(height * shrink))
    size, source = f'width="{width}" height="{height}"', base64.b64encode(content).decode()
    drawing = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}><image {size} preserveAspectRatio="none" '
        f'href="data:image/png;base64,{source}"/></svg>'
    )
    return vl_convert.svg_to_jpeg(drawing, scale=1.0, quality=how.quality), width, height
