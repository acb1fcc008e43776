"""Captioned images at the resolution of a run, from the embedded photos or a folder: the one deterministic loader."""

from __future__ import annotations

import hashlib
import io
import math
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fluxkit.dataset.folder_walk import Aside, Problem, UnusableError
from fluxkit.dataset.photos import Photo, Split, Square, photo_path, photos
from fluxkit.dataset.picture_file import frame_count, open_picture, orientation, what_it_is
from fluxkit.dataset.picture_folder import Listed, in_words, list_folder, one_line
from fluxkit.errors import MachineError
from fluxkit.machine.stop_requests import check_stop
from fluxkit.spec.workload import DataSpec
from fluxkit.units import counted

if TYPE_CHECKING:
    from PIL import Image

PIXEL_CAP = 89_478_485
"""Most pixels a file may hold: Pillow's own guard against decompression bombs (0.25 GiB of 24-bit pixels)."""
NO_WHITE = "has floating-point or 32-bit pixels, which have no agreed white: save it with 8 or 16 bits"
FRAMES = "frames"
"""Key of a picture's `info`."""
TOO_MANY_PIXELS = f"has more than {PIXEL_CAP} pixels: scale it down first"


Loader = Callable[[Path, int, bool, Square | None], "Image.Image"]
"""Opens a file at a resolution; whether it may be enlarged, and the detail that is meant, if it is not the whole."""
Watch = Callable[[Sequence[Any], str], Iterable[Any]]
"""Gives back what it was given, one by one, and tells somebody how far it is; the last: what they are."""


@dataclass(frozen=True)
class Pair:
    """One captioned image at the resolution of the run."""

    id: str
    """Short, unique, and safe as a file name."""
    caption: str
    split: Split
    cluster: str
    """Pairs of one cluster are not independent: they are tuned on or held out together."""
    image: Image.Image
    pixels_sha256: str
    name: str = ""
    """Of its file, relative to a person's folder."""


@dataclass(frozen=True)
class Pairs:
    """The pairs of a run, and the files that were left out with their reasons."""

    used: tuple[Pair, ...]
    skipped: tuple[Problem, ...] = ()


def load_square(path: Path, resolution: int, enlarge: bool, detail: Square | None = None) -> Image.Image:
    """The file as `load_image` gives it; its `info` says how many frames it holds.

    Raises:
        UnusableError: it can't be; in words that follow its name.
    """
    return _load(path, resolution, enlarge=enlarge, detail=detail)


def load_pairs(
    spec: DataSpec, *, enlarge: bool = False, load: Loader = load_square, watch: Watch = lambda items, _what: items
) -> Pairs:
    """The pairs that the spec names, in an order that does not depend on the machine.

    Photos smaller than the resolution are left out, or enlarged where only their number and size matter.

    Args:
        spec: which pictures.
        enlarge: whether photos that are too small are used.
        load: opens a picture.
        watch: gives the pictures of a folder back one by one, and tells how far it is.

    Raises:
        MachineError: an image or caption can't be used and `on_error` is not `skip`, or nothing is left to tune on.
    """
    if spec.source == "photos":
        return _embedded(spec.resolution, load, enlarge=enlarge)
    listed, problems = list_folder(spec)
    pairs: list[Pair] = []
    for image in watch(listed, "pictures"):
        check_stop()
        try:
            picture = load(image.file, spec.resolution, False, None)
            pairs.append(_of_folder(image, picture))
            if (frames := picture.info[FRAMES]) > 1:
                problems.append(one_line(Aside(image.name, f"is read, but of its {frames} frames only the first")))
        except UnusableError as reason:
            problems.append(one_line(Problem(image.name, str(reason))))
    split = _split(_named_apart(pairs), spec.held_out)
    unusable = [problem for problem in problems if not isinstance(problem, Aside)]
    if unusable and spec.on_error == "stop":
        raise MachineError(
            f"data.path = {spec.path!r}: {counted(len(unusable), 'file')} can't be used: {in_words(unusable)}. "
            'Mend or remove them, or set data.on_error = "skip".'
        )
    if not any(pair.split == "tuning" for pair in split):
        raise MachineError(f"data.path = {spec.path!r} leaves no image to tune on: {in_words(problems)}.")
    return Pairs(split, tuple(problems))


def _embedded(resolution: int, load: Loader, *, enlarge: bool) -> Pairs:
    used: list[Pair] = []
    small: list[Problem] = []
    for photo in photos():
        for name, part in ((photo.file, None), *((f"a detail of {photo.file}", detail) for detail in photo.details)):
            try:
                used.append(_of_photo(photo, part, load(photo_path(photo), resolution, enlarge, part)))
            except UnusableError as reason:
                small.append(Problem(name, str(reason).partition(":")[0]))
    if not any(pair.split == "tuning" for pair in used):
        raise MachineError(
            f"No embedded photo to tune on has {resolution} pixels a side; lower data.resolution, or give your own"
            ' pictures with data.source = "folder".'
        )
    return Pairs(tuple(used), tuple(small))


def _of_photo(photo: Photo, detail: Square | None, image: Image.Image) -> Pair:
    if detail is None:
        return Pair(photo.id, photo.caption, photo.split, photo.id, image, pixel_sha256(image))
    name = f"{photo.id}-detail-{photo.details.index(detail) + 1}"
    return Pair(name, f"a detail of {photo.caption}", "regularization", photo.id, image, pixel_sha256(image))


def _of_folder(listed: Listed, image: Image.Image) -> Pair:
    digest = pixel_sha256(image)
    stem = re.sub(r"[^a-z0-9]+", "-", listed.file.stem.lower()).strip("-")[:40]
    name = f"{stem or 'image'}-{digest[:8]}"
    # Copies of one picture are one cluster, or tuning would see what is held out.
    return Pair(name, listed.caption, "tuning", listed.group or digest, image, digest, listed.name)


def _named_apart(pairs: list[Pair]) -> tuple[Pair, ...]:
    """The same pairs, copies of one picture numbered, since an id becomes a file name."""
    copies: dict[str, int] = {}
    apart = []
    for pair in pairs:
        copies[pair.id] = copies.get(pair.id, 0) + 1
        apart.append(replace(pair, id=f"{pair.id}-{copies[pair.id]}") if copies[pair.id] > 1 else pair)
    return tuple(apart)


def _split(pairs: tuple[Pair, ...], held_out: float) -> tuple[Pair, ...]:
    """Whole clusters are held out, those of the lowest content hash, until the share is reached; at least one tunes."""
    clusters: dict[str, str] = {}
    for pair in pairs:
        digest = hashlib.sha256(f"held out|{pair.pixels_sha256}".encode()).hexdigest()
        clusters[pair.cluster] = min(digest, clusters.get(pair.cluster, digest))
    ordered = sorted(clusters, key=clusters.__getitem__)
    count = min(math.ceil(held_out * len(ordered)), len(ordered) - 1)
    chosen = set(ordered[:count])
    return tuple(replace(pair, split="held_out") if pair.cluster in chosen else pair for pair in pairs)


def load_image(path: Path, resolution: int, *, enlarge: bool = False) -> Image.Image:
    """The file as `resolution` x `resolution` 8-bit sRGB, the same pixels wherever and however often it is called.

    Turned upright by its EXIF orientation, brought to sRGB by its embedded profile, laid on white where it is
    transparent, the shorter side scaled to `resolution` pixels (Lanczos), then the centre cropped.

    Raises:
        MachineError: the file is missing, broken, no image, over `PIXEL_CAP`, or smaller than `resolution`, unless
            it may be enlarged.
    """
    try:
        return _load(path, resolution, enlarge=enlarge)
    except UnusableError as reason:
        raise MachineError(f"{path} {reason}.") from None


def _load(path: Path, resolution: int, *, enlarge: bool = False, detail: Square | None = None) -> Image.Image:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about damaged notes of a picture, which are not read
            # Pillow only warns between once and twice its limit; for a stranger's file the limit is the limit.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with open_picture(path) as opened:
                _refuse_size(opened.size, 0 if enlarge else resolution)
                opened.load()
                rgb = _to_rgb(_upright(opened))
                if detail is not None:
                    left, top, side = detail
                    rgb = rgb.crop((left, top, left + side, top + side))
                    _refuse_size(rgb.size, 0 if enlarge else resolution)
                square = _square(rgb, resolution)
                square.info[FRAMES] = frame_count(opened)
                return square
    except UnusableError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise UnusableError(TOO_MANY_PIXELS) from None
    except FileNotFoundError:
        raise UnusableError("does not exist") from None
    except PermissionError:
        raise UnusableError("may not be read by this user") from None
    except UnidentifiedImageError:
        raise UnusableError(what_it_is(path)) from None
    except Exception as error:  # noqa: BLE001 - whatever a decoder has against a picture is that picture's problem
        raise UnusableError(f"is a truncated or broken image ({type(error).__name__})") from None


def pixel_sha256(image: Image.Image) -> str:
    """SHA-256 of width, height and the RGB bytes: equal for equal pictures, whatever file they came from."""
    rgb = image.convert("RGB")
    return hashlib.sha256(f"{rgb.width}x{rgb.height}|".encode() + rgb.tobytes()).hexdigest()


def _refuse_size(size: tuple[int, int], resolution: int) -> None:
    """Stops before any pixel is decoded."""
    if size[0] * size[1] > PIXEL_CAP:
        raise UnusableError(TOO_MANY_PIXELS)
    if min(size) < resolution:
        raise UnusableError(
            f"is {size[0]}x{size[1]} pixels, smaller than the resolution {resolution}: "
            "remove it or lower data.resolution"
        )


def _upright(image: Image.Image) -> Image.Image:
    """The picture turned as its EXIF orientation says."""
    from PIL import Image

    turn = Image.Transpose
    turns = {
        2: turn.FLIP_LEFT_RIGHT, 3: turn.ROTATE_180, 4: turn.FLIP_TOP_BOTTOM, 5: turn.TRANSPOSE, 6: turn.ROTATE_270,
        7: turn.TRANSVERSE, 8: turn.ROTATE_90,
    }  # fmt: skip
    tag = orientation(image)
    return image.transpose(turns[tag]) if tag in turns else image


def _to_rgb(image: Image.Image) -> Image.Image:
    """8-bit sRGB of any mode, on white."""
    from PIL import Image

    profile = image.info.get("icc_profile")
    image = _eight_bit(image)
    alpha = None
    if image.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        image = image.convert("RGB")
    elif image.mode in ("P", "1"):
        image = image.convert("RGB")
    rgb = _to_srgb(image, profile) if profile else image.convert("RGB")
    if alpha is None:
        return rgb
    return Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit grey as 8-bit grey, divided by 257 and rounded; Pillow would clip it to white instead."""
    import numpy as np
    from PIL import Image

    if image.mode == "F":
        raise UnusableError(NO_WHITE)
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:  # noqa: PLR2004  (the largest 16-bit value)
        raise UnusableError(NO_WHITE)
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """`image` in sRGB. A profile that is broken or made for another mode is ignored, as browsers do."""
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image.convert("RGB")
    return image.convert("RGB") if converted is None else converted


def _square(rgb: Image.Image, resolution: int) -> Image.Image:
    """The shorter side scaled to `resolution`, then the centre: one rule for tuning and for scoring."""
    from PIL import Image

    shorter = min(rgb.size)
    size = (round(rgb.width * resolution / shorter), round(rgb.height * resolution / shorter))
    scaled = rgb.resize(size, Image.Resampling.LANCZOS, reducing_gap=None)
    left, top = (size[0] - resolution) // 2, (size[1] - resolution) // 2
    return scaled.crop((left, top, left + resolution, top + resolution))
