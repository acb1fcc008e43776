"""`RunResult`, the record of one run. Raw values are stored in full; `summary` is derived from them."""

from typing import Literal

from pydantic import ConfigDict, Field

from fluxkit.machine.provenance import Kit
from fluxkit.machine.system import System
from fluxkit.plan.plan import Plan
from fluxkit.record import facts
from fluxkit.record.agreement_facts import AgreementFacts
from fluxkit.spec.execution import InferencePrecision
from fluxkit.spec.run_spec import RunSpec
from fluxkit.values import Amount, Frozen, Number, Rate, Share, Whole

RESULT_SCHEMA = "fluxkit.result/1"
FinalStatus = Literal["completed", "failed", "interrupted"]
Status = Literal["started", "completed", "failed", "interrupted"]
Grade = Literal["A", "B", "C", "X"]
EnergyClass = Literal["measured", "estimated", "unavailable"]


class Looks(Frozen):
    """The machine before and after the run."""

    before: System
    after: System | None = None


class PhaseSeconds(Frozen):
    """How long one phase took on rank 0; null if it did not end."""

    name: str
    attempt: Whole
    seconds: Amount | None


class Rank(facts.RankStart):
    """One process: the device it saw, its tuning seconds, its peak memory by phase and kind."""

    seconds: Amount | None
    """This rank's own budget clock at the end of tuning."""
    peak_memory_bytes: dict[str, dict[str, Whole]]


class Interruption(Frozen):
    """Tuning stopped and was continued from a checkpoint."""

    at_seconds: Amount
    """The budget's clock when it stopped."""
    resumed_seconds: Amount
    """The budget's clock of the checkpoint it continued from."""


class Tuning(Frozen):
    """One trajectory, raw: both protocols read from it."""

    iteration_seconds: tuple[Amount, ...]
    losses: tuple[Amount | None, ...]
    """Mean over the global batch of each step; null where it was not finite, which JSON can't say."""
    samples_per_iteration: Whole
    coverage: Share
    """Share of the iteration budget that was done."""
    marks: tuple[facts.Mark, ...]
    ranks: tuple[Rank, ...]
    attention: str | None = None
    """torch's attention operators that ran on rank 0; null in results that were made without."""
    compile_seconds: Amount | None = None
    """Compiling on the slowest rank, inside the warm-up and off the budget; null where nothing was compiled."""
    checkpoint_seconds: Amount | None = None
    """Writing checkpoints on rank 0, inside the tuning phases that ended and off the budget; null in results that were
    made without."""
    host: facts.HostTime | None = None
    """Medians over the gradients of one micro-batch, on the rank whose device waited most for its host; null on a CPU
    and in results that were made without."""


class Quality(Frozen):
    """Scores at every evaluation point, raw, with the definition they follow."""

    definition: dict[str, str | Whole | Number | bool]
    reconstruction: tuple[facts.ReconstructionScore, ...]
    validation: tuple[facts.ValidationScore, ...]
    anchors: tuple[facts.AnchorScore, ...]


class AgreementProbe(AgreementFacts):
    """How far one rank's device lies from a stored float64 reference in one precision, on a fixed tiny FLUX."""

    rank: Whole


class Inference(Frozen):
    """Denoising speed on latents, raw: seconds of each micro-batch step of the slowest rank."""

    batch_size: Whole
    micro_batch_size: Whole
    processes: Whole
    precision: dict[str, str]
    attention: str
    warm_up_seconds: Amount
    compile_seconds: Amount | None = None
    """Of them, compiling; null where nothing was compiled."""
    step_seconds: tuple[Amount, ...]
    """One forward pass of one micro-batch (on each process) and the scheduler's step."""
    coverage: Share
    """Share of one whole batch's steps that was timed, at most 1."""
    host: facts.HostTime | None = None
    """Medians over the timed steps, on the rank whose device waited most for its host; null on a CPU and in results
    that were made without."""


class CanaryRate(Frozen):
    """The machine's own speed beside a timed phase, by one rank."""

    phase: facts.TimedPhase
    when: facts.When
    rank: Whole = 0
    attempt: Whole = 0
    precision: InferencePrecision
    matmul_size: Whole
    matmul_flops_per_second: Rate
    matmul_relative_error: Amount | None = None
    copy_bytes_per_second: Rate


class PhaseTelemetry(Frozen):
    """What the sampler saw during one timed phase; null where it can't be read."""

    phase: facts.TimedPhase
    samples: Whole
    engine_cores: Number | None
    """Cores that the engine's processes kept busy, on average."""
    foreign_cores: Number | None
    """Cores that others kept busy: the whole system without the engine and its launcher."""
    stolen_cores: Number | None
    """Cores that the hypervisor gave to other machines."""
    logical_cores: Whole | None
    power_capped_share: Share | None = None
    """Share of the samples in which a GPU was at its power limit, which is usual under load."""
    throttle_reasons: tuple[str, ...] = ()
    """Reasons for which a GPU lowered its clocks, as the driver names them; idling and set clocks are none."""
    battery_share: Share | None = None
    """Share of the samples in which the machine ran on its battery."""
    suspended_seconds: Amount | None = None
    """How long the machine slept in it."""


class Telemetry(Frozen):
    """What the launcher's sampler saw in one attempt, decimated; and what looking cost."""

    attempt: Whole
    interval_seconds: Amount
    """Between samples."""
    samples: Whole
    sampler_cpu_seconds: Amount
    """Processor time of the sampler itself."""
    wall_seconds: Amount
    series: dict[str, tuple[Number | None, ...]]
    """Means over equal groups of samples, by name with unit; `at_seconds` counts from the engine's start."""
    phases: tuple[PhaseTelemetry, ...] = ()


class PhaseEnergy(Frozen):
    """Energy of one timed phase."""

    phase: facts.TimedPhase
    joules_gross: Number
    joules_net: Number | None
    """Less what the idle device would have used in the same time."""
    seconds: Amount
    reason: str | None = None
    """Why these joules are not to be used: over too short a time they say little."""


class Energy(Frozen):
    """Energy of the devices that did the work, from the engine's start to its end."""

    model_config = ConfigDict(populate_by_name=True)
    class_: EnergyClass = Field(alias="class")
    """`measured`: by the device's own energy counter. `estimated`: sampled power times time."""
    joules_gross: Number | None = None
    joules_net: Number | None = None
    """Less what the idle devices would have used in the same time."""
    idle_watts: Number | None = None
    """Measured right before the engine started."""
    source: str | None = None
    reason: str | None = None
    """Why there is no value, or why not a better one."""
    seconds: Amount | None = None
    phases: tuple[PhaseEnergy, ...] = ()


class Attempt(Frozen):
    """One start of the engine: what it took in one pass, and how it ended."""

    micro_batch_size: Whole
    """Samples per forward pass of tuning; the global batch is the same in every attempt."""
    inference_micro_batch_size: Whole
    outcome: FinalStatus | Literal["out_of_memory"]
    phase: str | None = None
    """Where it ended, if it did not complete."""
    evidence: str | None = None
    """What showed that memory ran out."""


class PredictedOverMeasured(Frozen):
    """How far the plan was from the run: 1 is exact, 2 means half of what was predicted; null where either lacks."""

    peak_memory: Amount | None = None
    """Peak bytes: of tensors over allocated ones on a GPU, of all that is resident on a CPU."""
    seconds: Amount | None = None
    """Seconds of the iterations of the constant-iteration protocol."""


class Check(Frozen):
    """A finding about a number: A sound, B with a remark, C with a doubt, X not to be used."""

    id: str
    subject: str
    """What it is about: `training_speed`, `inference_speed`, `quality`, `energy` or `run`."""
    grade: Grade
    evidence: str
    """What was seen, in a sentence."""


class Artifact(Frozen):
    """A file of the run folder."""

    path: str
    sha256: str
    bytes: Whole
    left_out: bool = False
    """Whether it was not copied into this folder, on purpose."""


class Summary(Frozen):
    """Derived from the raw values by `fluxkit.fold.summarise` alone; null where there is nothing to derive from."""

    training_iterations_per_second: Rate | None = None
    training_images_per_second: Rate | None = None
    inference_image_steps_per_second: Rate | None = None
    inference_batch_steps_per_second: Rate | None = None
    psnr_db: Number | None = None
    """Reconstruction after the constant time: mean of per-image dB."""
    ssim: facts.Similarity | None = None
    psnr_db_untuned: Number | None = None
    ssim_untuned: facts.Similarity | None = None
    psnr_db_at_iterations: Number | None = None
    """Reconstruction after the constant iterations."""
    ssim_at_iterations: facts.Similarity | None = None
    validation_loss: Amount | None = None
    validation_loss_untuned: Amount | None = None
    validation_psnr_db: Number | None = None
    validation_psnr_db_untuned: Number | None = None
    validation_ssim: facts.Similarity | None = None
    validation_ssim_untuned: facts.Similarity | None = None
    peak_memory_bytes: Whole | None = None
    """Largest of the phases, summed over ranks: resident on a CPU, reserved on a GPU."""
    tuning_seconds: Amount | None = None
    total_seconds: Amount | None = None
    """Sum of all phases on rank 0."""
    training_flops_share: Amount | None = None
    """Achieved FLOP/s of tuning / this machine's own rate of matrix products in the same precision."""
    inference_flops_share: Amount | None = None
    """The same of the inference speed."""
    energy_joules: Number | None = None
    """Gross energy of the devices that did the work, over the whole run."""


class RunResult(Frozen):
    """One run: what was asked, planned and seen, what came out, and how reliable it is."""

    schema_: Literal["fluxkit.result/1"] = Field(alias="schema")
    id: str
    status: Status
    study: str
    repeat: Whole
    order: Whole
    """Place of this run in the study's seeded random order."""
    seed: Whole
    """Used for everything random in tuning: the spec's seed plus the repeat."""
    looks: tuple[int, ...] = ()
    """Numbers of repeats at which its study was to be looked at, as planned before its first run."""
    created: str
    """UTC, ISO 8601, ends in Z."""
    kit: Kit
    spec: RunSpec
    """As resolved; a path is stored as its last part."""
    workload_sha256: str
    configuration_sha256: str
    """Workload, execution, label, hardware fingerprint and package versions: a row of a comparison. Results of older
    versions have it without the label."""
    plan: Plan
    predicted_over_measured: PredictedOverMeasured = PredictedOverMeasured()
    system: Looks
    inputs: facts.RunInputs | None = None
    phases: tuple[PhaseSeconds, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    """Every start of the engine: a run that ran out of memory was begun again with half the micro-batch."""
    interruptions: tuple[Interruption, ...] = ()
    tuning: Tuning | None = None
    quality: Quality | None = None
    inference: Inference | None = None
    agreement: tuple[AgreementProbe, ...] | None = None
    """One numerical check for each rank and each precision it ran in; null in results that were made without."""
    canary: tuple[CanaryRate, ...] = ()
    telemetry: tuple[Telemetry, ...] = ()
    """One for each attempt."""
    energy: Energy | None = None
    checks: tuple[Check, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    error: facts.RunFailure | None = None
    summary: Summary = Summary()
