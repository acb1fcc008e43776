"""A clock that lies is found by another one."""

from pathlib import Path

import builders
import pytest

from fluxkit.compare.compare import compare
from fluxkit.record.run_folder import find_results
from fluxkit.trust.run_checks import find


def result(factor=1.0, seen_seconds=None):
    """A run of 60 s of tuning and 12 s of inference whose launcher saw `factor` times as much."""
    seconds = (0.3,) * 200
    seen = builders.telemetry({"tune": 60.0, "inference": 12.0}, factor)
    seen["wall_seconds"] = seen_seconds or seen["wall_seconds"]
    return builders.result(iteration_seconds=seconds, telemetry=[seen])


def clock_findings(run):
    """Grades of the findings about clocks."""
    return {(check.id, check.subject): check.grade for check in find(run) if check.id in CLOCK_IDS}


CLOCK_IDS = ("clocks_disagree", "steps_outlast_phase")


def test_clocks_that_agree_give_no_finding():
    """The launcher's samples add up to the engine's phases."""
    assert clock_findings(result()) == {}


@pytest.mark.parametrize("factor", [0.97, 1.03])
def test_a_second_or_two_is_no_lie(factor):
    """The launcher sees phases begin and end late; what is less than three seconds apart is no finding."""
    assert clock_findings(result(factor)) == {}


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_clock_that_lies_by_a_tenth_is_found(factor):
    """Over a minute of tuning, a tenth is found; over 12 s of inference it is too little to tell."""
    found = clock_findings(result(factor))
    assert found == {("clocks_disagree", "training_speed"): "X", ("clocks_disagree", "quality"): "X"}


@pytest.mark.parametrize("study", ["laptop", "schnell-laptop"])
def test_no_committed_result_has_a_lying_clock(study):
    """Machines that were really measured, busy ones among them, pass."""
    results = find_results([Path(__file__).parents[2] / "reports" / study / "results"])
    assert results
    assert [clock_findings(run) for _, run in results] == [{}] * len(results)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_clock_that_runs_at_another_rate_is_found(factor):
    """A clock that is twice too slow or too fast is found, and none of its speeds is used."""
    found = clock_findings(result(factor))
    assert set(found.values()) == {"X"}
    assert {subject for _, subject in found} == {"training_speed", "quality", "inference_speed"}


def test_a_sampler_that_a_busy_machine_delays_is_no_liar():
    """Samples that come late stand for more seconds each; the phases still add up."""
    assert clock_findings(result(0.5, seen_seconds=72.0)) == {}


def test_steps_can_not_outlast_their_phase():
    """More seconds of steps than the phase had are not possible."""
    run = result()
    phases = tuple(
        phase.model_copy(update={"seconds": 30.0}) if phase.name == "tune" else phase for phase in run.phases
    )
    found = clock_findings(run.model_copy(update={"phases": phases, "telemetry": ()}))
    assert found == {("steps_outlast_phase", "training_speed"): "X", ("steps_outlast_phase", "quality"): "X"}


def test_what_a_lying_clock_made_is_not_to_be_used():
    """Tuning time, whole run, phases and costs are made by the clock of the speeds, and graded X with it."""
    of = builders.spec(hardware={"label": "GPU", "usd_per_hour": 3.6})
    seen = builders.telemetry({"tune": 60.0, "inference": 12.0}, factor=2.0)
    run = builders.result(of=of, iteration_seconds=(0.3,) * 200, telemetry=[seen])
    (row,) = compare([run]).workloads[0].rows
    made = {name: row.metrics[name].grade for name in ("tuning_seconds", "total_seconds", "psnr_db")}
    made |= {name: cost.grade for name, cost in row.costs.items()} | {name: row.phases[name].grade for name in PHASES}
    assert made == dict.fromkeys(made, "X")
    assert row.metrics["peak_memory_bytes"].grade == "A"


PHASES = ("tune", "inference")
