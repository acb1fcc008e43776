"""Findings: when a number may be believed, and what is said when it may not."""

from __future__ import annotations

import builders
import pytest
from stand_in import PRECISION, Log, begin, grade, infer, mark, steps, tune, whole_run

from fluxkit.fold.fold import fold
from fluxkit.machine.readings import Reading
from fluxkit.record.result import RunResult
from fluxkit.trust.run_checks import CHECKS, find


@pytest.fixture
def folded(base, tmp_path):
    """Folds what a function writes."""

    def run(write, **changes):
        write(Log(tmp_path))
        return fold(tmp_path, base.model_copy(update=changes))

    return run


@pytest.fixture
def base(base):
    """Watched by a launcher, as every run is."""
    return RunResult.model_validate(
        {**base.model_dump(mode="json", by_alias=True), "telemetry": [builders.telemetry({"tune": 30.0})]}
    )


def found(result):
    return {(check.id, check.subject): check.grade for check in result.checks}


def test_a_sound_run_has_no_doubts(folded, base):
    """A whole run on a quiet machine is graded A: only the allowed micro-batches are stated."""
    result = folded(lambda log: whole_run(log, base.spec.tune.model_dump()))
    assert found(result) == {("inference_micro_batches", "inference_speed"): "A"}


def test_every_finding_is_a_sentence(folded):
    """Evidence is a sentence with a full stop, about a known subject."""
    result = folded(lambda log: begin(log, clusters=1))
    assert result.checks
    for check in result.checks:
        assert check.evidence.endswith(".")
        assert check.subject in {"training_speed", "inference_speed", "quality", "run"}
    assert len({finder.__name__ for finder in CHECKS}) == len(CHECKS)


def test_missing_numbers_have_a_reason(folded):
    """Each number that is null is explained by a finding of grade X."""
    checks = found(folded(begin))
    for key in (
        ("training_speed_missing", "training_speed"),
        ("inference_speed_missing", "inference_speed"),
        ("time_mark_reached", "quality"),
    ):
        assert checks[key] == "X"


@pytest.mark.parametrize(("count", "expected"), [(5, "C"), (30, "B")])
def test_a_cut_iteration_protocol_is_said(folded, count, expected):
    """Fewer iterations than asked for are a remark, very few a doubt."""

    def write(log):
        begin(log)
        steps(log, 0, count)

    assert found(folded(write))["iteration_coverage", "training_speed"] == expected


def test_uneven_steps_are_said(folded):
    """A long tail of step times is a finding."""

    def write(log):
        begin(log)
        steps(log, 0, 36)
        log.write("iterations", first=36, seconds=[5.0] * 4, losses=[0.5] * 4, total_seconds=38.0)

    assert found(folded(write))["iteration_spread", "training_speed"] == "C"


def test_a_loss_that_is_no_number_spoils_the_run(folded):
    """Diverged tuning is not to be used, neither its quality nor its speed."""

    def write(log):
        begin(log)
        log.write("iterations", first=0, seconds=[0.5], losses=[None], total_seconds=0.5)

    checks = found(folded(write))
    assert checks["losses_finite", "quality"] == checks["losses_finite", "training_speed"] == "X"


@pytest.mark.parametrize(("seconds", "expected"), [(9.9, None), (9.5, "B"), (8.0, "C"), (12.0, "C")])
def test_a_mark_off_its_target_is_said(folded, seconds, expected):
    """The state graded at the constant time must be that of the constant time, within two per cent."""

    def write(log):
        begin(log)
        mark(log, "seconds-10", 19, target=10.0, seconds=seconds)

    assert found(folded(write)).get(("time_mark_reached", "quality")) == expected


def test_an_interrupted_time_protocol_is_in_doubt(base, tmp_path):
    """Going on from a checkpoint inside the constant time is graded C; after it, it is not worth a word."""
    whole_run(Log(tmp_path), base.spec.tune.model_dump())
    log = Log(tmp_path, attempt=1)
    begin(log)
    log.write("resumed", iteration=10, seconds=5.0)
    tune(log, base.spec.tune.model_dump(), first=10)
    assert found(fold(tmp_path, base))["time_protocol_interrupted", "quality"] == "C"
    log = Log(tmp_path, attempt=1)
    begin(log)
    log.write("resumed", iteration=30, seconds=15.0)
    assert ("time_protocol_interrupted", "quality") not in found(fold(tmp_path, base))


def test_few_held_out_photographs_are_indicative(folded, base):
    """Fewer than eight independent held-out images are a remark."""
    result = folded(lambda log: whole_run(log, base.spec.tune.model_dump(), clusters=7))
    assert found(result)["held_out_clusters", "quality"] == "B"


def test_identical_images_are_counted(folded):
    """Images without a PSNR are named in a finding, because the mean is silent about them."""

    def write(log):
        begin(log)
        log.write("reconstruction", mark="untuned", pair="cat", seed=0, mse=0.0, psnr_db=None, ssim=1.0)

    assert found(folded(write))["identical_images", "quality"] == "B"


def test_few_inference_steps_are_said(folded):
    """Fewer than ten timed steps, and less than a whole batch, are remarks."""

    def write(log):
        begin(log)
        infer(log, count=3)

    checks = found(folded(write))
    assert checks["inference_steps", "inference_speed"] == "B"
    assert checks["inference_coverage", "inference_speed"] == "B"


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_what_the_model_really_computed_in_counts_and_not_what_was_asked(folded, base, dtype):
    """A block's output or autocast inside the model that is not of the precision asked spoils speed and quality."""

    def write(log):
        begin(log)
        log.write("tuning_setting", attention="math", precision=PRECISION | {"dtype": dtype, "autocast": "bfloat16"})
        tune(log, base.spec.tune.model_dump())

    result = folded(write)
    assert result.tuning.ranks[0].precision["autocast"] == "bfloat16"
    assert found(result)["tuning_precision", "training_speed"] == "X"
    assert found(result)["tuning_precision", "quality"] == "X"


def test_another_precision_than_asked_for_is_not_used(folded):
    """An FP32 row in which TF32 was in force is graded X, for tuning and for inference."""
    tf32 = PRECISION | {"cuda.matmul": "tf32"}

    def write(log):
        begin(log, precision=tf32)
        infer(log, precision=tf32)

    result = folded(write)
    assert found(result)["tuning_precision", "training_speed"] == "X"
    assert found(result)["inference_precision", "inference_speed"] == "X"
    assert any("cuda.matmul = tf32" in check.evidence for check in result.checks)


@pytest.mark.parametrize(("load", "order", "expected"), [(0.9, 0, None), (1.5, 0, "B"), (2.5, 0, "C"), (2.5, 1, None)])
def test_load_of_others_is_said(folded, base, load, order, expected):
    """A busy processor before the first run lowers the grade; later runs still see the load of the one before."""
    readings = base.system.before.readings | {"load_average_1_minute": Reading(value=load, source="test")}
    before = base.system.before.model_copy(update={"readings": readings})
    looks = base.system.model_copy(update={"before": before})
    assert found(folded(begin, system=looks, order=order)).get(("load_before", "training_speed")) == expected


def test_an_unscored_mark_is_said(folded, base):
    """A mark that was reached and not evaluated leaves no quality, and the result says why."""

    def write(log):
        begin(log)
        tune(log, base.spec.tune.model_dump())

    assert found(folded(write))["time_mark_scored", "quality"] == "X"
    assert ("time_mark_scored", "quality") not in found(folded(lambda log: both(log, base)))


def both(log, base):
    begin(log)
    tune(log, base.spec.tune.model_dump())
    grade(log, base.spec.tune.model_dump())


@pytest.mark.parametrize(
    ("loss", "expected"),
    [(0.9, {}), (2.5, {}), (4.0, {"quality": "C"}), (1e12, {"quality": "X", "training_speed": "X"})],
)
def test_tuning_that_diverges_is_found(loss, expected):
    """Losses that grow far beyond those of a model that says nothing are a finding, however finite they are."""
    run = builders.result()
    tuning = run.tuning.model_copy(update={"losses": (0.8, *[loss] * 39)})
    checks = find(run.model_copy(update={"tuning": tuning}))
    grades = {check.subject: check.grade for check in checks if check.id == "losses_grew"}
    assert grades == expected
