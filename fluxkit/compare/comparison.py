"""`Comparison`, what results say side by side: a value that round-trips through JSON and holds no raw series."""

from functools import cached_property
from typing import Literal

from pydantic import Field

from fluxkit.record.metrics import BY_QUANTITY, Subject
from fluxkit.record.result import Grade, Status
from fluxkit.spec.prices import Prices
from fluxkit.stats import Interval
from fluxkit.trust.estimate import Certificate, CostBasis, EnergyUse, Estimate, Target, TimeToTarget
from fluxkit.values import Frozen

ScalingKind = Literal["strong", "weak"]


class CurvePoint(Frozen):
    """Quality at one evaluation point, over the runs of a configuration: a field for each metric with a curve."""

    mark: str
    target_seconds: float | None
    seconds: float
    """Mean tuning time at that point."""
    iteration: float
    samples: float
    psnr_db: Estimate
    ssim: Estimate
    validation_loss: Estimate

    def score(self, key: str) -> Estimate:
        """The number of a metric that has a curve."""
        estimate: Estimate = getattr(self, key)
        return estimate


class Remark(Frozen):
    """A check that did not pass cleanly, with the runs that it concerns."""

    id: str
    subject: str
    grade: Grade
    evidence: str
    runs: tuple[str, ...]


class Row(Frozen):
    """A configuration: equal workload, execution, label, hardware and versions."""

    key: str
    """First characters of its hash, unique in its workload."""
    number: int
    """From 0, over the whole comparison: its colour and its marker."""
    name: str
    """The label, with what tells it apart where others have the same label."""
    label: str
    configuration_sha256: str
    """Taken again from its first run's workload, execution, label, hardware and packages, whatever that run claims."""
    devices: tuple[str, ...]
    processes: int
    threads_per_process: int
    precision: str
    """Of tuning."""
    inference_precision: str
    """As read back from the backends: TF32 is never called FP32."""
    usd_per_hour: float | None
    """Price of the whole instance; 0: it is free; null: not given."""
    usd_per_kwh: float | None
    """Price of the energy of its devices, likewise."""
    runs: tuple[str, ...]
    """Ids of the completed runs, in order."""
    metrics: dict[str, Estimate]
    costs: dict[str, Estimate]
    bases: dict[str, CostBasis]
    """What each cost is made of, whether or not there is a price."""
    energy: EnergyUse
    time_to_target: TimeToTarget | None
    """Null where the workload has no target or the row no curve."""
    agreement: bool | None
    """Whether every run passes its numerical checks against the reference; null where a run has none."""
    certificates: tuple[Certificate, ...]
    """By precision."""
    predicted_over_measured: dict[str, Estimate]
    """How far the plan was from the runs, for `peak_memory` and `seconds`: 1 is exact, 2 is twice what was measured."""
    curve: tuple[CurvePoint, ...]
    phases: dict[str, Estimate]
    """Seconds on rank 0, by phase; compiling and checkpoints stand apart from the phases that they were in."""
    remarks: tuple[Remark, ...]

    def estimate(self, key: str) -> Estimate:
        """The metric or cost of that name."""
        return self.metrics.get(key) or self.costs.get(key) or Estimate(reason="not measured")

    @property
    def prices(self) -> Prices:
        """What it is priced at."""
        return Prices(self.usd_per_hour, self.usd_per_kwh)

    def usable(self, key: str) -> bool:
        """Whether it has that number, and not with grade X."""
        estimate = self.estimate(key)
        return estimate.mean is not None and estimate.grade != "X"


class Contrast(Frozen):
    """One quantity of two configurations: first to second as a ratio, or first minus second."""

    quantity: str
    """`Metric.quantity` of what is contrasted."""
    first: str
    second: str
    scale: Literal["ratio", "difference"]
    value: float | None
    """Of a ratio the geometric mean, of quality the mean over photos: what its interval is about."""
    certified: bool = True
    """Whether both are certified to compute the same; where they are not there is no value."""
    interval: Interval | None
    """The one that the verdict is about; of what has no verdict that of this pair alone, at 95 %."""
    verdict: str | None
    """About the first: one of the metric's verdicts, `equivalent` or `not settled`; null: it is descriptive."""
    reason: str | None
    """Why it is not settled, or has no verdict."""
    further_runs: int | None
    """Runs more of each that would settle it, if they come out like these; null where that is not known."""
    paired: bool
    """Whether it was taken block by block of the random order, quality seed by seed."""
    together: bool
    """Whether the runs were interleaved in one study on one machine; otherwise they were measured apart."""
    near_drift: bool = False
    """Measured apart, and no larger than what the machines' own speed changed by during the runs."""
    grade: Grade | None


class Judgement(Frozen):
    """How far a question, or a cost, is decided at its latest look."""

    quantity: str
    """`Metric.quantity` of what is asked about."""
    leader: str | None
    """Key of the row with the best estimates against the others; null where there are no two to compare."""
    decided: bool
    """Whether the leader is better than, or equivalent to, every other one."""
    further_runs: int | None
    """About how many more of each would decide it; null where it is decided or that is not known."""
    repeats: int
    """Most blocks of the random order that a row has; of quality, most seeds."""
    looks: tuple[int, ...]
    """The number of repeats that was fixed beforehand, or those of the planned looks."""
    level: float
    """Share of wrong answers that this look may add."""
    pairs: int
    """How many share it."""


class Anchor(Frozen):
    """A score that needs no tuning, to read the others by: over the same photos, and the same in every run."""

    name: str
    precision: str | None = None
    """Of the untuned model, whose scores depend on it."""
    psnr_db: Estimate
    ssim: Estimate


class Workload(Frozen):
    """Results that may be compared: equal workload, input hashes and evaluation definition."""

    key: str
    workload_sha256: str
    tables: dict[str, dict[str, str | int | float | bool | None]]
    """The spec's workload tables."""
    weights_sha256: str | None
    dataset_sha256: str | None
    definition: dict[str, str | int | float | bool] | None
    tuned_pairs: int
    """Tuned on and scored."""
    regularization_images: int
    """Tuned on, never scored."""
    held_out_pairs: int
    held_out_clusters: int
    """Independent held-out photos: crops of one photo count once."""
    target: Target
    """Of time-to-quality."""
    rows: tuple[Row, ...]
    contrasts: tuple[Contrast, ...]
    judgements: tuple[Judgement, ...]
    """One for each of the study's questions and each cost that rows have numbers of."""
    anchors: tuple[Anchor, ...]

    @property
    def priced(self) -> bool:
        """Whether any of its rows has a price."""
        return any(row.prices.given for row in self.rows)

    @cached_property
    def _rows_by_key(self) -> dict[str, Row]:
        return {row.key: row for row in self.rows}

    @cached_property
    def _contrasts_by_pair(self) -> dict[tuple[str, frozenset[str]], Contrast]:
        contrasts = reversed(self.contrasts)  # of two of one pair the first counts
        return {(line.quantity, frozenset((line.first, line.second))): line for line in contrasts}

    @cached_property
    def rankings(self) -> dict[str, list[Row]]:
        """By key of a metric the order of its rows, as far as `ranking.ranked` has been asked for it."""
        return {}

    @cached_property
    def uncertified_rows(self) -> frozenset[str]:
        """Keys of the rows of which nothing certifies that they compute what another one computes."""
        pairs = [(line.first, line.second) for line in self.contrasts if not line.certified]
        return frozenset(key for pair in pairs for key in pair)

    def row(self, key: str) -> Row:
        """The row of that key."""
        return self._rows_by_key[key]

    def contrast(self, quantity: str, first: str, second: str) -> Contrast | None:
        """What two rows differ by in a quantity, whichever of them it is stored as the first."""
        return self._contrasts_by_pair.get((quantity, frozenset((first, second))))

    @property
    def undecided(self) -> bool:
        """Whether one of the study's questions that has numbers of two rows is not decided."""
        return any(
            judgement.leader is not None and not judgement.decided
            for judgement in self.judgements
            if BY_QUANTITY[judgement.quantity].role == "primary"
        )

    def judgement(self, quantity: str) -> Judgement | None:
        """How far that question is decided; None where it is none, or no row has a number of it."""
        return next((judgement for judgement in self.judgements if judgement.quantity == quantity), None)


class KeyDifference(Frozen):
    """A key in which workloads differ, with each one's value as JSON."""

    key: str
    values: dict[str, str]


class Ended(Frozen):
    """A run that gave no complete result: data, but never part of a mean."""

    id: str
    name: str
    label: str
    status: Status
    repeat: int
    phase: str | None
    reason: str


class Scaling(Frozen):
    """One speed of several devices against that of one; 1 is as fast as N devices can be by themselves."""

    subject: Subject
    kind: ScalingKind
    several: str
    """Key of the row of N devices."""
    single: str | None
    """Key of the row of one device; null where none was measured."""
    devices: int
    """N."""
    efficiency: float | None
    """Rate of N devices / (N x rate of one)."""
    interval: Interval | None = None
    """95 %, from the ratio of rates on the log scale; null below 3 runs on a side."""
    formula: str
    """What was divided by what, in words."""
    grade: Grade | None = None
    """The worse of both rates'."""
    reason: str | None = None
    """Why there is no efficiency."""


class Comparison(Frozen):
    """Results side by side."""

    schema_: Literal["fluxkit.comparison/2"] = Field(default="fluxkit.comparison/2", alias="schema")
    comparable: bool
    """Whether all completed results belong to one workload."""
    workloads: tuple[Workload, ...]
    differences: tuple[KeyDifference, ...]
    """What differs between the workloads."""
    scaling: tuple[Scaling, ...]
    """Several devices against one; weak scaling reaches over workloads that differ in the batch alone."""
    ended: tuple[Ended, ...]
    """Failed, interrupted and unfinished runs."""
    warnings: tuple[str, ...]
