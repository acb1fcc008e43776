"""`python -m fluxkit.engine.evaluate.golden_scores`: the metrics on one made pair, beside their true values. No torch.

The pair is made of integers alone, so that no image library and no random numbers can change it.
"""

import json
import sys

import numpy as np

from fluxkit.engine.evaluate.psnr_ssim import score

# Computed once outside of fluxkit, with scikit-image and with a plain implementation of Wang et al. 2004.
PSNR_DB, SSIM = 29.51060851, 0.94208267


def main() -> None:
    """Writes the measured and the true values as JSON."""
    y, x = np.mgrid[0:64, 0:96]
    planes = ((5 * x + 3 * y) % 256, ((x * x + y * y) // 16) % 256, ((x // 8 + y // 8) % 2) * 200 + 27)
    image = np.stack(planes, axis=-1).astype(np.uint8)
    posterised = image & np.uint8(0xF0)
    result = score(posterised, image)
    values = {"psnr_db": result.psnr_db, "ssim": result.ssim, "wanted_psnr_db": PSNR_DB, "wanted_ssim": SSIM}
    sys.stdout.write(json.dumps(values) + "\n")


if __name__ == "__main__":
    main()
