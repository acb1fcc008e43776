"""Events and what was asked, planned and seen become a `RunResult`; its summary is derived here and nowhere else."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from fluxkit.fold.replay import RankFacts, RunFacts, replay
from fluxkit.record.facts import HostTime, RunFailure
from fluxkit.record.protocol_marks import UNTUNED, iteration_mark, time_mark
from fluxkit.record.result import Inference, Quality, Rank, RunResult, Summary, Tuning
from fluxkit.spec.evaluation_definition import quality_definition
from fluxkit.stats import rate
from fluxkit.trust.ceilings import flops_share, peak_memory_bytes, predicted_over_measured
from fluxkit.trust.run_checks import find
from fluxkit.values import measurable

MEMORY_KIND = {"cpu": "resident", "cuda": "cuda_reserved"}
"""The kind of peak memory that the summary states, by device."""


def fold(folder: Path, base: RunResult, told: RunFacts | None = None) -> RunResult:
    """`base` with everything that the folder's events tell, its checks and its summary.

    Status and error of `base` are kept; an unreadable events file becomes the error where there is none.
    """
    told = told or replay(folder)
    result = base.model_copy(
        update={
            "inputs": told.inputs,
            "phases": tuple(told.phases),
            "interruptions": tuple(told.interruptions),
            "tuning": _tuning(base, told),
            "quality": _quality(base, told),
            "inference": _inference(base, told),
            "canary": tuple(told.canaries),
            "agreement": tuple(probe for _, probe in sorted(told.agreement.items())) or None,
            "error": base.error or unreadable(told),
        }
    )
    return derive(result)


def derive(result: RunResult) -> RunResult:
    """`result` with all that follows from its raw values: summary, hits of the plan, checks."""
    whole = result.model_copy(update={"summary": summarise(result)})
    whole = whole.model_copy(update={"predicted_over_measured": predicted_over_measured(whole)})
    return whole.model_copy(update={"checks": find(whole)})


def summarise(result: RunResult) -> Summary:
    """The summary of a result, from its raw values alone."""
    by_time, by_iterations = time_mark(result), iteration_mark(result)
    psnr, ssim = _reconstruction(result, by_time.id if by_time else None)
    psnr_untuned, ssim_untuned = _reconstruction(result, UNTUNED)
    psnr_iterations, ssim_iterations = _reconstruction(result, by_iterations.id if by_iterations else None)
    loss, validation_psnr, validation_ssim = _validation(result, by_time.id if by_time else None)
    loss_untuned, validation_psnr_untuned, validation_ssim_untuned = _validation(result, UNTUNED)
    iterations, image_steps = _iterations_per_second(result), _image_steps_per_second(result.inference)
    return Summary(
        training_iterations_per_second=iterations,
        training_images_per_second=_product(iterations, result.spec.tune.global_batch_size),
        inference_image_steps_per_second=image_steps,
        inference_batch_steps_per_second=_product(image_steps, 1 / result.spec.inference.batch_size),
        psnr_db=psnr,
        ssim=ssim,
        psnr_db_untuned=psnr_untuned,
        ssim_untuned=ssim_untuned,
        psnr_db_at_iterations=psnr_iterations,
        ssim_at_iterations=ssim_iterations,
        validation_loss=loss,
        validation_loss_untuned=loss_untuned,
        validation_psnr_db=validation_psnr,
        validation_psnr_db_untuned=validation_psnr_untuned,
        validation_ssim=validation_ssim,
        validation_ssim_untuned=validation_ssim_untuned,
        peak_memory_bytes=peak_memory_bytes(result, MEMORY_KIND[result.plan.device]),
        tuning_seconds=_sum(result.tuning.iteration_seconds if result.tuning else ()),
        total_seconds=_sum(phase.seconds for phase in result.phases if phase.seconds is not None),
        training_flops_share=flops_share(result, "tune", _product(iterations, result.plan.train_flops_per_iteration)),
        inference_flops_share=flops_share(
            result, "inference", _product(image_steps, result.plan.forward_flops_per_sample)
        ),
        energy_joules=result.energy.joules_gross if result.energy else None,
    )


def _iterations_per_second(result: RunResult) -> float | None:
    """The first `tune.iterations` steps / their total seconds on the slowest rank."""
    tuning = result.tuning
    steps = tuning.iteration_seconds[: result.spec.tune.iterations] if tuning else ()
    return _rate(len(steps), math.fsum(steps) * slowest_rank_ratio(tuning)) if tuning else None


def slowest_rank_ratio(tuning: Tuning) -> float:
    """Tuning seconds of the slowest rank / those of rank 0, at least 1; 1 where the clocks were not stated.

    The step times are rank 0's. A rate of several processes is total work / slowest rank.
    """
    clocks = [rank.seconds for rank in tuning.ranks if rank.seconds]
    zero = next((rank.seconds for rank in tuning.ranks if rank.rank == 0 and rank.seconds), None)
    return max(1.0, max(clocks) / zero) if zero else 1.0


def _image_steps_per_second(inference: Inference | None) -> float | None:
    """Images x denoising steps of all processes / total seconds of the slowest rank."""
    if inference is None:
        return None
    images = inference.micro_batch_size * inference.processes
    return _rate(images * len(inference.step_seconds), math.fsum(inference.step_seconds))


def _rate(count: int, seconds: float) -> float | None:
    """So many in so many seconds; None where nobody could have measured that."""
    return measurable(rate(count, seconds)) or None if seconds > 0 else None


def _reconstruction(result: RunResult, mark: str | None) -> tuple[float | None, float | None]:
    """Means of per-image PSNR (dB, identical images left out) and SSIM at a mark; none if one image diverged."""
    scores = [score for score in result.quality.reconstruction if score.mark == mark] if result.quality else []
    if any(score.diverged for score in scores):
        return None, None
    return _mean(score.psnr_db for score in scores), _mean(score.ssim for score in scores)


def _validation(result: RunResult, mark: str | None) -> tuple[float | None, float | None, float | None]:
    """Means of velocity loss, one-step PSNR (dB) and SSIM at a mark; none if one of them diverged."""
    scores = [score for score in result.quality.validation if score.mark == mark] if result.quality else []
    if any(score.diverged for score in scores):
        return None, None, None
    return (
        _mean(score.loss for score in scores),
        _mean(score.psnr_db for score in scores),
        _mean(score.ssim for score in scores),
    )


def _product(value: float | None, factor: float) -> float | None:
    return None if value is None else measurable(value * factor)


def _sum(values: Iterable[float]) -> float | None:
    """The sum; None of nothing, because a missing value is never 0."""
    known = list(values)
    return measurable(math.fsum(known)) if known else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _ranks(told: RunFacts) -> Iterator[Rank]:
    for number, facts in sorted(told.ranks.items()):
        if facts.started:
            seen = facts.started.facts() | {"rank": number, "precision": _precision(facts)}
            yield Rank(**seen, seconds=_sum(facts.seconds), peak_memory_bytes=facts.peak_memory_bytes())


def _tuning(base: RunResult, told: RunFacts) -> Tuning | None:
    if not told.ranks:
        return None
    settings = {rank: facts.tuning_setting for rank, facts in told.ranks.items() if facts.tuning_setting}
    compiling = [setting.compile_seconds for setting in settings.values() if setting.compile_seconds is not None]
    # Only in an attempt whose tuning phase has seconds can a part of them be told apart.
    ended = {phase.attempt for phase in told.phases if phase.name == "tune" and phase.seconds is not None}
    return Tuning(
        iteration_seconds=tuple(told.seconds),
        losses=tuple(told.losses),
        samples_per_iteration=base.spec.tune.global_batch_size,
        coverage=min(1.0, len(told.seconds) / base.spec.tune.iterations),
        marks=tuple(told.marks.values()),
        ranks=tuple(_ranks(told)),
        attention=settings[0].attention if 0 in settings else None,
        compile_seconds=max(compiling, default=None),
        checkpoint_seconds=math.fsum(seconds for attempt, seconds in told.checkpoints if attempt in ended),
        host=_most_bound(setting.host for setting in settings.values()),
    )


def _most_bound(hosts: Iterable[HostTime | None]) -> HostTime | None:
    """That of the rank whose device waited most for its host."""
    known = [host for host in hosts if host and host.device_seconds]
    return max(known, key=lambda host: host.issue_seconds / host.device_seconds, default=None)


def _precision(facts: RankFacts) -> dict[str, str]:
    """What the model computed in, where a pass was watched; before that only the switches are known."""
    seen = facts.tuning_setting.precision if facts.tuning_setting else None
    return seen or (facts.started.precision if facts.started else {})


def _quality(base: RunResult, told: RunFacts) -> Quality | None:
    if not base.spec.model.can_draw or not (told.reconstruction or told.validation or told.anchors):
        return None
    return Quality(
        definition=quality_definition(base.spec),
        reconstruction=tuple(told.reconstruction.values()),
        validation=tuple(told.validation.values()),
        anchors=tuple(told.anchors.values()),
    )


def _inference(base: RunResult, told: RunFacts) -> Inference | None:
    """The steps of the slowest rank, and how many of one whole batch's image-steps all ranks did in them."""
    measured = [
        (facts.inference_setting, facts.inference_seconds)
        for facts in told.ranks.values()
        if facts.inference_setting and facts.inference_seconds
    ]
    if not measured:
        return None
    setting, steps = max(measured, key=lambda rank: sum(rank[1]) / len(rank[1]))
    whole = base.spec.inference.batch_size * base.spec.inference.num_inference_steps
    return Inference(
        batch_size=base.spec.inference.batch_size,
        processes=base.plan.processes,
        step_seconds=tuple(steps),
        coverage=min(1.0, setting.micro_batch_size * base.plan.processes * len(steps) / whole),
        host=_most_bound(facts.inference_host() for facts in told.ranks.values()),
        **setting.facts(),
    )


def unreadable(told: RunFacts) -> RunFailure | None:
    """The error of a run whose events could not be read to their end; None where they could."""
    if told.unreadable is None:
        return None
    return RunFailure(phase=told.phase, kind="UnreadableEvents", message=told.unreadable)
