"""PSNR and SSIM against golden values that come from outside fluxkit."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image

from fluxkit.engine.evaluate.psnr_ssim import flat_colour, score

# Integer-only pair: no photo, no random library. MSE, PSNR in dB, SSIM (Wang 2004), hash of the distorted image.
SYNTHETIC = {
    "checker": (63.04345703, 30.13440341, 0.87850557, "d1c6dd5bf3be"),
    "shift": (98.32942708, 28.20396852, 0.99090682, "7e051965b210"),
    "roll": (2587.88888889, 14.00134735, 0.79166204, "32e2f93082c7"),
    "posterise": (72.78125, 29.51060851, 0.94208267, "b8a6416f72a5"),
    "block": (653.95486111, 19.97532588, 0.81647771, "f4b039000e7f"),
    "invert": (28133.81944444, 3.63851665, -0.47075216, "ba05cb32df4d"),
    "flip": (21044.22222222, 4.89947482, -0.23180261, "7e108ac61080"),
    "noise": (137.06385634, 26.76157414, 0.79390858, "09d73722b869"),
}
PHOTOS = {  # photo, distortion -> PSNR in dB, SSIM
    ("astronaut.png", "checker"): (30.447979, 0.689860),
    ("astronaut.png", "shift"): (28.177486, 0.869851),
    ("astronaut.png", "roll"): (23.786488, 0.830523),
    ("astronaut.png", "posterise"): (29.858333, 0.886341),
    ("astronaut.png", "block"): (23.396225, 0.756296),
    ("astronaut.png", "noise"): (27.106265, 0.568751),
    ("coffee.png", "checker"): (30.226160, 0.707263),
    ("coffee.png", "shift"): (28.168141, 0.937407),
    ("coffee.png", "roll"): (24.439539, 0.756054),
    ("coffee.png", "posterise"): (29.458281, 0.828652),
    ("coffee.png", "block"): (24.728047, 0.704877),
    ("coffee.png", "noise"): (26.927003, 0.571851),
    ("chelsea.png", "checker"): (30.072962, 0.723703),
    ("chelsea.png", "roll"): (28.540083, 0.829461),
    ("chelsea.png", "noise"): (26.676239, 0.576052),
    ("chelsea.png", "invert"): (9.241944, -0.151576),
}


def synthetic() -> np.ndarray:
    y, x = np.mgrid[0:64, 0:96]
    planes = ((5 * x + 3 * y) % 256, ((x * x + y * y) // 16) % 256, ((x // 8 + y // 8) % 2) * 200 + 27)
    return np.stack(planes, axis=-1).astype(np.uint8)


def splitmix(count: int) -> np.ndarray:
    z = np.arange(count, dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def block_mean(wide: np.ndarray) -> np.ndarray:
    height, width = wide.shape[0] // 4 * 4, wide.shape[1] // 4 * 4
    tiles = wide[:height, :width].reshape(height // 4, 4, width // 4, 4, 3)
    means = (tiles.sum((1, 3), keepdims=True) + 8) // 16
    blocks = wide.copy()
    blocks[:height, :width] = np.broadcast_to(means, tiles.shape).reshape(height, width, 3)
    return blocks


def distort(image: np.ndarray, how: str) -> np.ndarray:
    wide = image.astype(np.int64)
    y, x = np.mgrid[0 : image.shape[0], 0 : image.shape[1]]
    signs = np.where((x + y) % 2 == 0, 8, -8)[..., None]
    changed = {
        "checker": lambda: wide + signs,
        "shift": lambda: wide + 10,
        "roll": lambda: np.roll(wide, 1, axis=1),
        "posterise": lambda: (wide >> 4) << 4,
        "block": lambda: block_mean(wide),
        "invert": lambda: 255 - wide,
        "flip": lambda: wide[:, ::-1],
        "noise": lambda: wide + (splitmix(wide.size) % np.uint64(41)).astype(np.int64).reshape(wide.shape) - 20,
    }[how]()
    return np.clip(changed, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("how", SYNTHETIC)
def test_synthetic_pairs_score_as_published(how: str) -> None:
    """Integer-made pairs give the golden MSE exactly, PSNR to 1e-8 dB and SSIM to 1e-7."""
    mse, psnr_db, ssim, digest = SYNTHETIC[how]
    image = synthetic()
    assert hashlib.sha256(image.tobytes()).hexdigest().startswith("d94650866240fad8")
    changed = distort(image, how)
    assert hashlib.sha256(changed.tobytes()).hexdigest().startswith(digest)
    result = score(changed, image)
    assert result.mse == pytest.approx(mse, abs=1e-8)
    assert result.psnr_db == pytest.approx(psnr_db, abs=1e-8)
    assert result.ssim == pytest.approx(ssim, abs=1e-7)


@pytest.mark.parametrize(("photo", "how"), PHOTOS)
def test_photos_score_as_published(photo: str, how: str) -> None:
    """Photographs in scikit-image's wheel give the golden PSNR and SSIM to six digits."""
    image = np.asarray(Image.open(Path(skimage.__file__).parent / "data" / photo).convert("RGB"))
    psnr_db, ssim = PHOTOS[photo, how]
    result = score(distort(image, how), image)
    assert result.psnr_db == pytest.approx(psnr_db, abs=2e-6)
    assert result.ssim == pytest.approx(ssim, abs=2e-6)


@pytest.mark.parametrize(("one", "other"), [(100, 110), (50, 60), (0, 1), (0, 255)])
def test_constant_images_follow_the_closed_form(one: int, other: int) -> None:
    """Two constants have PSNR 20 log10(255/|difference|) and SSIM (2ab + C1)/(a^2 + b^2 + C1)."""
    first, second = (np.full((32, 32, 3), value, dtype=np.uint8) for value in (one, other))
    stabiliser = (0.01 * 255) ** 2
    result = score(first, second)
    assert result.psnr_db == pytest.approx(20 * math.log10(255 / abs(one - other)))
    expected = (2 * one * other + stabiliser) / (one**2 + other**2 + stabiliser)
    assert result.ssim == pytest.approx(expected, rel=1e-9)


def test_identical_images_have_no_psnr_instead_of_infinity() -> None:
    """Identical images score None dB, mean squared error 0 and SSIM 1."""
    image = synthetic()
    assert score(image, image) == (0.0, None, 1.0)


def test_the_order_of_channels_and_of_the_two_images_does_not_matter() -> None:
    """The score is symmetric and the same for BGR."""
    image, changed = synthetic(), distort(synthetic(), "noise")
    assert score(image, changed) == pytest.approx(score(changed, image))
    assert score(changed[..., ::-1].copy(), image[..., ::-1].copy()) == pytest.approx(score(changed, image))


def test_wrong_arrays_are_refused_instead_of_scored() -> None:
    """Floats, other shapes, channels first and images under 11 pixels raise."""
    image = synthetic()
    for bad in (image.astype(np.float32), image[:32], image.transpose(2, 0, 1), image[..., 0]):
        with pytest.raises(ValueError, match="images"):
            score(bad, image)
    small = image[:10, :10]
    with pytest.raises(ValueError, match="11"):
        score(small, small)


def test_the_flat_colour_is_the_mean_of_each_channel() -> None:
    """The anchor image has one colour: the reference's rounded mean."""
    flat = flat_colour(synthetic())
    assert len(np.unique(flat.reshape(-1, 3), axis=0)) == 1
    assert flat[0, 0].tolist() == synthetic().reshape(-1, 3).mean(0).round().tolist()
