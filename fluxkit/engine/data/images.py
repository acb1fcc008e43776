"""Image files as square 8-bit sRGB pictures, and pictures as tensors: the one deterministic loader.

Light: Pillow and numpy; torch only inside the two conversions. B batch, C = 3 colours, H = W = resolution.
"""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from fluxkit.errors import MachineError, RunError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt
    from torch import Tensor

PIXEL_CAP = 89_478_485
"""Most pixels a file may hold: Pillow's own guard against decompression bombs (0.25 GiB of 24-bit pixels)."""

# What Pillow's decoders raise on files that are cut off, corrupted or made to harm.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, KeyError, OverflowError)


def load_image(path: Path, resolution: int, *, enlarge: bool = False) -> Image.Image:
    """The file as `resolution` x `resolution` 8-bit sRGB, the same pixels wherever and however often it is called.

    Turned upright by its EXIF orientation, brought to sRGB by its embedded profile, laid on white where it is
    transparent, the shorter side scaled to `resolution` pixels (Lanczos), then the centre cropped.

    Raises:
        MachineError: the file is missing, broken, no image, over `PIXEL_CAP`, or smaller than `resolution`, unless
            it may be enlarged.
    """
    try:
        with warnings.catch_warnings():
            # Pillow only warns between once and twice its limit; for a stranger's file the limit is the limit.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                _refuse_size(path, opened.size, 0 if enlarge else resolution)
                opened.load()
                upright = ImageOps.exif_transpose(opened)
                return _square(_to_rgb(upright), resolution)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise MachineError(f"{path} has more than {PIXEL_CAP} pixels: scale it down first.") from None
    except FileNotFoundError:
        raise MachineError(f"{path} does not exist.") from None
    except PermissionError:
        raise MachineError(f"{path} may not be read by this user.") from None
    except UnidentifiedImageError:
        raise MachineError(f"{path} is not an image in a format that Pillow reads.") from None
    except _BROKEN as error:
        raise MachineError(f"{path} is a truncated or broken image ({type(error).__name__}).") from None


def pixel_sha256(image: Image.Image) -> str:
    """SHA-256 of width, height and the RGB bytes: equal for equal pictures, whatever file they came from."""
    rgb = image.convert("RGB")
    return hashlib.sha256(f"{rgb.width}x{rgb.height}|".encode() + rgb.tobytes()).hexdigest()


def to_tensor(images: Sequence[Image.Image]) -> Tensor:
    """RGB images of one size as an FP32 tensor (B, C, H, W) in [-1, 1]."""
    import torch

    pixels_BHWC = np.stack([np.asarray(image.convert("RGB")) for image in images])
    return torch.from_numpy(pixels_BHWC).permute(0, 3, 1, 2).float().div(127.5).sub(1.0).contiguous()


def to_uint8(images_BCHW: Tensor) -> npt.NDArray[np.uint8]:
    """Images in [-1, 1] as uint8 (B, H, W, C): clamped and rounded to nearest, as diffusers writes them.

    Raises:
        RunError: a value is not finite, so there is no picture to score.
    """
    values = images_BCHW.detach().float().cpu()
    if not bool(values.isfinite().all()):
        raise RunError("The model gave values that are not finite: lower the learning rate or use float32.")
    scaled_BHWC = values.div(2).add(0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy() * 255
    return np.asarray(scaled_BHWC.round().astype(np.uint8))


def _refuse_size(path: Path, size: tuple[int, int], resolution: int) -> None:
    """Stops before any pixel is decoded."""
    if size[0] * size[1] > PIXEL_CAP:
        raise MachineError(f"{path} has more than {PIXEL_CAP} pixels: scale it down first.")
    if min(size) < resolution:
        raise MachineError(
            f"{path} is {size[0]}x{size[1]} pixels, smaller than the resolution {resolution}: "
            "remove it or lower data.resolution."
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    """8-bit sRGB of any mode, on white."""
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
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed white")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:  # noqa: PLR2004  (the largest 16-bit value)
        raise ValueError("32-bit pixels have no agreed white")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """`image` in sRGB. A profile that is broken or made for another mode is ignored, as browsers do."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image.convert("RGB")
    return image.convert("RGB") if converted is None else converted


def _square(rgb: Image.Image, resolution: int) -> Image.Image:
    """The shorter side scaled to `resolution`, then the centre: one rule for tuning and for scoring."""
    shorter = min(rgb.size)
    size = (round(rgb.width * resolution / shorter), round(rgb.height * resolution / shorter))
    scaled = rgb.resize(size, Image.Resampling.LANCZOS, reducing_gap=None)
    left, top = (size[0] - resolution) // 2, (size[1] - resolution) // 2
    return scaled.crop((left, top, left + resolution, top + resolution))
