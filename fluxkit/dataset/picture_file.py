"""One picture file as Pillow sees it: whether it is one, and how it is opened with nothing trusted but its pixels."""

import io
import sys
import warnings
import zlib
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from fluxkit.model.pipeline_files import is_lfs_pointer

PLUGINS = ("pillow_heif.HeifImagePlugin", "pillow_jxl")
"""Packages that teach Pillow a format when they are imported, where a person has installed them."""
NOT_PIXELS = frozenset({"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"})
"""Formats that Pillow only recognises, or hands to another program."""
SNIFFED = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000")
"""Formats with a signature, told by content where the suffix says nothing."""
_HEIF = "is HEIF, which this Pillow does not open: pip install 'fluxkit[heif]', or save it as JPEG or PNG"
_JXL = "is JPEG XL, which this Pillow does not open: pip install pillow-jxl-plugin, or save it as JPEG or PNG"
_RAW = "is a camera's raw file: export it as JPEG, PNG or TIFF"
_DRAWING = "is a drawing or a document, not pixels: export it as PNG"
ADVICE = {
    ".avif": "is AVIF, which this Pillow does not open: update Pillow, or save it as JPEG or PNG",
    **dict.fromkeys((".heic", ".heif", ".hif", ".heics", ".heifs"), _HEIF),
    ".jxl": _JXL,
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw"), _RAW),
    **dict.fromkeys((".svg", ".svgz", ".eps", ".ai", ".wmf", ".emf"), _DRAWING),
    **dict.fromkeys((".xcf", ".kra", ".exr", ".hdr"), "is a picture that Pillow does not open: save it as PNG"),
}
"""What would help with a picture whose suffix is not among the openable ones."""
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""What stands behind `ftyp` in a photograph of a phone."""
JXL_STARTS = (b"\xff\x0a", b"\0\0\0\x0cJXL ")
PAGE_STARTS = (b"<!doctype html", b"<html")
SEQUENCES = frozenset({"GIF", "PNG", "WEBP", "AVIF", "TIFF"})
"""Formats whose other frames are pictures too, and no preview, layer or second size of the first."""
MAX_BYTES_IN_MEMORY = 2**30
MAX_PROFILE_BYTES = 2**26
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PNG_USED = frozenset({b"tRNS", b"iCCP", b"eXIf"})
"""Chunks beside the critical ones that change what one sees: transparency, colours, orientation."""
PNG_TEXT = frozenset({b"tEXt", b"zTXt", b"iTXt"})
PNG_NOTES = frozenset({b"XML:com.adobe.xmp", b"Raw profile type exif"})
"""Text that may hold the orientation, by its keyword."""
CHUNK_FRAME = 12
"""Bytes of length, type and checksum around a chunk's data."""


@cache
def openable_suffixes() -> frozenset[str]:
    """Suffixes, in small letters, of what this Pillow opens to pixels."""
    from PIL import Image

    for plugin in PLUGINS:
        with suppress(ImportError):
            import_module(plugin)
    suffixes = Image.registered_extensions()  # imports every plugin, so OPEN is whole afterwards
    return frozenset(suffix for suffix, kind in suffixes.items() if kind in Image.OPEN and kind not in NOT_PIXELS)


@cache
def decoders() -> tuple[str | None, ...]:
    """Versions of all that turns a file into pixels: Pillow, its libraries, and packages that taught it a format."""
    from PIL import features

    openable_suffixes()
    libraries = (*features.codecs, "libjpeg_turbo", "webp", "avif", "littlecms2")
    taught = (sys.modules.get(plugin.partition(".")[0]) for plugin in PLUGINS)
    return (
        features.version("pil"),
        *(features.version(name) for name in libraries),
        *(getattr(module, "__version__", None) for module in taught),
    )


def looks_like_picture(path: Path) -> bool:
    """Whether a file of any name begins as a picture does, be it one that this Pillow opens or not."""
    with suppress(OSError):
        if what_it_is(path) in {_HEIF, _JXL}:
            return True
    return _opens(path)


def _opens(path: Path) -> bool:
    from PIL import Image

    with suppress(Exception), warnings.catch_warnings(action="ignore"), Image.open(path, formats=SNIFFED):
        return True
    return False


def refusal(path: Path, suffix: str) -> str | None:
    """Why a picture of a suffix in `ADVICE` can't be opened, and what would help; None where its content can."""
    # A JPEG that a phone or a download has named .heic is a JPEG; a raw file holds a small TIFF or JPEG of itself.
    return ADVICE[suffix] if ADVICE[suffix] == _RAW or not _opens(path) else None


def what_it_is(path: Path) -> str:
    """What a file is that Pillow does not open, by its first bytes, as words that follow its name.

    Raises:
        OSError: it can't be read.
    """
    if is_lfs_pointer(path):
        return "is a Git LFS pointer, not the picture itself: run git lfs pull there"
    with path.open("rb") as file:
        start = file.read(32)
    if not start:
        return "is empty"
    if start[4:8] == b"ftyp" and start[8:12] in HEIF_BRANDS:
        return _HEIF
    if start.startswith(JXL_STARTS):
        return _JXL
    if start.lstrip().lower().startswith(PAGE_STARTS):
        return "is a web page, not a picture: download it again"
    return "is not an image in a format that Pillow reads"


def frame_count(image: Any) -> int:
    """Frames or pages of an opened picture that are pictures themselves."""
    with suppress(Exception):  # only the first is used, so damage in the others is none
        return int(image.n_frames) if image.format in SEQUENCES else 1
    return 1


def open_picture(path: Path) -> Any:
    """The file as a Pillow image that is not decoded yet, whatever its suffix.

    Raises:
        Exception: whatever Pillow has for a file that it can't open.
    """
    from PIL import Image

    openable_suffixes()
    formats = [kind for kind in Image.ID if kind not in NOT_PIXELS]
    return Image.open(_readable(path), formats=formats)


def orientation(image: Any) -> int:
    """The EXIF orientation, 1 to 8; 1, upright, where the notes of a picture are damaged or say nothing."""
    from PIL import ExifTags

    with suppress(Exception):  # a picture that one can view is one that can be used
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    return 1


def _readable(path: Path) -> Path | io.BytesIO:
    """A PNG with nothing in it but what one sees, a TIFF in memory; another file as it is."""
    with path.open("rb") as file:
        start = file.read(len(PNG_SIGNATURE))
        if not start.startswith((PNG_SIGNATURE, *TIFF_STARTS)) or path.stat().st_size > MAX_BYTES_IN_MEMORY:
            return path
        content = start + file.read()
    # From a path Pillow maps a TIFF into memory, and takes the rows of one that stands on its side for columns.
    return _without_notes(content) if start == PNG_SIGNATURE else io.BytesIO(content)


def _without_notes(png: bytes) -> io.BytesIO:
    """Pillow refuses a PNG for long text, such as the workflow of the program that drew it, and for a damaged note."""
    from PIL import PngImagePlugin

    PngImagePlugin.MAX_TEXT_CHUNK = MAX_PROFILE_BYTES  # holds for colour profiles too, which are larger than notes
    chunks, start, more_frames = [PNG_SIGNATURE], len(PNG_SIGNATURE), 0
    while start < len(png):
        end = start + CHUNK_FRAME + int.from_bytes(png[start : start + 4], "big")
        if _is_used(chunk := png[start:end]):
            chunks.append(chunk)
        more_frames += chunk[4:8] == b"fcTL" and chunks[-1][4:8] == b"IDAT"
        start = end
    if more_frames:  # they are not used, but counted
        count = b"acTL" + more_frames.to_bytes(4, "big") + bytes(4)
        chunks.insert(2, (8).to_bytes(4, "big") + count + zlib.crc32(count).to_bytes(4, "big"))
    return io.BytesIO(b"".join(chunks))


def _is_used(chunk: bytes) -> bool:
    """Whether a PNG chunk is critical, or changes what one sees and is sound."""
    kind = chunk[4:8]
    if kind[:1].isupper():
        return True
    keyword = chunk[8:40].split(b"\0", 1)[0] if kind in PNG_TEXT else b""
    wanted = kind in PNG_USED or keyword in PNG_NOTES
    return wanted and zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")
