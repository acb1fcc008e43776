"""One picture for a page: read only from inside its run folder, checked, and made small and lossy."""

import base64
import functools
import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import NamedTuple

from fluxkit.errors import FluxkitError
from fluxkit.record.run_folder import safe_path
from fluxkit.values import Frozen

MAX_FILE_BYTES = 12_000_000
MAX_PIXELS_A_SIDE = 4096
SMALL_SIDE = 200
"""Pictures up to this side in pixels are shown enlarged, pixel by pixel."""
BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, IndexError, KeyError, OverflowError)
"""What Pillow raises on files that are cut short, broken or made to harm."""


class Tile(Frozen):
    """One picture of the grid, or why it is not there."""

    source: str | None
    """Data URI of a lossy copy of the stored picture."""
    alt: str
    width: int = 0
    height: int = 0
    chip: str = ""
    """PSNR and SSIM against the real image."""
    missing: str = ""
    file: tuple[Path, str] | None = None
    """Run folder of the stored picture, and its path in it."""
    jpeg_bytes: int = 0
    """Of the copy, before base64."""

    @property
    def small(self) -> bool:
        """Whether it is shown enlarged."""
        return max(self.width, self.height) <= SMALL_SIDE


class Copy(NamedTuple):
    """How pictures are copied onto the page, as JPEG."""

    side: int
    """Longest side in pixels; larger pictures are made smaller."""
    quality: int
    """Up to 100."""


LARGE, SMALL = Copy(side=256, quality=86), Copy(side=160, quality=72)


class Jpeg(NamedTuple):
    """The lossy copy of a picture."""

    content: bytes
    width: int
    height: int


def tile(folder: Path, image: str | None, alt: str, chip: str, how: Copy) -> Tile:
    """A stored PNG of a run folder as a tile; what is missing or no PNG is said on it."""
    copy = jpeg_copy(folder, image, how) if image else None
    if image is None or copy is None:
        return Tile(source=None, alt=alt, chip=chip, missing="image not beside it" if image else "not kept")
    return Tile(
        source=f"data:image/jpeg;base64,{base64.b64encode(copy.content).decode()}",
        alt=alt,
        width=copy.width,
        height=copy.height,
        chip=chip,
        file=(folder, image),
        jpeg_bytes=len(copy.content),
    )


def jpeg_copy(folder: Path, image: str, how: Copy) -> Jpeg | None:
    """A lossy copy of a whole PNG inside the run folder; None for anything else."""
    try:
        path = safe_path(folder, image)
        if path.stat().st_size > MAX_FILE_BYTES:
            return None
        content = path.read_bytes()
    except (FluxkitError, OSError):
        return None
    return _encoded(content, how)


@functools.lru_cache(maxsize=4096)
def _encoded(content: bytes, how: Copy) -> Jpeg | None:
    """Kept, because a picture that does not fit the page is tried again, and results are copied beside their page."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # Pillow only warns of a file that unpacks to too many pixels; a stranger's is refused.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(content), formats=["PNG"])
        # 16-bit grey, whose mode begins with I, would be clipped to white.
        if max(picture.size) > MAX_PIXELS_A_SIDE or picture.mode.startswith("I"):
            return None
        pixels = picture.convert("RGBA")
    except (*BROKEN, Image.DecompressionBombWarning, Image.DecompressionBombError):
        return None
    shrink = min(1.0, how.side / max(pixels.size))
    width, height = (max(1, round(side * shrink)) for side in pixels.size)
    small = pixels.resize((width, height), Image.Resampling.LANCZOS)
    # A new picture takes over no comment and no profile of the file.
    copy, stream = Image.new("RGB", small.size), io.BytesIO()
    copy.paste(small, mask=small)
    copy.save(stream, "JPEG", quality=how.quality, subsampling="4:4:4", optimize=True)
    return Jpeg(stream.getvalue(), width, height)
