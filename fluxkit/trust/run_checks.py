"""Whether a number may be believed: findings with evidence and a grade. A finding is one function in `CHECKS`."""

from __future__ import annotations

from statistics import median, quantiles
from typing import TYPE_CHECKING

from fluxkit.record.agreement_facts import departures_of
from fluxkit.record.protocol_marks import UNTUNED, time_mark
from fluxkit.record.result import Check
from fluxkit.spec.precision_names import departures
from fluxkit.spec.workload import MIN_HELD_OUT, MIN_TIMED_STEPS
from fluxkit.trust.ceilings import CEILING_CHECKS
from fluxkit.trust.clocks import CLOCK_CHECKS
from fluxkit.trust.disturbances import DISTURBANCE_CHECKS
from fluxkit.trust.energy_checks import METERING_CHECKS
from fluxkit.trust.missing_evidence import EVIDENCE_CHECKS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fluxkit.record.result import Grade, RunResult

    Finder = Callable[[RunResult], Iterator[Check]]

MIN_ITERATIONS = 20
"""A training rate from fewer steps than this is in doubt."""
MARK_TOLERANCE = 0.02
MARK_DOUBT = 0.10
NO_QUALITY = "random weights have no quality"
"""Stands where a score would stand."""
SPREAD_REMARK = 1.5
SPREAD_DOUBT = 3.0


def find(result: RunResult) -> tuple[Check, ...]:
    """All findings about a result; nothing found about a subject means grade A."""
    found = tuple(check for finder in CHECKS for check in finder(result))
    if result.spec.model.can_draw:
        return found
    # What is missing for quality is missing on purpose; one finding says so.
    return (
        *(check for check in found if check.subject != "quality"),
        _check("random_weights", "quality", "X", NO_QUALITY),
    )


def run_ended_early(result: RunResult) -> Iterator[Check]:
    """A run that did not complete is no evidence as a whole; the numbers it reached are graded by themselves."""
    if result.status in {"failed", "interrupted"}:
        why = f": {result.error.message}" if result.error else "."
        yield _check("run_ended_early", "run", "X", f"The run {result.status}{why}")


def training_speed_missing(result: RunResult) -> Iterator[Check]:
    """No optimiser step, no training speed."""
    if not (result.tuning and result.tuning.iteration_seconds):
        yield _check("training_speed_missing", "training_speed", "X", "No optimiser step was completed.")


def iteration_coverage(result: RunResult) -> Iterator[Check]:
    """The constant-iteration protocol was cut short."""
    if result.tuning and 0 < len(result.tuning.iteration_seconds) < result.spec.tune.iterations:
        done = len(result.tuning.iteration_seconds)
        yield _check(
            "iteration_coverage",
            "training_speed",
            "B" if done >= MIN_ITERATIONS else "C",
            f"{done} of {result.spec.tune.iterations} iterations were done ({result.tuning.coverage:.0%}).",
        )


def iteration_spread(result: RunResult) -> Iterator[Check]:
    """Some steps took far longer than most: something else was going on."""
    seconds = result.tuning.iteration_seconds[: result.spec.tune.iterations] if result.tuning else ()
    middle = median(seconds) if len(seconds) >= MIN_ITERATIONS else 0.0
    if middle <= 0:
        return
    ratio = quantiles(seconds, n=20)[-1] / middle
    if ratio > SPREAD_REMARK:
        yield _check(
            "iteration_spread",
            "training_speed",
            "C" if ratio > SPREAD_DOUBT else "B",
            f"One iteration in twenty took more than {ratio:.1f} times the median of {middle:.3g} s.",
        )


def losses_finite(result: RunResult) -> Iterator[Check]:
    """Tuning that left the numbers has no quality, and its speed is that of arithmetic on nothing."""
    lost = sum(loss is None for loss in result.tuning.losses) if result.tuning else 0
    for subject in ("training_speed", "quality") if lost else ():
        yield _check("losses_finite", subject, "X", f"The loss of {lost} iterations was not a finite number.")


def tuning_precision(result: RunResult) -> Iterator[Check]:
    """The precision of tuning, as the ranks read it back, is the one the spec names."""
    asked = result.spec.execution.precision
    ranks = result.tuning.ranks if result.tuning else ()
    for rank in ranks:
        if wrong := departures(result.spec.execution.tuning_precision, rank.precision):
            evidence = f"Rank {rank.rank} was asked for {asked} but ran with {wrong}."
            yield _check("tuning_precision", "training_speed", "X", evidence)
            return
    unread = [str(rank.rank) for rank in ranks if not rank.precision]
    if unread or len(ranks) < result.plan.processes:
        who = f" by rank {', '.join(unread)}" if unread else " by every rank"
        if result.tuning and result.tuning.iteration_seconds:
            evidence = f"{asked} was asked for in tuning and not read back{who}."
            yield _check("tuning_precision", "training_speed", "C", evidence)


def inference_precision(result: RunResult) -> Iterator[Check]:
    """The precision of the inference speed, as read back, is the one the spec names."""
    if result.inference is None:
        return
    asked = result.spec.execution.inference_precision
    if not result.inference.precision:
        yield _check("inference_precision", "inference_speed", "C", f"{asked} was asked for and not read back.")
    elif wrong := departures(asked, result.inference.precision):
        yield _check("inference_precision", "inference_speed", "X", f"{asked} was asked for but {wrong} was in force.")


def agreement(result: RunResult) -> Iterator[Check]:
    """A device that does not compute what the others compute gives numbers that mean something else."""
    for probe in result.agreement or ():
        if wrong := departures_of(probe):
            evidence = (
                f"This device does not compute what the others compute: rank {probe.rank} in {probe.precision} has "
                f"{'; '.join(wrong)} against the float64 reference."
            )
            for subject in ("training_speed", "inference_speed", "quality"):
                yield _check("agreement", subject, "X", evidence)
            return


def inference_speed_missing(result: RunResult) -> Iterator[Check]:
    """No timed denoising step, no inference speed."""
    if result.inference is None:
        yield _check("inference_speed_missing", "inference_speed", "X", "No denoising step was timed.")


def inference_steps(result: RunResult) -> Iterator[Check]:
    """Few timed steps say little."""
    if result.inference and len(result.inference.step_seconds) < MIN_TIMED_STEPS:
        count = len(result.inference.step_seconds)
        evidence = f"Only {count} denoising steps were timed; {MIN_TIMED_STEPS} are wanted."
        yield _check("inference_steps", "inference_speed", "B", evidence)


def inference_coverage(result: RunResult) -> Iterator[Check]:
    """Time did not suffice for one whole batch."""
    if result.inference and result.inference.coverage < 1:
        share, batch = result.inference.coverage, result.inference.batch_size
        evidence = f"{share:.0%} of the denoising steps of one batch of {batch} were timed."
        yield _check("inference_coverage", "inference_speed", "B", evidence)


def inference_micro_batches(result: RunResult) -> Iterator[Check]:
    """Allowed and stated: the batch was denoised in parts."""
    if result.inference is None:
        return
    together = result.inference.micro_batch_size * result.inference.processes
    if together < result.inference.batch_size:
        evidence = f"The batch of {result.inference.batch_size} was denoised in micro-batches of {together}."
        yield _check("inference_micro_batches", "inference_speed", "A", evidence)


def time_mark_reached(result: RunResult) -> Iterator[Check]:
    """The graded state is the one after the tuning time that the protocol names."""
    target, mark = result.spec.tune.seconds, time_mark(result)
    if mark is None:
        evidence = f"Tuning did not reach the mark at {target:g} s, so quality in equal time is not known."
        yield _check("time_mark_reached", "quality", "X", evidence)
    elif abs(mark.seconds - target) > MARK_TOLERANCE * target:
        grade: Grade = "C" if abs(mark.seconds - target) > MARK_DOUBT * target else "B"
        evidence = f"The state graded at {target:g} s is the one after {mark.seconds:.4g} s of tuning."
        yield _check("time_mark_reached", "quality", grade, evidence)


def time_mark_scored(result: RunResult) -> Iterator[Check]:
    """A mark without scores has no quality."""
    mark = time_mark(result)
    scores = [score.mark for score in result.quality.reconstruction] if result.quality else []
    if mark and mark.id not in scores:
        yield _check("time_mark_scored", "quality", "X", f"The state at {mark.seconds:.4g} s was not evaluated.")
    elif mark and UNTUNED not in scores:
        yield _check("time_mark_scored", "quality", "B", "The untuned model was not evaluated beside the tuned one.")


def time_protocol_interrupted(result: RunResult) -> Iterator[Check]:
    """Tuning went cold inside the time that the protocol holds constant."""
    target = result.spec.tune.seconds
    stops = [each for each in result.interruptions if each.resumed_seconds < target]
    if stops:
        often = "once" if len(stops) == 1 else f"{len(stops)} times"
        evidence = (
            f"Tuning was interrupted {often} before {target:g} s, first after {stops[0].at_seconds:.4g} s, and"
            " continued from a checkpoint; steps done again are not on the clock."
        )
        yield _check("time_protocol_interrupted", "quality", "C", evidence)


def held_out_clusters(result: RunResult) -> Iterator[Check]:
    """Few independent held-out photographs make the held-out scores indicative."""
    pairs = result.inputs.pairs if result.inputs else ()
    clusters = {pair.cluster for pair in pairs if pair.split == "held_out"}
    if result.inputs and len(clusters) < MIN_HELD_OUT:
        evidence = f"Held-out scores are indicative: {len(clusters)} independent images; {MIN_HELD_OUT} are wanted."
        yield _check("held_out_clusters", "quality", "B", evidence)


def identical_images(result: RunResult) -> Iterator[Check]:
    """Identical images have no PSNR, so they are counted here instead of in the mean."""
    scores = result.quality.reconstruction if result.quality else ()
    same = sum(score.psnr_db is None for score in scores)
    if same:
        evidence = f"{same} of {len(scores)} samples equal their real image exactly and are not in the mean PSNR."
        yield _check("identical_images", "quality", "B", evidence)


def load_before(result: RunResult) -> Iterator[Check]:
    """Others were using the processor when the run began."""
    readings = result.system.before.readings
    load, cores = (readings.get(name) for name in ("load_average_1_minute", "cpu_logical_cores"))
    if result.order > 0 or load is None or cores is None or not load.value or not cores.value:
        # Later runs of a study still see the load of the run before them: no evidence of anyone else.
        return
    share = float(load.value) / float(cores.value)
    grade: Grade = "C" if share > 1 else "B"
    for subject in ("training_speed", "inference_speed") if share > 1 / 2 else ():
        evidence = f"Before the run the load average was {float(load.value):.1f} on {cores.value} logical cores."
        yield _check("load_before", subject, grade, evidence)


def _check(name: str, subject: str, grade: Grade, evidence: str) -> Check:
    return Check(id=name, subject=subject, grade=grade, evidence=evidence)


CHECKS: tuple[Finder, ...] = (
    run_ended_early,
    training_speed_missing,
    iteration_coverage,
    iteration_spread,
    losses_finite,
    tuning_precision,
    inference_precision,
    agreement,
    inference_speed_missing,
    inference_steps,
    inference_coverage,
    inference_micro_batches,
    time_mark_reached,
    time_mark_scored,
    time_protocol_interrupted,
    held_out_clusters,
    identical_images,
    load_before,
    *EVIDENCE_CHECKS,
    *CEILING_CHECKS,
    *DISTURBANCE_CHECKS,
    *METERING_CHECKS,
    *CLOCK_CHECKS,
)
