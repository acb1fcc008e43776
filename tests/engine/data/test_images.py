"""Pictures as tensors and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from fluxkit.engine.data.images import to_tensor, to_uint8
from fluxkit.errors import RunError


def test_pictures_survive_the_way_to_a_tensor_and_back() -> None:
    """Every 8-bit value comes back as itself, and values outside the range are clamped, never wrapped."""
    ramp = Image.fromarray(np.arange(768, dtype=np.uint32).reshape(16, 16, 3).astype(np.uint8))
    tensor = to_tensor([ramp])
    assert tensor.shape == (1, 3, 16, 16)
    assert tensor.dtype == torch.float32
    assert (tensor.min().item(), tensor.max().item()) == (-1.0, 1.0)
    assert (to_uint8(tensor)[0] == np.asarray(ramp)).all()
    assert to_uint8(torch.tensor([-9.0, 9.0, 0.0]).view(1, 3, 1, 1)).ravel().tolist() == [0, 255, 128]


def test_values_that_are_not_finite_are_no_picture() -> None:
    """A diverged model is an error, not a black picture with a score."""
    with pytest.raises(RunError, match="not finite"):
        to_uint8(torch.full((1, 3, 2, 2), float("nan")))
