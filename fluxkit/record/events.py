"""What an engine process says while it runs: one JSON object a line, one file per rank, one writer each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from fluxkit.record.agreement_facts import AgreementFacts
from fluxkit.record.facts import Canary
from fluxkit.values import FROZEN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


Phase = Literal["import", "prepare", "load", "warm_up", "tune", "inference", "evaluate"]


class Started(BaseModel):
    """First word of a rank: what it sees at run time."""

    model_config = FROZEN
    event: Literal["started"] = "started"
    at_seconds: float
    """Seconds since this rank's process began, monotonic; every event carries it."""
    rank: int
    device_name: str
    """The device the tensors really lie on, as torch names it."""
    device_uuid: str | None = None
    threads: int
    precision: dict[str, str]
    """Precision switches of the backends, read back after they were set."""
    versions: dict[str, str]
    """Versions seen by this process, and what torch was built for."""


class InputPair(BaseModel):
    """One captioned image."""

    model_config = FROZEN
    id: str
    caption: str
    split: Literal["tuning", "held_out"]
    cluster: str
    """Pairs of one cluster (crops of one photo) are not independent."""
    pixels_sha256: str
    """Hash of the resized reference pixels."""
    image: str | None = None
    """Path of the reference image inside the run folder."""


class Inputs(BaseModel):
    """What was tuned and on what."""

    model_config = FROZEN
    event: Literal["inputs"] = "inputs"
    at_seconds: float
    weights_sha256: str
    """Hash over all weight files of the pipeline, or of the random initialisation's recipe."""
    dataset_sha256: str
    """Hash over ids, captions, splits and reference pixels."""
    pairs: tuple[InputPair, ...]
    skipped: tuple[str, ...] = ()
    """Files of the folder that were left out, each with its reason."""
    parameters: int
    """Transformer parameters, counted on the real model."""
    trainable_parameters: int


class PhaseStarted(BaseModel):
    """A phase began."""

    model_config = FROZEN
    event: Literal["phase_started"] = "phase_started"
    at_seconds: float
    phase: Phase


class PhaseEnded(BaseModel):
    """A phase ended."""

    model_config = FROZEN
    event: Literal["phase_ended"] = "phase_ended"
    at_seconds: float
    phase: Phase
    seconds: float


class Iterations(BaseModel):
    """A block of consecutive optimiser steps, at most about a second long; raw values."""

    model_config = FROZEN
    event: Literal["iterations"] = "iterations"
    at_seconds: float
    first: int
    """Index of the block's first step, from 0."""
    seconds: tuple[float, ...]
    """Duration of each step on the budget's clock."""
    losses: tuple[float | None, ...]
    """Mean loss over the global batch of each step; null where it was not finite."""
    total_seconds: float
    """The budget's clock after the block."""


class MarkReached(BaseModel):
    """A state of the trajectory that will be graded."""

    model_config = FROZEN
    event: Literal["mark"] = "mark"
    at_seconds: float
    id: str
    """`untuned`, `seconds-30`, `iterations-200`."""
    target_seconds: float | None = None
    """The tuning time that this mark stands for, if it is one of time."""
    seconds: float
    """The budget's clock at the last step completed."""
    iteration: int
    """Optimiser steps completed."""
    samples: int
    """Samples seen."""


class Agreement(AgreementFacts):
    """A fixed tiny FLUX in one precision on this rank's device, against a stored float64 reference."""

    event: Literal["agreement"] = "agreement"
    at_seconds: float


class Resumed(BaseModel):
    """Tuning continued from a checkpoint: steps after `iteration` are done again."""

    model_config = FROZEN
    event: Literal["resumed"] = "resumed"
    at_seconds: float
    iteration: int
    seconds: float
    """The budget's clock at the checkpoint."""


class Reconstruction(BaseModel):
    """A sample for the caption of a tuned pair against its real image."""

    model_config = FROZEN
    event: Literal["reconstruction"] = "reconstruction"
    at_seconds: float
    mark: str
    pair: str
    seed: int
    mse: float
    """Mean squared error of uint8 values."""
    psnr_db: float | None
    """Null for identical images."""
    ssim: float
    image: str | None = None
    """Path of the sample inside the run folder, where it was kept."""


class Validation(BaseModel):
    """A held-out image noised to a fixed sigma with fixed noise, and the model's one-step estimate of it."""

    model_config = FROZEN
    event: Literal["validation"] = "validation"
    at_seconds: float
    mark: str
    pair: str
    sigma: float
    draw: int
    loss: float | None
    """Velocity loss in latent space; null where it was not finite."""
    psnr_db: float | None
    ssim: float


class Anchor(BaseModel):
    """A score that needs no tuning, to read the others by."""

    model_config = FROZEN
    event: Literal["anchor"] = "anchor"
    at_seconds: float
    anchor: Literal["autoencoder_reconstruction", "flat_colour"]
    pair: str
    mse: float
    psnr_db: float | None
    ssim: float
    image: str | None = None


class TuningSetting(BaseModel):
    """How tuning runs on this rank, seen while it warmed up."""

    model_config = FROZEN
    event: Literal["tuning_setting"] = "tuning_setting"
    at_seconds: float
    attention: str
    """torch's attention operators that ran, without their common beginning `_scaled_dot_product_`."""
    compile_seconds: float | None = None
    """What compiling took, inside the warm-up; null where nothing was compiled."""


class InferenceSetting(BaseModel):
    """How the inference speed is measured, before its first timed step."""

    model_config = FROZEN
    event: Literal["inference_setting"] = "inference_setting"
    at_seconds: float
    micro_batch_size: int
    precision: dict[str, str]
    """Dtype and backend switches, read back."""
    attention: str
    """torch's attention operators that ran, without their common beginning `_scaled_dot_product_`."""
    warm_up_seconds: float
    compile_seconds: float | None = None
    """What compiling took, inside the warm-up; null where nothing was compiled."""


class InferenceSteps(BaseModel):
    """Durations of denoising steps of one micro-batch each, in order."""

    model_config = FROZEN
    event: Literal["inference_steps"] = "inference_steps"
    at_seconds: float
    seconds: tuple[float, ...]


class Memory(BaseModel):
    """Peak memory of one phase of one rank, each kind named."""

    model_config = FROZEN
    event: Literal["memory"] = "memory"
    at_seconds: float
    phase: Phase
    peak_bytes: dict[str, int]
    """For example `resident`, `cuda_allocated`, `cuda_reserved`."""


class CheckpointWritten(BaseModel):
    """All tuning state is on disk."""

    model_config = FROZEN
    event: Literal["checkpoint"] = "checkpoint"
    at_seconds: float
    iteration: int
    seconds: float
    """What writing it took."""


class Progress(BaseModel):
    """Nothing but a sign of life with a position, for phases without facts of their own."""

    model_config = FROZEN
    event: Literal["progress"] = "progress"
    at_seconds: float
    done: int
    total: int
    what: str


class Failed(BaseModel):
    """The engine's own last words."""

    model_config = FROZEN
    event: Literal["failed"] = "failed"
    at_seconds: float
    phase: Phase | None
    kind: str
    """Class of the error."""
    message: str
    exit_code: int
    unix_seconds: float | None = None
    """The machine's clock: of several ranks the first to fail is the cause, and each counts from its own start."""


class Finished(BaseModel):
    """The rank did all it was asked, or stopped at a checkpoint because it was told to."""

    model_config = FROZEN
    event: Literal["finished"] = "finished"
    at_seconds: float
    outcome: Literal["completed", "checkpointed"]


Event = (
    Started | Inputs | PhaseStarted | PhaseEnded | Iterations | MarkReached | Resumed | Reconstruction | Validation
    | Anchor | Agreement | TuningSetting | InferenceSetting | InferenceSteps | Memory | CheckpointWritten
    | Progress | Canary | Failed | Finished
)  # fmt: skip


_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def event_path(folder: Path, rank: int, attempt: int) -> Path:
    """Events file of one rank in one attempt (0, 1 after the first resume, ...) at a run."""
    return folder / "events" / f"rank-{rank}.attempt-{attempt}.jsonl"


def read_events(path: Path) -> Iterator[Event]:
    """The whole events of a file, in order; a line cut short by a sudden death ends them."""
    if not path.is_file():
        return
    with path.open("rb") as lines:
        for line in lines:
            if not line.endswith(b"\n"):
                return
            yield parse_event(line)


def parse_event(line: bytes) -> Event:
    """One line as an event.

    Raises:
        ValueError: the line is not an event of this version.
    """
    try:
        return _ADAPTER.validate_json(line)
    except ValidationError as error:
        raise ValueError(f"not an event of this version of fluxkit: {line[:120]!r}") from error
