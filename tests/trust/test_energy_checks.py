"""`fluxkit.trust.energy_checks`: what is said about energy."""

import builders
import pytest

from fluxkit.record.result import RunResult
from fluxkit.trust.run_checks import find


def findings(energy, foreign_cores=0.0, *, gpu=False):
    """Grades of the findings about the energy of a run beside which others kept cores busy."""
    phase = {"phase": "tune", "samples": 100, "engine_cores": 2.0, "foreign_cores": foreign_cores}
    phase |= {"stolen_cores": 0.0, "logical_cores": 8}
    seen = {"attempt": 0, "interval_seconds": 0.5, "samples": 100, "sampler_cpu_seconds": 0.1, "wall_seconds": 50.0}
    run = builders.result(gpu=gpu, energy=energy, telemetry=[{**seen, "series": {}, "phases": [phase]}])
    return {check.id: check.grade for check in find(run) if check.subject == "energy"}


def test_counted_energy_needs_no_remark():
    """Energy from the devices' own counter, with nobody else on them, is sound."""
    assert findings(builders.energy()) == {}


def test_energy_that_is_not_known_says_why():
    """A run without energy says why; that is no fault of its other numbers."""
    assert findings({"class": "unavailable", "reason": "too short: 20 s; 60 s are wanted"}) == {"energy_unknown": "A"}


def test_estimated_energy_is_remarked():
    """Sampled power times time is an estimate."""
    assert findings(builders.energy(**{"class": "estimated"})) == {"energy_estimated": "B"}


@pytest.mark.parametrize(
    ("cores", "expected"), [(0.1, {}), (1.0, {"energy_shared": "B"}), (4.0, {"energy_shared": "C"})]
)
def test_a_processors_counter_counts_others_too(cores, expected):
    """What others did on the same processor is in its counter; a GPU's counter does not see them."""
    assert findings(builders.energy(), cores) == expected
    assert findings(builders.energy(), cores, gpu=True) == {}


def test_a_result_from_before_metering_still_reads():
    """A result without any energy gives no finding about it."""
    assert findings(None) == {}
    assert isinstance(builders.result(), RunResult)
