"""What an engine process says while it runs: one JSON object a line, one file per rank, one writer each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from fluxkit.record import facts
from fluxkit.record.agreement_facts import AgreementFacts
from fluxkit.spec.execution import InferencePrecision
from fluxkit.values import Amount, Frozen, Rate, Whole

MAX_LINE_BYTES = 64_000_000
"""The longest event names every pair of a run."""
Phase = Literal["import", "prepare", "load", "warm_up", "tune", "inference", "evaluate"]


class TimedEvent(Frozen):
    """What every event carries beside its facts."""

    event: str
    at_seconds: Amount
    """Seconds since this rank's process began, monotonic."""

    def facts(self) -> dict[str, Any]:
        """All that it tells, by field, without the event's name and time."""
        return {name: value for name, value in self if name not in {"event", "at_seconds"}}


class Started(facts.RankStart, TimedEvent):
    """First word of a rank: what it sees at run time."""

    event: Literal["started"] = "started"
    device_uuid: str | None = None


class Inputs(facts.RunInputs, TimedEvent):
    """What is tuned and on what."""

    event: Literal["inputs"] = "inputs"
    files: dict[str, str] | None = None
    """SHA-256 of each file that was read, by name; a run is only continued with the same ones."""


class PhaseStarted(TimedEvent):
    """A phase began."""

    event: Literal["phase_started"] = "phase_started"
    phase: Phase


class PhaseEnded(TimedEvent):
    """A phase ended."""

    event: Literal["phase_ended"] = "phase_ended"
    phase: Phase
    seconds: Amount


class Iterations(TimedEvent):
    """A block of consecutive optimiser steps, at most about a second long; raw values."""

    event: Literal["iterations"] = "iterations"
    first: Whole
    """Index of the block's first step, from 0."""
    seconds: tuple[Amount, ...]
    """Duration of each step on the budget's clock."""
    losses: tuple[Amount | None, ...]
    """Mean loss over the global batch of each step; null where it was not finite."""
    total_seconds: Amount
    """The budget's clock after the block."""


class MarkReached(facts.Mark, TimedEvent):
    """A state of the trajectory that will be graded."""

    event: Literal["mark"] = "mark"
    target_seconds: Amount | None = None


class Agreement(AgreementFacts, TimedEvent):
    """A fixed tiny FLUX in one precision on this rank's device, against a stored float64 reference."""

    event: Literal["agreement"] = "agreement"


class Resumed(TimedEvent):
    """Tuning continued from a checkpoint: steps after `iteration` are done again."""

    event: Literal["resumed"] = "resumed"
    iteration: Whole
    seconds: Amount
    """The budget's clock at the checkpoint."""


class Reconstruction(facts.ReconstructionScore, TimedEvent):
    """A sample for the caption of a tuned pair against its real image."""

    event: Literal["reconstruction"] = "reconstruction"


class Validation(facts.ValidationScore, TimedEvent):
    """A held-out image noised to a fixed sigma with fixed noise, and the model's one-step estimate of it."""

    event: Literal["validation"] = "validation"


class Anchor(facts.AnchorScore, TimedEvent):
    """A score that needs no tuning, to read the others by."""

    event: Literal["anchor"] = "anchor"
    anchor: Literal["autoencoder_reconstruction", "flat_colour"]


class Setting(TimedEvent):
    """How one of the two timed phases runs."""

    attention: str
    """torch's attention operators that ran, without their common beginning `_scaled_dot_product_`."""
    compile_seconds: Amount | None = None
    """What compiling took, inside the warm-up; null where nothing was compiled."""


class TuningSetting(Setting):
    """How tuning runs on this rank, seen while it warmed up."""

    event: Literal["tuning_setting"] = "tuning_setting"
    host: facts.HostTime | None = None
    """Of the gradients of one micro-batch; null on a CPU."""
    precision: dict[str, str] | None = None
    """Dtype of the last block's output, autocast inside the model, and backend switches, read in a pass."""


class InferenceSetting(Setting):
    """How the inference speed is measured, before its first timed step."""

    # A result's `Inference` has the same fields among others, in a published order that no common base could give.
    event: Literal["inference_setting"] = "inference_setting"
    micro_batch_size: Whole
    precision: dict[str, str]
    """Dtype and backend switches, read back."""
    warm_up_seconds: Amount


class InferenceSteps(TimedEvent):
    """Durations of denoising steps of one micro-batch each, in order."""

    event: Literal["inference_steps"] = "inference_steps"
    seconds: tuple[Amount, ...]
    issue_seconds: tuple[Amount, ...] | None = None
    """What the host needed to issue each of them; null on a CPU."""


class Memory(TimedEvent):
    """Peak memory of one phase of one rank, each kind named."""

    event: Literal["memory"] = "memory"
    phase: Phase
    peak_bytes: dict[str, Whole]
    """For example `resident`, `cuda_allocated`, `cuda_reserved`."""


class CheckpointWritten(TimedEvent):
    """All tuning state is on disk."""

    event: Literal["checkpoint"] = "checkpoint"
    iteration: Whole
    seconds: Amount
    """What writing it took."""


class Progress(TimedEvent):
    """Nothing but a sign of life with a position, for phases without facts of their own."""

    event: Literal["progress"] = "progress"
    done: Whole
    total: Whole
    what: str


class Canary(TimedEvent):
    """The same small work before and after a timed phase, so that a machine that changed is seen."""

    # A result's `CanaryRate` has the same fields around its rank and attempt, in a published order as well.
    event: Literal["canary"] = "canary"
    phase: facts.TimedPhase
    when: facts.When
    precision: InferencePrecision
    """Precision the spec names for the phase; the switches in force were those of the phase."""
    matmul_size: Whole
    """n of the product of two n x n matrices."""
    matmul_flops_per_second: Rate
    """2 n^3 / seconds of the fastest repetition."""
    matmul_relative_error: Amount | None = None
    """Relative L2 error of a small product against float64: about 1e-7 in IEEE float32, 3e-4 in TF32."""
    copy_bytes_per_second: Rate
    """Bytes read and written by a copy in memory / seconds of the fastest repetition."""


class Failed(facts.RunFailure, TimedEvent):
    """The engine's own last words."""

    event: Literal["failed"] = "failed"
    phase: Phase | None
    exit_code: facts.ExitStatus
    unix_seconds: Amount | None = None
    """The machine's clock: of several ranks the first to fail is the cause, and each counts from its own start."""


class Finished(TimedEvent):
    """The rank did all it was asked, or stopped at a checkpoint because it was told to."""

    event: Literal["finished"] = "finished"
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
    """The whole events of a file, in order; a line cut short by a sudden death ends them.

    Raises:
        ValueError: a line is not an event of this version.
    """
    if not path.is_file():
        return
    with path.open("rb") as lines:
        while line := lines.readline(MAX_LINE_BYTES):
            if len(line) == MAX_LINE_BYTES:
                raise ValueError(f"a line is longer than {MAX_LINE_BYTES} bytes, so it is no event")
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
