"""Whether the numbers of a run may be believed: the list of all checks. Each is one function, named in `CHECKS`."""

from collections.abc import Callable, Iterator

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
NO_QUALITY = "random weights have no quality"
"""Stands where a score would stand."""


def find(result: RunResult) -> tuple[Check, ...]:
    """All findings about a result; nothing found about a subject means grade A."""
    checks = tuple(Check(id=check.__name__, **finding._asdict()) for check in CHECKS for finding in check(result))
    if result.spec.model.can_draw:
        return checks
    # What is missing for quality is missing on purpose; one finding says so.
    on_purpose = Check(id="random_weights", subject="quality", grade="X", evidence=NO_QUALITY)
    return (*(check for check in checks if check.subject != "quality"), on_purpose)
