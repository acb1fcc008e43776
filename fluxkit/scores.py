"""Scores of image pairs, raw, and the definition they follow."""

from __future__ import annotations

from pydantic import BaseModel

from fluxkit.frozen import FROZEN


class ReconstructionScore(BaseModel):
    """A sample for a tuned pair's caption against its real image."""

    model_config = FROZEN
    mark: str
    pair: str
    seed: int
    mse: float
    psnr_db: float | None
    ssim: float
    image: str | None = None


class ValidationScore(BaseModel):
    """A held-out image noised to sigma, and the one-step estimate of it."""

    model_config = FROZEN
    mark: str
    pair: str
    sigma: float
    draw: int
    loss: float | None
    psnr_db: float | None
    ssim: float


class AnchorScore(BaseModel):
    """A score that needs no tuning."""

    model_config = FROZEN
    anchor: str
    pair: str
    mse: float
    psnr_db: float | None
    ssim: float
    image: str | None = None


class Quality(BaseModel):
    """Scores of every graded mark, raw, with the definition they follow."""

    model_config = FROZEN
    definition: dict[str, str | int | float | bool]
    reconstruction: tuple[ReconstructionScore, ...]
    validation: tuple[ValidationScore, ...]
    anchors: tuple[AnchorScore, ...]
