"""What was achieved against what the machine can do: canaries, published peaks, and the plan."""

from __future__ import annotations

import pytest
from stand_in import Log, begin, canary, infer, steps, tune, whole_run

from fluxkit.fold.fold import fold
from fluxkit.record.result import RunResult
from fluxkit.trust.ceilings import moments

A100 = "NVIDIA A100-SXM4-80GB"


@pytest.fixture
def folded(base, tmp_path):
    """Folds what a function writes."""

    def run(write, **changes):
        write(Log(tmp_path))
        return fold(tmp_path, base.model_copy(update=changes))

    return run


@pytest.fixture
def on_a_gpu(base):
    """The changes that make a result one of an A100."""
    execution = base.spec.execution.model_copy(update={"device": "cuda"})
    return {
        "spec": base.spec.model_copy(update={"execution": execution}),
        "plan": base.plan.model_copy(update={"device": "cuda", "device_names": (A100,)}),
    }


def found(result):
    return {(check.id, check.subject): check.grade for check in result.checks}


def on_device(log, name=A100):
    log.write("started", rank=0, device_name=name, threads=1, precision={"dtype": "float32"}, versions={})


def test_shares_are_of_the_machines_own_rate(folded, base):
    """Achieved FLOP/s are plan x rate; the denominator is the fastest canary of the same precision."""
    result = folded(lambda log: whole_run(log, base.spec.tune.model_dump()))
    assert result.summary.training_flops_share == pytest.approx(2.0 * 2400 / 1e4)
    assert result.summary.inference_flops_share == pytest.approx(64 * 100 / 1e4)
    assert [(each.phase, each.when) for each in result.canary] == [
        ("tune", "before"), ("tune", "after"), ("inference", "before"), ("inference", "after"),
    ]  # fmt: skip


def test_without_a_canary_there_is_no_share_and_a_reason(folded):
    """A missing share is null, and a finding says why."""

    def write(log):
        begin(log)
        steps(log, 0, 40)

    result = folded(write)
    assert result.summary.training_flops_share is None
    assert found(result)["ceiling_unknown", "training_speed"] == "B"


@pytest.mark.parametrize(("precision", "share"), [("ieee_float32", 0.64), ("bfloat16", 1.28)])
def test_a_disturbed_canary_does_not_make_a_lie_of_an_honest_speed(folded, precision, share):
    """Where both canaries of a phase were slowed down, the run's others in the same precision are its ceiling."""

    def write(log):
        begin(log)
        for when in ("before", "after"):
            canary(log, "tune", when, precision=precision)
        infer(log, flops=5e3)

    result = folded(write)
    assert result.summary.inference_flops_share == pytest.approx(share)
    assert (("over_the_ceiling", "inference_speed") in found(result)) == (share > 1)


def test_a_clock_that_lies_is_found(folded):
    """Steps said to be a hundred times shorter than they are exceed what the machine can do, and are not used."""

    def write(log):
        begin(log)
        canary(log, "tune", "before")
        steps(log, 0, 40, seconds=0.005)
        canary(log, "tune", "after")
        infer(log, seconds=0.0025)

    checks = found(folded(write))
    assert checks["over_the_ceiling", "training_speed"] == "X"
    assert checks["over_the_ceiling", "inference_speed"] == "X"


def test_a_broken_precision_claim_says_so(folded, base):
    """The sentence names both explanations, because either breaks the number."""
    result = folded(lambda log: whole_run(log, base.spec.tune.model_dump()), plan=base.plan.model_copy(
        update={"forward_flops_per_sample": 1000}
    ))  # fmt: skip
    evidence = next(check.evidence for check in result.checks if check.id == "over_the_ceiling")
    assert "a claim of precision is broken, or a clock lies" in evidence


def test_tf32_posing_as_fp32_is_found_by_its_rate(folded, on_a_gpu):
    """An A100 that multiplies float32 matrices at 140 TFLOP/s is not doing IEEE arithmetic, whatever it reads back."""

    def write(log):
        on_device(log)
        canary(log, "inference", "before", flops=140e12, error=None)

    assert found(folded(write, **on_a_gpu))["canary_against_peak", "inference_speed"] == "X"


def test_tf32_posing_as_fp32_is_found_by_its_error(folded):
    """On a device nobody knows, the size of the rounding error tells TF32 from IEEE float32."""

    def write(log):
        on_device(log, "Unheard-of GPU")
        canary(log, "tune", "before", error=3e-4)

    assert found(folded(write))["canary_precision", "training_speed"] == "X"


@pytest.mark.parametrize(
    ("name", "flops", "grade"),
    [(A100, 18e12, None), (A100, 5e12, "B"), ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", 2e12, None), ("Other", 1e12, None)],
)
def test_a_canary_is_held_against_the_published_peak(folded, on_a_gpu, name, flops, grade):
    """Less than half of the peak is a remark; slices and unknown devices have no peak."""

    def write(log):
        on_device(log, name)
        canary(log, "tune", "before", flops=flops)

    assert found(folded(write, **on_a_gpu)).get(("canary_against_peak", "training_speed")) == grade


@pytest.mark.parametrize(
    ("change", "device", "grade"),
    [(1.03, "cpu", None), (0.9, "cpu", "C"), (1.01, "cuda", None), (0.97, "cuda", "C")],
)
def test_a_canary_that_moved_puts_the_phase_in_doubt(folded, base, on_a_gpu, change, device, grade):
    """More than 2 % on a GPU or 5 % on a CPU between before and after is graded C, and only that phase."""

    def write(log):
        begin(log)
        tune(log, base.spec.tune.model_dump())
        canary(log, "inference", "before")
        canary(log, "inference", "after", flops=change * 1e4)

    checks = found(folded(write, **(on_a_gpu if device == "cuda" else {})))
    assert checks.get(("canary_moved", "inference_speed")) == grade
    assert ("canary_moved", "training_speed") not in checks


def test_ranks_measure_together(base, tmp_path):
    """The rates of all ranks at one moment add up; a moment that a rank misses does not count."""
    two = base.model_copy(update={"plan": base.plan.model_copy(update={"processes": 2})})
    for rank in (0, 1):
        log = Log(tmp_path, rank=rank)
        begin(log, rank=rank)
        canary(log, "tune", "before", flops=10.0)
        if rank:
            canary(log, "tune", "after", flops=10.0)
    seen = moments(fold(tmp_path, two), "tune")
    assert [(moment.when, moment.matmul_flops_per_second) for moment in seen] == [("before", 20.0)]


def test_the_prediction_is_held_against_the_measurement(folded, base):
    """Predicted over measured: seconds of the iterations, and peak memory; null where nothing was predicted."""
    plan = base.plan.model_copy(update={"predicted_seconds": 10.0, "predicted_peak_bytes": 500_000})
    result = folded(lambda log: whole_run(log, base.spec.tune.model_dump()), plan=plan)
    assert result.predicted_over_measured.seconds == pytest.approx(10.0 / 20.0)
    assert result.predicted_over_measured.peak_memory == pytest.approx(0.5)
    without = folded(lambda log: whole_run(log, base.spec.tune.model_dump()))
    assert set(without.predicted_over_measured.model_dump().values()) == {None}


def test_a_result_from_before_canaries_still_reads(folded, base):
    """Fields that came later have defaults."""
    result = folded(lambda log: whole_run(log, base.spec.tune.model_dump()))
    values = result.model_dump(mode="json", by_alias=True)
    for name in ("canary", "telemetry", "energy", "predicted_over_measured"):
        values.pop(name)
    for name in ("training_flops_share", "inference_flops_share", "energy_joules"):
        values["summary"].pop(name)
    for name in ("predicted_peak_bytes", "predicted_seconds"):
        values["plan"].pop(name)
    assert RunResult.model_validate(values).canary == ()


@pytest.mark.parametrize(("issue", "grade"), [(0.0995, "C"), (0.05, None)])
def test_a_gpu_that_waits_for_its_host_shows_the_hosts_speed(folded, on_a_gpu, issue, grade):
    """From the events to the grade: a pass that the host has hardly issued before it is done is the host's speed."""

    def write(log):
        on_device(log)
        log.write("tuning_setting", attention="flash", host={"issue_seconds": issue, "device_seconds": 0.1})
        steps(log, 0, 40)
        infer(log, 64, 12, 0.1)
        log.write("inference_steps", seconds=[0.1] * 200, issue_seconds=[issue] * 200)

    result = folded(write, **on_a_gpu)
    assert result.tuning.host.issue_seconds == issue
    assert result.inference.host.device_seconds == 0.1
    grades = found(result)
    assert (grades.get(("host_bound", "training_speed")), grades.get(("host_bound", "inference_speed"))) == (grade,) * 2
    told = [check.evidence for check in result.checks if check.id == "host_bound"]
    assert all(sentence.endswith("this is the speed of the host, not of the GPU.") for sentence in told)
