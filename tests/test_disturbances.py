"""Findings about what else went on while a run was measured."""

from __future__ import annotations

import pytest
from stand_in import Log, whole_run

from fluxkit.fold import fold
from fluxkit.system import Reading
from fluxkit.witness import PhaseTelemetry, Telemetry


@pytest.fixture
def found(base, tmp_path):
    """Grades of a whole run with such telemetry and such readings before and after, by id and subject."""

    def run(*phases, before=None, after=None, device="cpu"):
        whole_run(Log(tmp_path), base.spec.tune.model_dump())
        looks = {"before": look(base, before or {}), "after": look(base, after or {})}
        seen = Telemetry(
            attempt=0,
            interval_seconds=0.5,
            samples=9,
            sampler_cpu_seconds=0.0,
            wall_seconds=9.0,
            series={},
            phases=phases,
        )
        result = base.model_copy(
            update={
                "telemetry": (seen,),
                "system": base.system.model_copy(update=looks),
                "plan": base.plan.model_copy(update={"device": device}),
            }
        )
        return {(check.id, check.subject): check.grade for check in fold(tmp_path, result).checks}

    return run


def look(base, values):
    readings = {name: Reading(value=value, source="test") for name, value in values.items()}
    before = base.system.before
    return before.model_copy(update={"readings": before.readings | readings})


def phase(name="tune", **facts):
    known = {"engine_cores": 1.0, "foreign_cores": 0.0, "stolen_cores": 0.0, "logical_cores": 2}
    return PhaseTelemetry(phase=name, samples=9, **(known | facts))


@pytest.mark.parametrize(
    ("cores", "device", "grade"), [(0.05, "cpu", None), (0.2, "cpu", "B"), (0.8, "cpu", "C"), (0.8, "cuda", "B")]
)
def test_foreign_load_lowers_the_grade(found, cores, device, grade):
    """More than 5 % of the cores at work for others is a remark, more than 25 % a doubt about a CPU's speed."""
    checks = found(phase(foreign_cores=cores), device=device)
    assert checks.get(("foreign_load", "training_speed")) == grade
    assert ("foreign_load", "inference_speed") not in checks


def test_a_load_that_is_not_known_is_no_finding(found):
    """Where the kernel did not say who was busy, nothing is claimed."""
    assert ("foreign_load", "training_speed") not in found(phase(foreign_cores=None))


@pytest.mark.parametrize(("cores", "grade"), [(0.01, None), (0.1, "B"), (0.5, "C")])
def test_stolen_time_lowers_the_grade(found, cores, grade):
    """Time that the hypervisor gave away is a remark above 1 % and a doubt above 10 %."""
    assert found(phase("inference", stolen_cores=cores)).get(("stolen_time", "inference_speed")) == grade


def test_a_throttled_gpu_is_not_used(found):
    """Heat and power supply lower a GPU's clocks, and the speed that was measured then is no evidence."""
    checks = found(phase(throttle_reasons=("hardware thermal slowdown",)), device="cuda")
    assert checks["gpu_throttled", "training_speed"] == "X"


@pytest.mark.parametrize(("before", "after", "grade"), [(3, 3, None), (3, 5, "C")])
def test_thermal_throttling_of_a_cpu_is_a_doubt(found, before, after, grade):
    """A count that rose during the run says that the sustained speed was measured."""
    name = "cpu_thermal_throttle_count"
    assert found(before={name: before}, after={name: after}).get(("cpu_throttled", "training_speed")) == grade


@pytest.mark.parametrize(("seconds", "grade"), [(0.1, "C"), (30.0, "X"), (None, "X")])
def test_a_quota_that_stopped_the_run_is_found(found, seconds, grade):
    """A CPU quota that bit for more than 1 % of the run is what was measured."""
    before = {"cgroup_throttled_count": 1} | ({} if seconds is None else {"cgroup_throttled_seconds": 1.0})
    after = {"cgroup_throttled_count": 9} | ({} if seconds is None else {"cgroup_throttled_seconds": 1.0 + seconds})
    assert found(before=before, after=after)["quota_throttled", "inference_speed"] == grade
    assert ("quota_throttled", "inference_speed") not in found(before=before, after=after, device="cuda")


def test_swapping_is_a_doubt(found):
    """Memory that went to disk during the run slows it down."""
    checks = found(before={"swap_out_bytes": 0}, after={"swap_out_bytes": 10**9})
    assert checks["swapped", "training_speed"] == "C"


def test_a_battery_is_a_doubt(found):
    """A laptop on its battery clocks differently."""
    assert found(after={"power_source": "battery"})["on_battery", "training_speed"] == "C"
