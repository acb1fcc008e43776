"""Pictures at the resolution of a run, opened once: decoding and scaling a photograph takes far longer than reading it.

An entry is a safetensors file, written and read without numpy.
"""

import hashlib
import json
import math
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fluxkit.dataset.photos import Square
from fluxkit.dataset.picture_file import decoders
from fluxkit.dataset.picture_loader import FRAMES, load_square, pixel_sha256
from fluxkit.files.atomic_file import written_whole
from fluxkit.files.cache import entry
from fluxkit.files.file_hashes import cached_file_sha256

if TYPE_CHECKING:
    from PIL import Image


def load_once(path: Path, resolution: int, enlarge: bool, detail: Square | None = None) -> "Image.Image":
    """The picture from the cache, or opened and written there.

    Raises:
        UnusableError: it can't be used; that is not remembered.
    """
    try:
        parts = ("3", *decoders(), resolution, enlarge, detail, cached_file_sha256(path))
    except OSError:  # what stands in the way is said where it is opened
        return load_square(path, resolution, enlarge, detail)
    key = hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()
    file = entry("pictures", key)
    if image := _stored(file, key, resolution):
        return image
    image = load_square(path, resolution, enlarge, detail)
    with suppress(OSError), written_whole(file, durable=False) as temporary:  # one that can't be written costs time
        temporary.write_bytes(_header(image, key, resolution) + image.tobytes())
    return image


def _header(image: "Image.Image", key: str, resolution: int) -> bytes:
    shape = [resolution, resolution, 3]
    tensor = {"dtype": "U8", "shape": shape, "data_offsets": [0, math.prod(shape)]}
    frames = str(image.info[FRAMES])
    facts = {FRAMES: frames, "sha256": _seal(image, key, frames)}
    text = json.dumps({"__metadata__": facts, "rgb_HWC": tensor}).encode()
    return len(text).to_bytes(8, "little") + text


def _seal(image: "Image.Image", key: str, frames: str) -> str:
    return hashlib.sha256(f"{key} {pixel_sha256(image)} {frames}".encode()).hexdigest()


def _stored(file: Path, key: str, resolution: int) -> "Image.Image | None":
    """What lies in the cache; None where nothing does, or something else than was written."""
    from PIL import Image

    with suppress(OSError, ValueError, KeyError, TypeError):
        content = file.read_bytes()
        begin = 8 + int.from_bytes(content[:8], "little")
        image = Image.frombytes("RGB", (resolution, resolution), content[begin:])
        facts = json.loads(content[8:begin])["__metadata__"]
        if _seal(image, key, facts[FRAMES]) == facts["sha256"]:
            image.info[FRAMES] = int(facts[FRAMES])
            return image
    return None
