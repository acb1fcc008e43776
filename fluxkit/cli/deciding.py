"""`--until-decided`: when a study is looked at, and what a look says."""

from collections.abc import Sequence

from fluxkit.errors import UsageError
from fluxkit.record.result import RunResult
from fluxkit.run.study import Look, UntilDecided


def until_decided(
    wanted: bool,
    specs: int,
    repeats: int | None,
    max_repeats: int | None,
    max_hours: float | None,
    *,
    same_seed: bool,
) -> UntilDecided | None:
    """How a study is looked at while it runs; None where it is not.

    Raises:
        UsageError: the options contradict each other, or there is nothing to decide.
    """
    if not wanted:
        if max_repeats is not None or max_hours is not None:
            raise UsageError("--max-repeats and --max-hours belong to --until-decided; give that too, or --repeats.")
        return None
    if repeats is not None:
        raise UsageError("--until-decided finds the number of repeats itself; give --max-repeats and not --repeats.")
    if same_seed:
        raise UsageError("--same-seed repeats one run, which decides nothing about quality; leave out one of the two.")
    if specs < 2:  # noqa: PLR2004 - a decision takes two
        raise UsageError("--until-decided decides between specs; give at least two of them.")
    from fluxkit.compare.decision import LOOKS

    most = max_repeats or max(LOOKS)
    looks = (*(look for look in LOOKS if look < most), most)
    return UntilDecided(looks, look_at) if max_hours is None else UntilDecided(looks, look_at, 3600 * max_hours)


def look_at(results: Sequence[RunResult]) -> Look:
    """What the comparison of the results so far says about the study's questions."""
    from fluxkit.compare.compare import compare
    from fluxkit.text.answers import decided_sentence

    workloads = compare(results).workloads
    sentences = [decided_sentence(workload) for workload in workloads]
    if len(workloads) > 1:
        sentences = [f"Workload {place}: {sentence}" for place, sentence in enumerate(sentences, 1)]
    return Look(any(workload.undecided for workload in workloads), " ".join(sentences))
