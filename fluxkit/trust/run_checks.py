"""Whether the numbers of a run may be believed: the list of all checks. Each is one function, named in `CHECKS`."""

from collections.abc import Callable, Iterator

from fluxkit.errors import printable
from fluxkit.record.result import Check, RunResult
from fluxkit.trust import (
    ceilings,
    clocks,
    disturbances,
    energy_checks,
    missing_evidence,
    precision_checks,
    protocol_checks,
)
from fluxkit.trust.finding import Finding

# The name of a function is the id of its findings in a result, so it does not change.
CHECKS: tuple[Callable[[RunResult], Iterator[Finding]], ...] = (
    protocol_checks.run_ended_early,
    protocol_checks.training_speed_missing,
    protocol_checks.iteration_coverage,
    protocol_checks.iteration_spread,
    protocol_checks.losses_finite,
    protocol_checks.losses_grew,
    protocol_checks.scores_finite,
    precision_checks.tuning_precision,
    precision_checks.inference_precision,
    precision_checks.agreement,
    protocol_checks.inference_speed_missing,
    protocol_checks.inference_steps,
    protocol_checks.inference_coverage,
    protocol_checks.inference_micro_batches,
    protocol_checks.time_mark_reached,
    protocol_checks.time_mark_scored,
    protocol_checks.time_protocol_interrupted,
    protocol_checks.held_out_clusters,
    protocol_checks.identical_images,
    disturbances.load_before,
    missing_evidence.ceiling_unknown,
    missing_evidence.unwatched,
    missing_evidence.certificate_missing,
    ceilings.over_the_ceiling,
    ceilings.canary_moved,
    ceilings.host_bound,
    precision_checks.canary_precision,
    ceilings.canary_against_peak,
    disturbances.foreign_load,
    disturbances.stolen_time,
    disturbances.gpu_throttled,
    disturbances.cpu_throttled,
    disturbances.quota_throttled,
    disturbances.swapped,
    disturbances.on_battery,
    disturbances.suspended,
    disturbances.gpu_in_use,
    disturbances.gpu_held_back,
    disturbances.gpu_memory_errors,
    energy_checks.energy_unknown,
    energy_checks.energy_estimated,
    energy_checks.energy_shared,
    clocks.clocks_disagree,
    clocks.steps_outlast_phase,
)
TITLES = {
    "run_ended_early": "the run ended early",
    "iteration_coverage": "fewer iterations than asked",
    "iteration_spread": "iteration times spread widely",
    "losses_finite": "losses are no finite numbers",
    "losses_grew": "losses grew",
    "scores_finite": "scores are no finite numbers",
    "agreement": "numerical check against a reference failed",
    "inference_coverage": "too few denoising steps",
    "inference_steps": "too few denoising steps",
    "time_mark_reached": "state scored at another time than asked",
    "time_mark_scored": "state at equal time not scored",
    "time_protocol_interrupted": "tuning was interrupted",
    "held_out_clusters": "few held-out photos",
    "load_before": "other load before the run",
    "ceiling_unknown": "machine speed not measured",
    "unwatched": "machine not watched",
    "certificate_missing": "no numerical check against a reference",
    "over_the_ceiling": "faster than the machine can be",
    "canary_moved": "machine speed changed during the run",
    "canary_precision": "precision not in force",
    "canary_against_peak": "machine speed far from its published peak",
    "foreign_load": "other programs used the processor",
    "stolen_time": "the host took processor time away",
    "gpu_throttled": "GPU throttled",
    "cpu_throttled": "processor throttled",
    "quota_throttled": "held back by a quota",
    "swapped": "memory was swapped out",
    "on_battery": "ran on its battery",
    "suspended": "suspended while it ran",
    "gpu_in_use": "GPU in use by others",
    "gpu_held_back": "GPU held back",
    "gpu_memory_errors": "GPU memory errors",
}
"""What a check found, in words for a table; others are called by their id."""
NO_QUALITY = "random weights have no quality"
"""Stands where a score would stand."""


def title_of_check(name: str) -> str:
    """What a check found, in a few words."""
    return TITLES.get(name, printable(name).replace("_", " "))


def find(result: RunResult) -> tuple[Check, ...]:
    """All findings about a result; nothing found about a subject means grade A."""
    checks = tuple(Check(id=check.__name__, **finding._asdict()) for check in CHECKS for finding in check(result))
    if result.spec.model.can_draw:
        return checks
    # What is missing for quality is missing on purpose; one finding says so.
    on_purpose = Check(id="random_weights", subject="quality", grade="X", evidence=NO_QUALITY)
    return (*(check for check in checks if check.subject != "quality"), on_purpose)
