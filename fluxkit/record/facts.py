"""What an event tells and a result keeps, one model for both: `events` adds the event's name and time.

The field texts of these models are the result's published schema, so what only explains an event stands in comments.
"""

import math
import re
from typing import Annotated, Literal

from pydantic import Field

from fluxkit.values import Amount, Frozen, Number, Share, Whole

Similarity = Annotated[float, Field(ge=-1.001, le=1.001)]
"""SSIM, with room for rounding at its ends."""
ExitStatus = Annotated[int, Field(ge=-255, le=255)]
TimedPhase = Literal["tune", "inference"]
When = Literal["before", "after"]
TIMED_WORDS: dict[TimedPhase, str] = {"tune": "tuning", "inference": "inference"}
"""What a timed phase is called in a sentence."""


# Source: the messages of torch's CPU and CUDA allocators, of the C++ library, of cuBLAS, cuDNN, oneDNN and NCCL.
OUT_OF_MEMORY = re.compile(
    r"can(?:'|no)t allocate memory|out of memory|not enough memory|std::bad_alloc"
    r"|CUBLAS_STATUS_(?:ALLOC_FAILED|NOT_INITIALIZED)|CUDNN_STATUS\w*_ALLOC(?:ATION)?_FAILED|could not create a memory",
    re.IGNORECASE,
)
"""What an error says when memory ran out."""


def _finite(*values: float | None) -> bool:
    for value in values:  # noqa: SIM110 - all() of a generator takes three times as long, and scores are thousands
        if value is None or not math.isfinite(value):
            return False
    return True


class RankStart(Frozen):
    """What one process sees at its start."""

    rank: Whole
    # The device that the tensors really lie on, as torch names it.
    device_name: str
    device_uuid: str | None
    threads: Whole
    # Precision switches of the backends, read back after they were set.
    precision: dict[str, str]
    # Versions seen by this process, and what torch was built for.
    versions: dict[str, str]
    environment: dict[str, str] | None = None
    """Variables that reached this process and may change speed or rounding; null in results that were made without."""


class InputPair(Frozen):
    """One captioned image."""

    id: str
    caption: str
    split: Literal["tuning", "regularization", "held_out"]
    """Tuned on and scored; only tuned on; only scored."""
    cluster: str
    """Pairs of one cluster (crops of one photo) are not independent."""
    pixels_sha256: str
    """Hash of the resized reference pixels."""
    image: str | None = None
    """Path of the reference image inside the run folder."""


class RunInputs(Frozen):
    """What was tuned and on what."""

    # Over all weight files of the pipeline, or over the recipe of the random initialisation.
    weights_sha256: str
    # Over ids, captions, splits and reference pixels.
    dataset_sha256: str
    pairs: tuple[InputPair, ...]
    skipped: tuple[str, ...] = ()
    """Files of the folder that were left out, each with its reason."""
    # Of the transformer, counted on the real model.
    parameters: Whole
    trainable_parameters: Whole


class HostTime(Frozen):
    """How long a GPU's host needs to issue a pass, against how long the device takes until the pass is done."""

    issue_seconds: Amount
    """By the host's clock, before it waits for the device. An upper bound: where the device is far behind, the host
    waits for room in the driver's queue."""
    device_seconds: Amount
    """From the first of the pass until the device has done all of it, with the time in which it waits for the host."""


class Mark(Frozen):
    """A graded state of the trajectory."""

    # `untuned`, `seconds-30`, `iterations-200`.
    id: str
    # The tuning time that this mark stands for, if it is one of time.
    target_seconds: Amount | None
    # The budget's clock at the last step completed.
    seconds: Amount
    # Optimiser steps completed.
    iteration: Whole
    # Samples seen.
    samples: Whole


class ReconstructionScore(Frozen):
    """A sample for a tuned pair's caption against its real image."""

    mark: str
    pair: str
    seed: Whole
    # Mean squared error of uint8 values; null, as all scores, where the image was not of finite numbers.
    mse: Amount | None
    # Null for identical images.
    psnr_db: Number | None
    ssim: Similarity | None
    # Path of the sample inside the run folder, where it was kept.
    image: str | None = None

    @property
    def diverged(self) -> bool:
        """Whether the image was not made of finite numbers. An identical one has no PSNR either, but no error."""
        return not _finite(self.mse, self.ssim) or not (self.mse == 0 or _finite(self.psnr_db))


class ValidationScore(Frozen):
    """A held-out image noised to sigma, and the one-step estimate of it."""

    mark: str
    pair: str
    # The noise is fixed by sigma and the number of the draw.
    sigma: Share
    draw: Whole
    # Velocity loss in latent space; null where it was not finite.
    loss: Amount | None
    psnr_db: Number | None
    # Null where the estimate was not of finite numbers.
    ssim: Similarity | None

    @property
    def diverged(self) -> bool:
        """Whether the loss, or the picture of the one-step estimate, was not finite."""
        return not _finite(self.loss, self.ssim)


class AnchorScore(Frozen):
    """A score that needs no tuning."""

    # To read the others by: `autoencoder_reconstruction` or `flat_colour`.
    anchor: str
    pair: str
    mse: Amount
    psnr_db: Number | None
    ssim: Similarity
    image: str | None = None


class RunFailure(Frozen):
    """Where and why a run ended early."""

    phase: str | None
    # Class of the error, or what was seen of a death.
    kind: str
    message: str
    exit_code: ExitStatus | None = None
    """Of the engine process; negative: ended by that signal."""
