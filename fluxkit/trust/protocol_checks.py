"""Checks of the protocols: whether what was to be measured was measured whole, often enough and at the right time."""

from collections.abc import Iterator
from statistics import median, quantiles

from fluxkit.record.protocol_marks import UNTUNED, time_mark
from fluxkit.record.result import RunResult
from fluxkit.spec.workload import MIN_HELD_OUT, MIN_TIMED_STEPS
from fluxkit.trust.finding import Finding, about
from fluxkit.units import counted

MIN_ITERATIONS = 20
"""A training rate from fewer steps than this is in doubt."""
SILENT_LOSS = 1.0
"""A model that says nothing has this loss or more: the target holds noise of variance 1."""
GROWTH_DOUBT, GROWTH_LIMIT = 3.0, 10.0
"""Median loss of the last tenth of the steps / that of the first step, or of a model that says nothing."""
MARK_REMARK, MARK_DOUBT = 0.02, 0.10
"""Share of the target by which the time of the graded state may miss it."""
SPREAD_REMARK, SPREAD_DOUBT = 1.5, 3.0
"""The 95th percentile of the step times / their median."""


def run_ended_early(result: RunResult) -> Iterator[Finding]:
    """A run that did not complete is no evidence as a whole; the numbers it reached are graded by themselves."""
    if result.status in {"failed", "interrupted"}:
        why = f": {result.error.message}" if result.error else "."
        yield Finding("run", "X", f"The run {result.status}{why}")


def training_speed_missing(result: RunResult) -> Iterator[Finding]:
    """No optimiser step, no training speed."""
    if not (result.tuning and result.tuning.iteration_seconds):
        yield Finding("training_speed", "X", "No optimiser step was completed.")


def iteration_coverage(result: RunResult) -> Iterator[Finding]:
    """The constant-iteration protocol was cut short."""
    if result.tuning and 0 < len(result.tuning.iteration_seconds) < result.spec.tune.iterations:
        done = len(result.tuning.iteration_seconds)
        evidence = f"{done} of {result.spec.tune.iterations} iterations were done ({result.tuning.coverage:.0%})."
        yield Finding("training_speed", "B" if done >= MIN_ITERATIONS else "C", evidence)


def iteration_spread(result: RunResult) -> Iterator[Finding]:
    """Some steps took far longer than most: something else was going on."""
    seconds = result.tuning.iteration_seconds[: result.spec.tune.iterations] if result.tuning else ()
    middle = median(seconds) if len(seconds) >= MIN_ITERATIONS else 0.0
    if middle <= 0:
        return
    ratio = quantiles(seconds, n=20)[-1] / middle
    if ratio > SPREAD_REMARK:
        evidence = f"One iteration in twenty took more than {ratio:.1f} times the median of {middle:.3g} s."
        yield Finding("training_speed", "C" if ratio > SPREAD_DOUBT else "B", evidence)


def losses_finite(result: RunResult) -> Iterator[Finding]:
    """Tuning that left the numbers has no quality, and its speed is that of arithmetic on nothing."""
    lost = sum(loss is None for loss in result.tuning.losses) if result.tuning else 0
    if lost:
        evidence = f"The loss of {counted(lost, 'iteration')} was not a finite number."
        yield from about(("training_speed", "quality"), "X", evidence)


def losses_grew(result: RunResult) -> Iterator[Finding]:
    """Tuning that made the loss grow has diverged: its numbers are finite, and worth nothing."""
    losses = [loss for loss in result.tuning.losses if loss is not None] if result.tuning else []
    if not losses:
        return
    first, last = max(losses[0], SILENT_LOSS), median(losses[-max(1, len(losses) // 10) :])
    if last > GROWTH_DOUBT * first:
        evidence = f"Tuning diverged: the loss went from {losses[0]:.3g} to {last:.3g}; a lower learning rate helps."
        if last > GROWTH_LIMIT * first:
            yield from about(("training_speed", "quality"), "X", evidence)
        else:
            yield Finding("quality", "C", evidence)


def scores_finite(result: RunResult) -> Iterator[Finding]:
    """A model whose scores are not finite numbers has diverged, and without those scores it would look better."""
    quality = result.quality
    samples, held_out = (quality.reconstruction, quality.validation) if quality else ((), ())
    marks = [score.mark for score in samples if score.diverged] + [score.mark for score in held_out if score.diverged]
    if marks:
        count = f"{len(marks)} of {len(samples) + len(held_out)} scores"
        where = ", ".join(dict.fromkeys(marks))
        evidence = f"It diverged: {count} are not finite numbers, at {where}. Lower tune.learning_rate."
        yield Finding("quality", "X", evidence)


def inference_speed_missing(result: RunResult) -> Iterator[Finding]:
    """No timed denoising step, no inference speed."""
    if result.inference is None:
        yield Finding("inference_speed", "X", "No denoising step was timed.")


def inference_steps(result: RunResult) -> Iterator[Finding]:
    """Few timed steps say little."""
    if result.inference and len(result.inference.step_seconds) < MIN_TIMED_STEPS:
        count = len(result.inference.step_seconds)
        evidence = f"Only {count} denoising steps were timed; {MIN_TIMED_STEPS} are wanted."
        yield Finding("inference_speed", "B", evidence)


def inference_coverage(result: RunResult) -> Iterator[Finding]:
    """Time did not suffice for one whole batch."""
    if result.inference and result.inference.coverage < 1:
        share, batch = result.inference.coverage, result.inference.batch_size
        evidence = f"{share:.0%} of the denoising steps of one batch of {batch} were timed."
        yield Finding("inference_speed", "B", evidence)


def inference_micro_batches(result: RunResult) -> Iterator[Finding]:
    """Allowed and stated: the batch was denoised in parts."""
    if result.inference is None:
        return
    together = result.inference.micro_batch_size * result.inference.processes
    if together < result.inference.batch_size:
        evidence = f"The batch of {result.inference.batch_size} was denoised in micro-batches of {together}."
        yield Finding("inference_speed", "A", evidence)


def time_mark_reached(result: RunResult) -> Iterator[Finding]:
    """The graded state is the one after the tuning time that the protocol names."""
    target, mark = result.spec.tune.seconds, time_mark(result)
    if mark is None:
        evidence = f"Tuning ended before {target:g} s, so quality in equal time is not known."
        yield Finding("quality", "X", evidence)
    elif abs(mark.seconds - target) > MARK_REMARK * target:
        evidence = f"The state graded at {target:g} s is the one after {mark.seconds:.4g} s of tuning."
        yield Finding("quality", "C" if abs(mark.seconds - target) > MARK_DOUBT * target else "B", evidence)


def time_mark_scored(result: RunResult) -> Iterator[Finding]:
    """A mark without scores has no quality."""
    mark = time_mark(result)
    scores = [score.mark for score in result.quality.reconstruction] if result.quality else []
    if mark and mark.id not in scores:
        yield Finding("quality", "X", f"The state at {mark.seconds:.4g} s was not evaluated.")
    elif mark and UNTUNED not in scores:
        yield Finding("quality", "B", "The untuned model was not evaluated beside the tuned one.")


def time_protocol_interrupted(result: RunResult) -> Iterator[Finding]:
    """Tuning went cold inside the time that the protocol holds constant."""
    target = result.spec.tune.seconds
    stops = [stop for stop in result.interruptions if stop.resumed_seconds < target]
    if stops:
        often = "once" if len(stops) == 1 else f"{len(stops)} times"
        evidence = (
            f"Tuning was interrupted {often} before {target:g} s, first after {stops[0].at_seconds:.4g} s, and"
            " continued from a checkpoint; steps done again are not on the clock."
        )
        yield Finding("quality", "C", evidence)


def held_out_clusters(result: RunResult) -> Iterator[Finding]:
    """Few independent held-out photographs make the held-out scores indicative."""
    pairs = result.inputs.pairs if result.inputs else ()
    clusters = {pair.cluster for pair in pairs if pair.split == "held_out"}
    if result.inputs and len(clusters) < MIN_HELD_OUT:
        evidence = f"Held-out scores are indicative: {len(clusters)} independent images; {MIN_HELD_OUT} are wanted."
        yield Finding("quality", "B", evidence)


def identical_images(result: RunResult) -> Iterator[Finding]:
    """Identical images have no PSNR, so they are counted here instead of in the mean."""
    scores = result.quality.reconstruction if result.quality else ()
    same = sum(score.psnr_db is None and not score.diverged for score in scores)
    if same:
        evidence = f"{same} of {len(scores)} samples equal their real image exactly and are not in the mean PSNR."
        yield Finding("quality", "B", evidence)
