"""The events of all attempts at a run, read as one trajectory: what was done twice counts once."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from fluxkit.record import events
from fluxkit.record.facts import AnchorScore, HostTime, Mark, ReconstructionScore, RunInputs, ValidationScore
from fluxkit.record.redact import redact
from fluxkit.record.result import AgreementProbe, CanaryRate, Interruption, PhaseSeconds

IN_TUNING = frozenset({"warm_up", "tune"})
"""Phases whose memory depends on the micro-batch of tuning."""
_NAME = re.compile(r"rank-(\d{1,4})\.attempt-(\d{1,4})\.jsonl")


@dataclass
class RankFacts:
    """What one rank told of itself."""

    started: events.Started | None = None
    seconds: list[float] = field(default_factory=list)
    """Duration of each step on this rank's own clock."""
    budget_seconds: float | None = None
    """The budget's clock after its last block; rank 0 decides it for all."""
    memory: dict[int, dict[str, dict[str, int]]] = field(default_factory=dict)
    """Peaks by attempt, phase and kind."""
    began_in: int = 0
    """The attempt in which the trajectory began: what one before took, with other micro-batches, is not its peak."""
    tuning_setting: events.TuningSetting | None = None
    inference_setting: events.InferenceSetting | None = None
    inference_seconds: list[float] = field(default_factory=list)
    inference_issue_seconds: list[float] = field(default_factory=list)
    """What the host needed to issue each of these steps; empty on a CPU."""

    def inference_host(self) -> HostTime | None:
        """Medians over the timed steps."""
        if not self.inference_issue_seconds:
            return None
        return HostTime(
            issue_seconds=median(self.inference_issue_seconds), device_seconds=median(self.inference_seconds)
        )

    def peak_memory_bytes(self) -> dict[str, dict[str, int]]:
        """Peaks by phase and kind of the attempts that count.

        Tuning may be shared out among attempts, each going on where another stopped; any other phase counts as it was
        done last.
        """
        peaks: dict[str, dict[str, int]] = {}
        for attempt in sorted(attempt for attempt in self.memory if attempt >= self.began_in):
            for phase, last in self.memory[attempt].items():
                before = peaks.get(phase, {}) if phase in IN_TUNING else {}
                peaks[phase] = {kind: max(peak, before.get(kind, 0)) for kind, peak in last.items()}
        return peaks


@dataclass
class RunFacts:
    """What the events of a run folder told, taken in by attempt and, inside an attempt, by rank."""

    ranks: dict[int, RankFacts] = field(default_factory=dict)
    inputs: RunInputs | None = None
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each file that the last attempt to get so far has read."""
    phases: list[PhaseSeconds] = field(default_factory=list)
    interruptions: list[Interruption] = field(default_factory=list)
    checkpoints: list[tuple[int, float]] = field(default_factory=list)
    """Attempt, and the seconds of writing one in it."""
    checkpoint: int | None = None
    """Steps that the last checkpoint holds; None where there is none to go on from."""
    losses: list[float | None] = field(default_factory=list)
    marks: dict[str, Mark] = field(default_factory=dict)
    reconstruction: dict[tuple[str, str, int], ReconstructionScore] = field(default_factory=dict)
    validation: dict[tuple[str, str, float, int], ValidationScore] = field(default_factory=dict)
    anchors: dict[tuple[str, str], AnchorScore] = field(default_factory=dict)
    canaries: list[CanaryRate] = field(default_factory=list)
    agreement: dict[tuple[int, str], AgreementProbe] = field(default_factory=dict)
    """By rank and precision."""
    failures: list[tuple[int, events.Failed]] = field(default_factory=list)
    """Of the last attempt: rank and its last words."""
    outcomes: dict[int, str] = field(default_factory=dict)
    """Of the last attempt: how each rank finished; a rank that is missing was ended without a word."""
    unreadable: str | None = None
    """Why the last attempt's events could not be read to their end."""
    attempt: int = 0
    resumed: bool = False

    @property
    def seconds(self) -> list[float]:
        """Duration of each step on rank 0's clock."""
        return self.ranks[0].seconds if 0 in self.ranks else []

    @property
    def phase(self) -> str | None:
        """The phase that rank 0 was in when its events ended, or had just left."""
        begun = [phase for phase in self.phases if phase.attempt == self.attempt]
        unfinished = [phase for phase in begun if phase.seconds is None]
        return (unfinished or begun)[-1].name if begun else None

    def begin_attempt(self, attempt: int) -> None:
        """What an earlier attempt said of its end no longer holds."""
        self.attempt, self.resumed = attempt, False
        self.failures, self.outcomes, self.unreadable = [], {}, None

    def add(self, rank: int, event: events.Event) -> None:  # noqa: C901, PLR0912 - one case per event
        """Takes in the next event of a rank.

        Raises:
            ValueError: the event can't follow the ones before it.
        """
        facts = self.ranks.setdefault(rank, RankFacts())
        match event:
            case events.Started():
                facts.started = event
            case events.Memory():
                facts.memory.setdefault(self.attempt, {})[event.phase] = event.peak_bytes
            case events.Agreement():
                self.agreement[rank, event.precision] = AgreementProbe(rank=rank, **event.facts())
            case events.TuningSetting():
                facts.tuning_setting = event
            case events.InferenceSetting():
                facts.inference_setting, facts.inference_seconds, facts.inference_issue_seconds = event, [], []
            case events.InferenceSteps():
                facts.inference_seconds.extend(event.seconds)
                facts.inference_issue_seconds.extend(event.issue_seconds or ())
            case events.Reconstruction():
                self.reconstruction[event.mark, event.pair, event.seed] = ReconstructionScore(**event.facts())
            case events.Validation():
                score = ValidationScore(**event.facts())
                self.validation[event.mark, event.pair, event.sigma, event.draw] = score
            case events.Anchor():
                self.anchors[event.anchor, event.pair] = AnchorScore(**event.facts())
            case events.Canary():
                self.canaries.append(CanaryRate(rank=rank, attempt=self.attempt, **event.facts()))
            case events.Failed():
                self.failures.append((rank, event))
            case events.Finished():
                self.outcomes[rank] = event.outcome
            case events.Iterations():
                self._add_steps(rank, facts, event)
            case events.Resumed():
                self._resume(rank, facts, event)
            case _ if rank == 0:
                self._add_of_all(event)

    def _add_of_all(self, event: events.Event) -> None:
        """Takes in what rank 0 states for all."""
        match event:
            case events.Inputs():
                facts_of_result = event.facts()
                self.files = facts_of_result.pop("files") or {}
                self._begin_with(RunInputs(**facts_of_result))
            case events.PhaseStarted():
                self.phases.append(PhaseSeconds(name=event.phase, attempt=self.attempt, seconds=None))
            case events.PhaseEnded():
                self._end_phase(event)
            case events.CheckpointWritten():
                self.checkpoints.append((self.attempt, event.seconds))
                self.checkpoint = event.iteration
            case events.MarkReached():
                self.marks.pop(event.id, None)  # a mark that is reached again stands at its new place
                self.marks[event.id] = Mark(**event.facts())

    def _begin_with(self, inputs: RunInputs) -> None:
        """A run that was begun afresh may have other pictures or weights, and scores of its own."""
        before, self.inputs = self.inputs, inputs
        if before and (before.dataset_sha256, before.weights_sha256) != (inputs.dataset_sha256, inputs.weights_sha256):
            self.reconstruction, self.validation, self.anchors = {}, {}, {}

    def _end_phase(self, event: events.PhaseEnded) -> None:
        for place in reversed(range(len(self.phases))):
            phase = self.phases[place]
            if phase.name == event.phase and phase.attempt == self.attempt and phase.seconds is None:
                self.phases[place] = phase.model_copy(update={"seconds": event.seconds})
                return

    def _add_steps(self, rank: int, facts: RankFacts, event: events.Iterations) -> None:
        if len(event.seconds) != len(event.losses):
            raise ValueError(f"a block of {len(event.seconds)} steps has {len(event.losses)} losses")
        if event.first > len(facts.seconds):
            raise ValueError(f"steps {len(facts.seconds)} to {event.first - 1} are missing")
        if event.first == 0:
            facts.began_in = self.attempt
        if rank == 0 and event.first < len(self.losses):
            # Begun again without a checkpoint: the trajectory is whole, nothing of the earlier attempt is in it.
            self._rewind(event.first)
            self.checkpoint = None
            self.interruptions = self.interruptions if self.resumed else []
        if rank == 0:
            self.losses.extend(event.losses)
        del facts.seconds[event.first :]  # in place: a copy for each block makes a long run quadratic
        facts.seconds.extend(event.seconds)
        facts.budget_seconds = event.total_seconds

    def _resume(self, rank: int, facts: RankFacts, event: events.Resumed) -> None:
        if event.iteration > len(facts.seconds):
            raise ValueError(f"resumed at step {event.iteration}, but only {len(facts.seconds)} are known")
        if rank == 0:
            self.resumed = True
            stopped_at = event.seconds if facts.budget_seconds is None else facts.budget_seconds
            self.interruptions.append(Interruption(at_seconds=stopped_at, resumed_seconds=event.seconds))
            self._rewind(event.iteration)
        del facts.seconds[event.iteration :]
        facts.budget_seconds = event.seconds

    def _rewind(self, iteration: int) -> None:
        """Forgets the steps after `iteration`, their marks, and the scores of those marks."""
        del self.losses[iteration:]
        lost = {mark.id for mark in self.marks.values() if mark.iteration > iteration}
        self.marks = {key: mark for key, mark in self.marks.items() if key not in lost}
        self.reconstruction = {key: score for key, score in self.reconstruction.items() if score.mark not in lost}
        self.validation = {key: score for key, score in self.validation.items() if score.mark not in lost}


def replay(folder: Path) -> RunFacts:
    """All that the events of a run folder tell; what is unreadable ends its file and is said."""
    run = RunFacts()
    attempts: dict[int, list[int]] = {}
    for path in (folder / "events").glob("rank-*.attempt-*.jsonl"):
        name = _NAME.fullmatch(path.name)
        if name and not path.is_symlink():
            attempts.setdefault(int(name[2]), []).append(int(name[1]))
    for attempt, ranks in sorted(attempts.items()):
        run.begin_attempt(attempt)
        for rank in sorted(ranks):
            path = events.event_path(folder, rank, attempt)
            try:
                for event in events.read_events(path):
                    run.add(rank, event)
            except ValueError as error:
                run.unreadable = redact(f"events/{path.name}: {error}", folder)
    return run
