"""Agreement certificates of a row's runs -> the worst of each precision, and whether all of them are inside."""

from collections.abc import Iterable, Sequence

from fluxkit.record.agreement_facts import AgreementFacts, departures_of
from fluxkit.record.result import RunResult
from fluxkit.spec.execution import InferencePrecision
from fluxkit.trust.estimate import Certificate


def agreement_passed(result: RunResult) -> bool | None:
    """Whether every certificate of a run, of all its ranks and precisions, is inside its band; None: it has none."""
    return not any(departures_of(probe) for probe in result.agreement) if result.agreement else None


def agreement_of(results: Sequence[RunResult]) -> bool | None:
    """Whether the certificates of all runs are inside their bands; None where a run has none and none failed."""
    passed = [agreement_passed(result) for result in results]
    if False in passed:
        return False
    return None if None in passed or not passed else True


def certificates(results: Sequence[RunResult]) -> tuple[Certificate, ...]:
    """The worst that any run or rank said in each precision."""
    by_precision: dict[InferencePrecision, list[AgreementFacts]] = {}
    for result in results:
        for probe in result.agreement or ():
            by_precision.setdefault(probe.precision, []).append(probe)
    return tuple(_certificate(precision, probes) for precision, probes in sorted(by_precision.items()))


def _certificate(precision: InferencePrecision, probes: Sequence[AgreementFacts]) -> Certificate:
    departures = tuple(dict.fromkeys(word for probe in probes for word in departures_of(probe)))
    psnrs = [probe.latents_psnr_db for probe in probes]
    return Certificate(
        precision=precision,
        probes=len(probes),
        passed=not departures,
        relative_l2=_largest(probe.relative_l2 for probe in probes),
        largest_error=_largest(probe.largest_error for probe in probes),
        loss_error=_largest(error for probe in probes for error in probe.loss_errors),
        latents_psnr_db=None if None in psnrs else min((value for value in psnrs if value is not None), default=None),
        departures=departures,
    )


def _largest(values: Iterable[float | None]) -> float | None:
    """The largest; None where one of them is not a finite number, which is worse than any."""
    numbers = list(values)
    return None if None in numbers else max((value for value in numbers if value is not None), default=None)
