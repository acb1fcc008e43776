"""PSNR and SSIM of image pairs, by scikit-image, on what people see: uint8 RGB.

Source: Wang et al. 2004 for SSIM: Gaussian window of 11 pixels, sigma 1.5, population covariance, K1 = 0.01,
K2 = 0.03, mean over the region where the window fits, then over the three channels. `win_size` is never passed:
it would change only the crop (scikit-image issue 7231).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fluxkit.spec.workload import MIN_SSIM_SIDE

RGB = 3
DATA_RANGE = 255


class Score(NamedTuple):
    """How near one image is to another."""

    mse: float | None
    """Mean squared error of the uint8 values, over all pixels and channels."""
    psnr_db: float | None
    """None for identical images, whose ratio has no finite value."""
    ssim: float | None
    """At most 1; below 0 for inverted structure."""


DIVERGED = Score(None, None, None)
"""Of an image that is not made of finite numbers."""


def score(image_HWC: NDArray[np.uint8], reference_HWC: NDArray[np.uint8]) -> Score:
    """The score of `image_HWC` against `reference_HWC`, both uint8 RGB (H, W, 3) with sides of at least 11.

    Raises:
        ValueError: dtype, shape or size is another, which would silently change the numbers.
    """
    from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

    for array in (image_HWC, reference_HWC):
        if array.dtype != np.uint8 or array.ndim != RGB or array.shape[-1] != RGB:
            raise ValueError(f"images are uint8 (H, W, 3), not {array.dtype} {array.shape}")
    if image_HWC.shape != reference_HWC.shape:
        raise ValueError(f"images of different shape: {image_HWC.shape} and {reference_HWC.shape}")
    if min(image_HWC.shape[:2]) < MIN_SSIM_SIDE:
        raise ValueError(f"SSIM needs sides of at least {MIN_SSIM_SIDE} pixels, not {image_HWC.shape[:2]}")
    mse = float(mean_squared_error(reference_HWC, image_HWC))
    settings: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    ssim = structural_similarity(reference_HWC, image_HWC, data_range=DATA_RANGE, channel_axis=-1, **settings)
    psnr = None if mse == 0 else float(peak_signal_noise_ratio(reference_HWC, image_HWC, data_range=DATA_RANGE))
    return Score(mse, psnr, float(ssim))


def flat_colour(reference_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The reference's own mean colour everywhere: the score that knowing nothing but the colour would give."""
    mean = reference_HWC.reshape(-1, RGB).mean(0).round().astype(np.uint8)
    return np.broadcast_to(mean, reference_HWC.shape).copy()
