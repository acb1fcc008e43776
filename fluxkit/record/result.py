"""`RunResult`, the record of one run. Raw values are stored in full; `summary` is derived from them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from fluxkit.machine.provenance import Kit
from fluxkit.machine.system import System
from fluxkit.plan.plan import Plan
from fluxkit.record.agreement_facts import AgreementFacts
from fluxkit.record.events import InputPair
from fluxkit.record.facts import Attempt, CanaryRate, Energy, PredictedOverMeasured, Telemetry
from fluxkit.spec.run_spec import RunSpec
from fluxkit.values import FROZEN


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


RESULT_SCHEMA = "fluxkit.result/1"
Status = Literal["started", "completed", "failed", "interrupted"]
Grade = Literal["A", "B", "C", "X"]


class Looks(BaseModel):
    """The machine before and after the run."""

    model_config = FROZEN
    before: System
    after: System | None = None


class RunInputs(BaseModel):
    """What was tuned and on what."""

    model_config = FROZEN
    weights_sha256: str
    dataset_sha256: str
    pairs: tuple[InputPair, ...]
    skipped: tuple[str, ...] = ()
    """Files of the folder that were left out, each with its reason."""
    parameters: int
    trainable_parameters: int


class PhaseSeconds(BaseModel):
    """How long one phase took on rank 0; null if it did not end."""

    model_config = FROZEN
    name: str
    attempt: int
    seconds: float | None


class Mark(BaseModel):
    """A graded state of the trajectory."""

    model_config = FROZEN
    id: str
    target_seconds: float | None
    seconds: float
    iteration: int
    samples: int


class Rank(BaseModel):
    """One process: the device it saw, its tuning seconds, its peak memory by phase and kind."""

    model_config = FROZEN
    rank: int
    device_name: str
    device_uuid: str | None
    threads: int
    precision: dict[str, str]
    versions: dict[str, str]
    seconds: float | None
    """This rank's own budget clock at the end of tuning."""
    peak_memory_bytes: dict[str, dict[str, int]]


class Interruption(BaseModel):
    """Tuning stopped and was continued from a checkpoint."""

    model_config = FROZEN
    at_seconds: float
    """The budget's clock when it stopped."""
    resumed_seconds: float
    """The budget's clock of the checkpoint it continued from."""


class Tuning(BaseModel):
    """One trajectory, raw: both protocols read from it."""

    model_config = FROZEN
    iteration_seconds: tuple[float, ...]
    losses: tuple[float | None, ...]
    """Mean over the global batch of each step; null where it was not finite, which JSON can't say."""
    samples_per_iteration: int
    coverage: float
    """Share of the iteration budget that was done."""
    marks: tuple[Mark, ...]
    ranks: tuple[Rank, ...]
    attention: str | None = None
    """torch's attention operators that ran on rank 0; null in results that were made without."""
    compile_seconds: float | None = None
    """Compiling on the slowest rank, inside the warm-up and off the budget; null where nothing was compiled."""
    checkpoint_seconds: float | None = None
    """Writing checkpoints on rank 0, inside the tuning phases that ended and off the budget; null in results that were
    made without."""


class AgreementProbe(AgreementFacts):
    """How far one rank's device lies from a stored float64 reference in one precision, on a fixed tiny FLUX."""

    rank: int


class Inference(BaseModel):
    """Denoising speed on latents, raw: seconds of each micro-batch step of the slowest rank."""

    model_config = FROZEN
    batch_size: int
    micro_batch_size: int
    processes: int
    precision: dict[str, str]
    attention: str
    warm_up_seconds: float
    compile_seconds: float | None = None
    """Of them, compiling; null where nothing was compiled."""
    step_seconds: tuple[float, ...]
    """One forward pass of one micro-batch (on each process) and the scheduler's step."""
    coverage: float
    """Share of one whole batch's steps that was timed, at most 1."""


class Check(BaseModel):
    """A finding about a number: A sound, B with a remark, C with a doubt, X not to be used."""

    model_config = FROZEN
    id: str
    subject: str
    """What it is about: `training_speed`, `inference_speed`, `quality`, `energy` or `run`."""
    grade: Grade
    evidence: str
    """What was seen, in a sentence."""


class Artifact(BaseModel):
    """A file of the run folder."""

    model_config = FROZEN
    path: str
    sha256: str
    bytes: int
    left_out: bool = False
    """Whether it was not copied into this folder, on purpose."""


class RunFailure(BaseModel):
    """Where and why a run ended early."""

    model_config = FROZEN
    phase: str | None
    kind: str
    message: str
    exit_code: int | None = None
    """Of the engine process; negative: ended by that signal."""


class Summary(BaseModel):
    """Derived from the raw values by `fluxkit.fold.summarise` alone; null where there is nothing to derive from."""

    model_config = FROZEN
    training_iterations_per_second: float | None = None
    training_images_per_second: float | None = None
    inference_image_steps_per_second: float | None = None
    inference_batch_steps_per_second: float | None = None
    psnr_db: float | None = None
    """Reconstruction at the constant-time mark: mean of per-image dB."""
    ssim: float | None = None
    psnr_db_untuned: float | None = None
    ssim_untuned: float | None = None
    psnr_db_at_iterations: float | None = None
    """Reconstruction at the constant-iteration mark."""
    ssim_at_iterations: float | None = None
    validation_loss: float | None = None
    validation_loss_untuned: float | None = None
    validation_psnr_db: float | None = None
    validation_ssim: float | None = None
    peak_memory_bytes: int | None = None
    """Largest of the phases, summed over ranks: resident on a CPU, reserved on a GPU."""
    tuning_seconds: float | None = None
    total_seconds: float | None = None
    """Sum of all phases on rank 0."""
    training_flops_share: float | None = None
    """Achieved FLOP/s of tuning / this machine's own rate of matrix products in the same precision, by its canary."""
    inference_flops_share: float | None = None
    """The same of the inference speed."""
    energy_joules: float | None = None
    """Gross energy of the devices that did the work, over the whole run."""


class RunResult(BaseModel):
    """One run: what was asked, planned and seen, what came out, and whether it may be believed."""

    model_config = FROZEN
    schema_: Literal["fluxkit.result/1"] = Field(alias="schema")
    id: str
    status: Status
    study: str
    repeat: int
    order: int
    """Place of this run in the study's seeded random order."""
    seed: int
    """Used for everything random in tuning: the spec's seed plus the repeat."""
    created: str
    """UTC, ISO 8601, ends in Z."""
    kit: Kit
    spec: RunSpec
    """As resolved; a path is stored as its last part."""
    workload_sha256: str
    configuration_sha256: str
    """Workload, execution, hardware fingerprint and package versions: a row of a comparison."""
    plan: Plan
    predicted_over_measured: PredictedOverMeasured = PredictedOverMeasured()
    system: Looks
    inputs: RunInputs | None = None
    phases: tuple[PhaseSeconds, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    """Every start of the engine: a run that ran out of memory was begun again with half the micro-batch."""
    interruptions: tuple[Interruption, ...] = ()
    tuning: Tuning | None = None
    quality: Quality | None = None
    inference: Inference | None = None
    agreement: tuple[AgreementProbe, ...] | None = None
    """One certificate for each rank and each precision it ran in; null in results that were made without."""
    canary: tuple[CanaryRate, ...] = ()
    telemetry: tuple[Telemetry, ...] = ()
    """One for each attempt."""
    energy: Energy | None = None
    checks: tuple[Check, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    error: RunFailure | None = None
    summary: Summary = Summary()
