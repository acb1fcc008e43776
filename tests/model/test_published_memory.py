"""The memory formula for inference against peaks that were measured on schnell's whole architecture."""

from __future__ import annotations

import pytest
from made_up import SCHNELL

from fluxkit.model.memory_formula import ForwardPass, inference_peak_bytes

WEIGHTS = SCHNELL.parameters


@pytest.mark.parametrize(
    ("resolution", "precision", "giga"),
    [
        (256, "float32", 25.3),
        (512, "float32", 61.6),
        (1024, "float32", 206.7),
        (256, "bfloat16", 14.2),
        (512, "bfloat16", 34.8),
        (1024, "bfloat16", 117.0),
    ],
)
def test_activations_of_batch_256(resolution, precision, giga):
    """Activations of 256 images agree within 5 % with those measured by tracking storages on the meta device."""
    work = ForwardPass((resolution // 16) ** 2, 256, batch=256)
    activations = inference_peak_bytes(SCHNELL, work, precision=precision) - WEIGHTS * (
        4 if precision == "float32" else 2
    )
    assert activations / 1e9 == pytest.approx(giga, rel=0.05)
