"""Whether the untuned model scored alike in all runs of one precision: it is one model, so nothing else can be."""

from collections.abc import Sequence

from fluxkit.record.metrics import BY_KEY, METRICS
from fluxkit.record.result import Check, RunResult

ROUNDING = {"FP32": 1e-4}
"""Share of a score by which FP32 may differ between devices. Two ways to sum differ by 1e-8, bfloat16 by 2e-4."""
COARSE_ROUNDING = 5e-3
"""The same of precisions with fewer bits, whose sums depend on the device."""


def untuned_spread(results: Sequence[RunResult], precision: str) -> Check | None:
    """The finding about completed runs of one workload that tuned in one precision; None where they agree."""
    allowed = ROUNDING.get(precision.partition(",")[0], COARSE_ROUNDING)
    words, beyond_margin = [], False
    for metric in (metric for metric in METRICS if metric.untuned):
        untuned = BY_KEY[metric.untuned or ""]
        values = [value for result in results if (value := getattr(result.summary, untuned.key)) is not None]
        low, high = min(values, default=0.0), max(values, default=0.0)
        span = f"{untuned.title} from {low:.6g} to {high:.6g} {untuned.unit}".rstrip()
        if high - low > allowed * abs(high) and span not in words:
            words.append(span)
            beyond_margin |= high - low > metric.margin * (abs(high) if metric.relative else 1.0)
    if not words:
        return None
    evidence = f"The untuned model is the same in every run in {precision}, but its scores are not: {', '.join(words)}."
    return Check(id="untuned_spread", subject="quality", grade="C" if beyond_margin else "B", evidence=evidence)
