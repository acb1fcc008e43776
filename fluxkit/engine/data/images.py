"""Pictures as tensors and back. B batch, C = 3 colours, H = W = resolution."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from fluxkit.errors import RunError


def to_tensor(images: Sequence[Image.Image]) -> Tensor:
    """RGB images of one size as an FP32 tensor (B, C, H, W) in [-1, 1]."""
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
