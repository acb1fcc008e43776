"""Findings about what else went on while a run was measured."""

from __future__ import annotations

import pytest
from stand_in import Log, whole_run

from fluxkit.fold.fold import fold
from fluxkit.machine.readings import Reading
from fluxkit.record.result import PhaseTelemetry, Telemetry
from fluxkit.trust import disturbances


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


def test_a_charger_that_was_out_for_a_while_is_a_doubt_about_that_phase(found):
    """A laptop that began and ended on mains, and was unplugged during tuning, has a doubtful training speed alone."""
    mains = {"power_source": "mains"}
    checks = found(phase(battery_share=0.25), phase("inference", battery_share=0.0), before=mains, after=mains)
    assert [check for check in checks if check[0] == "on_battery"] == [("on_battery", "training_speed")]
    assert checks["on_battery", "training_speed"] == "C"


def test_a_sleep_between_the_attempts_of_a_run_is_no_part_of_it(base):
    """A laptop that slept after a run was stopped, and before it was continued, measured awake."""
    looks = {"before": look(base, {"suspended_seconds": 0.0}), "after": look(base, {"suspended_seconds": 9e4})}
    attempts = [
        Telemetry(
            attempt=attempt, interval_seconds=0.5, samples=9, sampler_cpu_seconds=0.0, wall_seconds=9.0, series={},
            phases=(phase(suspended_seconds=0.0),),
        )
        for attempt in range(2)
    ]  # fmt: skip
    system = base.system.model_copy(update=looks)
    found_in = [
        list(disturbances.suspended(base.model_copy(update={"system": system, "telemetry": tuple(attempts[:count])})))
        for count in (1, 2)
    ]
    assert [len(findings) for findings in found_in] == [2, 0]


def test_a_sleep_inside_a_phase_is_a_doubt_about_that_phase(found):
    """What was timed while the machine slept is doubtful, and what was not is said nothing of."""
    checks = found(
        phase(suspended_seconds=0.0), phase("inference", suspended_seconds=900.0),
        before={"suspended_seconds": 0.0}, after={"suspended_seconds": 900.0},
    )  # fmt: skip
    assert {name: grade for name, grade in checks.items() if name[0] == "suspended"} == {
        ("suspended", "inference_speed"): "C"
    }


def test_a_sleep_in_mid_run_is_a_doubt(found):
    """A machine that was suspended while the run went on began again cold; one that slept before did not."""
    checks = found(before={"suspended_seconds": 5000.0}, after={"suspended_seconds": 5900.0})
    assert checks["suspended", "training_speed"] == checks["suspended", "inference_speed"] == "C"
    awake = found(before={"suspended_seconds": 5000.0}, after={"suspended_seconds": 5000.01})
    assert not [name for name, _ in awake if name == "suspended"]


@pytest.mark.parametrize(
    ("readings", "grade"),
    [
        ({"gpu_0_foreign_processes": 0, "gpu_0_utilisation_percent": 3, "gpu_0_memory_used_bytes": 10**8}, None),
        ({"gpu_0_foreign_processes": 2}, "C"),
        ({"gpu_0_utilisation_percent": 80}, "C"),
        ({"gpu_0_memory_used_bytes": 5 * 10**9}, "C"),
        ({"gpu_1_foreign_processes": 2}, None),
        (
            {
                "gpu_0_foreign_processes": 0,
                "gpu_0_screen_processes": 9,
                "gpu_0_screen_memory_bytes": 2 * 10**9,
                "gpu_0_memory_used_bytes": 25 * 10**8,
            },
            None,
        ),
        ({"gpu_0_screen_memory_bytes": 10**9, "gpu_0_memory_used_bytes": 3 * 10**9}, "C"),
    ],
)
def test_a_gpu_that_somebody_uses_is_a_doubt(found, readings, grade):
    """Somebody on the run's GPU before it began puts its speeds in doubt; somebody on another one does not."""
    seen = found(before=readings, device="cuda")
    assert {seen.get(("gpu_in_use", subject)) for subject in ("training_speed", "inference_speed")} == {grade}


@pytest.mark.parametrize(("watts", "lanes", "grade"), [(300.0, 16, None), (200.0, 16, "B"), (300.0, 8, "B")])
def test_a_gpu_held_below_its_own_is_remarked(found, watts, lanes, grade):
    """A lower power limit, or fewer lanes than the card can use, is another configuration of it."""
    readings = {"gpu_0_power_limit_watts": watts, "gpu_0_power_limit_default_watts": 300.0}
    readings |= {"gpu_0_pcie_width": lanes, "gpu_0_pcie_width_max": 16}
    assert found(before=readings, device="cuda").get(("gpu_held_back", "training_speed")) == grade


@pytest.mark.parametrize(("after", "grade"), [(3, None), (4, "X")])
def test_memory_that_went_wrong_during_the_run_spoils_it(found, after, grade):
    """Memory errors that were there before are old news; new ones put every number in question."""
    name = "gpu_0_ecc_errors_uncorrected"
    seen = found(before={name: 3}, after={name: after}, device="cuda")
    assert {seen.get(("gpu_memory_errors", subject)) for subject in ("training_speed", "quality")} == {grade}
