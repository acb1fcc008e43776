"""What stands side by side is a mean over the same photos and runs; what diverged or got worse wins nothing."""

import math

import builders
import pytest

from fluxkit.charts.pareto import tradeoffs
from fluxkit.charts.summary_charts import curve
from fluxkit.compare.compare import compare
from fluxkit.compare.cost import energy_use
from fluxkit.compare.ranking import ranked, standing
from fluxkit.fold.fold import summarise
from fluxkit.record.metrics import BY_KEY
from fluxkit.record.result import RunResult
from fluxkit.text.answers import answers
from fluxkit.text.csv_export import as_csv
from fluxkit.text.text_table import render

BF16 = {"execution": {"precision": "bfloat16"}}


def changed(run, **tables):
    """The run with some keys of its tables replaced, and its summary derived again."""
    values = run.model_dump(mode="json", by_alias=True)
    for table, content in tables.items():
        values[table] = {**values[table], **content}
    made = RunResult.model_validate(values)
    return made.model_copy(update={"summary": summarise(made)})


def scores(run, protocol, edit):
    """The run with those scores of a protocol replaced that `edit` gives new keys."""
    made = [{**score, **(edit(score) or {})} for score in run.model_dump(mode="json")["quality"][protocol]]
    return changed(run, quality={protocol: made})


def three(make, **spec):
    return [make(builders.result(of=builders.spec(**spec), repeat=repeat)) for repeat in range(3)]


def unchanged(run):
    return run


def only(results):
    (workload,) = compare(results).workloads
    return workload


def answer(workload, quantity):
    (found,) = [each for each in answers(workload) if each.quantity == quantity]
    return found


def test_reference_lines_are_of_the_photos_that_the_curves_are_of():
    """Autoencoder and flat colour are means over the tuned photos alone, whatever they scored on held-out ones."""
    anchors = {anchor.name: anchor for anchor in only(three(unchanged)).anchors}
    assert anchors["flat_colour"].psnr_db.mean == pytest.approx(12.65)
    assert anchors["flat_colour"].ssim.mean == pytest.approx(0.31)
    assert anchors["autoencoder_reconstruction"].psnr_db.mean == pytest.approx(31.15)
    assert anchors["autoencoder_reconstruction"].ssim.mean == pytest.approx(0.93)


def test_an_anchor_that_equals_a_photo_says_what_is_left_out():
    """A photo of one colour has no PSNR against its mean colour, and the mean says that it is without it."""

    def flat(run):
        anchors = run.model_dump(mode="json")["quality"]["anchors"]
        equal = {"mse": 0.0, "psnr_db": None, "ssim": 1.0}
        made = [{**score, **(equal if score["pair"] == "photo-3" else {})} for score in anchors]
        return changed(run, quality={"anchors": made})

    anchors = {anchor.name: anchor for anchor in only(three(flat)).anchors}
    assert anchors["flat_colour"].psnr_db.mean == pytest.approx(12.6)
    assert anchors["flat_colour"].psnr_db.reason == "1 photo that it equals exactly left out"


def test_a_mark_that_one_run_lacks_has_no_mean_of_the_others():
    """A curve is made of the same runs at every mark: where one lacks a mark, there is the reason instead."""
    runs = three(unchanged)
    kept = [score for score in runs[1].quality.reconstruction if score.mark != "seconds-30"]
    runs[1] = changed(runs[1], quality={"reconstruction": [score.model_dump() for score in kept]})
    points = {point.mark: point for point in only(runs).rows[0].curve}
    assert (points["seconds-30"].psnr_db.mean, points["seconds-30"].psnr_db.reason) == (None, "2 of 3 runs have it")
    assert len(points["seconds-60"].psnr_db.values) == len(points["seconds-30"].validation_loss.values) == 3
    note = curve(only(runs), "k", "psnr_db", "seconds").note
    assert note == "“Laptop CPU” has no point at 30 s (2 of 3 runs have it)."


def test_the_phases_of_runs_add_up_to_their_total():
    """A phase that one of three runs went through counts with a third of its seconds, so the stack is the mean run."""
    runs = three(unchanged)
    more = [*(phase.model_dump() for phase in runs[0].phases), {"name": "repair", "attempt": 0, "seconds": 30.0}]
    runs[0] = builders.result(phases=more)
    row = only(runs).rows[0]
    assert row.phases["repair"].mean == pytest.approx(10.0)
    total = math.fsum(phase.seconds for run in runs for phase in run.phases) / 3
    assert math.fsum(phase.mean for phase in row.phases.values()) == pytest.approx(total)


def test_net_energy_of_some_runs_stands_beside_no_gross_energy_of_all():
    """Where the idle power of one run is not known, there is no net mean over the others."""
    idle = {**builders.energy(), "joules_net": None, "idle_watts": None}
    runs = [builders.result(repeat=n, energy=builders.energy() if n else idle) for n in range(3)]
    use = energy_use(runs, None)
    assert len(use.gross_joules["run"].values) == 3
    assert (use.net_joules["run"].mean, use.idle_watts.mean) == (None, None)
    assert use.net_joules["run"].reason == "2 of 3 metered runs have it"


def test_the_target_is_between_two_scores_of_one_row():
    """Nine tenths of the way from the lowest row's own untuned score to its tuned one, not from a mean over rows."""

    def worse(run):
        edit = {"untuned": 5.0, "seconds-60": 15.0}
        return scores(run, "reconstruction", lambda score: {"psnr_db": edit.get(score["mark"], score["psnr_db"])})

    found = only([*three(unchanged), *three(worse, **BF16)]).target
    assert found.psnr_db == pytest.approx(14.0)


def test_what_rests_on_a_speed_in_doubt_is_in_doubt():
    """How much was done in equal time depends on the speed, so its grade carries to all that was made with it."""
    doubt = {"id": "load", "subject": "training_speed", "grade": "C", "evidence": "Others worked."}
    price = {"hardware": {"label": "L", "usd_per_hour": 1.0}}
    runs = [
        builders.result(of=builders.spec(**price, **more), repeat=n, checks=[doubt])
        for n in range(3)
        for more in ({}, BF16)
    ]
    workload = only(runs)
    row = workload.rows[0]
    timed = ("psnr_db", "ssim", "validation_loss", "validation_psnr_db", "validation_ssim", "training_flops_share")
    costs = ("usd_per_1000_iterations", "usd_per_adapter", "usd_per_db")
    assert {row.estimate(key).grade for key in (*timed, *costs)} == {"C"}
    untimed = ("psnr_db_untuned", "psnr_db_at_iterations", "ssim_at_iterations", "usd_per_1000_images")
    assert {row.estimate(key).grade for key in untimed} == {"A"}
    assert row.time_to_target.grade == workload.target.grade == "C"
    grades = {point.mark: point.psnr_db.grade for point in row.curve}
    assert grades.pop("untuned") == grades.pop("iterations-200") == "A"
    assert set(grades.values()) == {"C"}
    assert {each.quantity: each.grade for each in workload.contrasts}["psnr_db"] == "C"
    assert {line[-1] for line in tradeoffs(workload, "k").cost.table} == {"C"}
    assert answer(workload, "psnr_db").grade == "C"


def test_an_answer_is_no_better_than_the_worst_of_what_it_compares():
    """A leader of grade A against a rival of grade C makes an answer of grade C."""
    doubt = {"id": "load", "subject": "training_speed", "grade": "C", "evidence": "Others worked."}
    slow = [builders.result(of=builders.spec(**BF16), repeat=n, iteration_seconds=(0.2,) * 220) for n in range(3)]
    slow = [run.model_copy(update={"checks": (*run.checks, type(run.checks[0])(**doubt))}) for run in slow]
    found = answer(only([*three(unchanged), *slow]), "training_speed")
    assert (found.state, found.grade) == ("decided", "C")
    assert "n = 3, grade A" in found.detail


def overflowed(run):
    """One held-out loss at the end is beyond all numbers; the others are lower than anybody's."""
    if run.repeat == 1:
        return scores(run, "validation", _overflow)
    return scores(run, "validation", lambda _: {"loss": 0.01})


def _overflow(score):
    lost = score["mark"] == "seconds-60" and score["pair"] == "held-0"
    return {"loss": None if lost else 0.01}


def blown_up(run):
    """A sample at the end is not a picture; the others are as good as the real photos."""
    return scores(run, "reconstruction", lambda score: _no_picture(score) if run.repeat == 1 else {"psnr_db": 40.0})


def _no_picture(score):
    lost = score["mark"] == "seconds-60" and score["pair"] == "photo-0"
    return {"mse": None, "psnr_db": None, "ssim": None, "image": None} if lost else {"psnr_db": 40.0}


@pytest.mark.parametrize(("make", "key"), [(overflowed, "validation_loss"), (blown_up, "psnr_db")])
def test_a_run_that_diverged_is_shown_as_diverged_and_wins_nothing(make, key):
    """A score that is not a finite number is no score to leave out: the configuration has no mean and leads nowhere."""
    results = [*three(make), *three(unchanged, **BF16)]
    comparison = compare(results)
    (workload,) = comparison.workloads
    diverged, sound = sorted(workload.rows, key=lambda row: row.precision != "FP32")
    words = "diverged: not a finite number in 1 of 3 runs"
    assert (diverged.estimate(key).mean, diverged.estimate(key).grade) == (None, "X")
    assert diverged.estimate(key).reason == words
    last = next(point for point in diverged.curve if point.mark == "seconds-60").score(key)
    assert (last.mean, last.reason) == (None, words)
    assert words in curve(workload, "k", key, "seconds").note
    assert [row.key for row in ranked(workload, BY_KEY[key])] == [sound.key]
    for metric in ("psnr_db", "ssim", "validation_loss", "validation_psnr_db"):
        assert standing(workload, diverged, metric) == ""
        for contrast in workload.contrasts:
            assert contrast.quantity != metric or contrast.verdict is None
    (contrast,) = [each for each in workload.contrasts if each.quantity == key]
    assert (contrast.value, contrast.interval) == (None, None)
    assert contrast.reason == f"diverged: “{diverged.name}”"
    assert f"“{diverged.name}”, {words}" in answer(workload, key).sentence
    assert any(f"“{diverged.name}” diverged in 1 of 3 runs" in warning for warning in comparison.warnings)
    assert words in as_csv(comparison)
    assert words in render(comparison, "markdown")
    assert standing(workload, sound, "training_iterations_per_second") == ""
    chosen = tradeoffs(workload, "k").sentence
    assert diverged.name not in chosen.partition("After 60 s")[2].partition("Shorter")[0] or key != "psnr_db"


def test_a_sample_that_equals_its_photo_has_not_diverged():
    """No PSNR and no error: that is the same picture, which only its count is told of."""
    same = {"mse": 0.0, "psnr_db": None, "ssim": 1.0}
    edit = lambda score: same if score["pair"] == "photo-0" else None  # noqa: E731
    (row,) = only(three(lambda run: scores(run, "reconstruction", edit))).rows
    assert row.estimate("psnr_db").mean is not None
    assert not [remark for remark in row.remarks if remark.id == "scores_finite"]


def overfitted(loss):
    """Held-out losses after tuning; 2.75 before, and 1.5 a quarter through."""

    def edit(score):
        return {"loss": {"untuned": 2.75, "seconds-15": 1.5}.get(score["mark"], loss + 0.001 * score["sigma"])}

    return lambda run: scores(run, "validation", edit)


def test_tuning_that_made_every_score_worse_is_too_long():
    """Where all do worse on held-out photos than the untuned model, none leads, and the page says why, with numbers."""
    results = [*three(overfitted(4.99)), *three(overfitted(5.32), **BF16)]
    comparison = compare(results)
    (workload,) = comparison.workloads
    assert ranked(workload, BY_KEY["validation_loss"]) == []
    assert {standing(workload, row, "validation_loss") for row in workload.rows} == {""}
    found = answer(workload, "validation_loss")
    assert (found.state, found.verdict, found.row) == (
        "no gain",
        "Both end worse than the untuned model: 60 s is too long for 4 photos",
        None,
    )
    assert found.sentence == (
        "Both end worse than the untuned model: 60 s is too long for 4 photos (held-out loss is 4.99 to 5.32, 2.75 "
        "untuned; it was best, 1.5, after 15 s)."
    )
    assert any(warning.startswith(f"{found.verdict}. Held-out loss is 4.99 to") for warning in comparison.warnings)
    assert found.verdict in render(comparison, "table", 1000)
    (contrast,) = [each for each in workload.contrasts if each.quantity == "validation_loss"]
    assert (contrast.verdict, contrast.reason) == (
        None,
        "worse than the untuned model: “Laptop CPU (FP32)” and “Laptop CPU (bfloat16)”",
    )


def test_who_got_worse_is_not_ranked_among_those_who_did_not():
    """One that gained is ranked alone; the other stands beside it with its number and the untuned one."""
    workload = only([*three(overfitted(2.0)), *three(overfitted(5.32), **BF16)])
    (row,) = ranked(workload, BY_KEY["validation_loss"])
    assert row.precision == "FP32"
    found = answer(workload, "validation_loss")
    assert "in no order: “Laptop CPU (bfloat16)” 5.32, worse than the untuned model's 2.75" in found.sentence


def test_a_score_without_a_question_is_not_ranked_either():
    """The star of the one-step PSNR on held-out photos is nobody's where all were better before tuning."""
    runs = [
        builders.result(of=builders.spec(**more), repeat=n, psnr_gain=gain)
        for n in range(3)
        for more, gain in (({}, -1.0), (BF16, -3.0))
    ]
    older = [run.model_copy(update={"summary": _without_later_fields(run.summary)}) for run in runs]
    for results in (runs, older):
        workload = only(results)
        assert workload.rows[0].estimate("validation_psnr_db_untuned").mean == pytest.approx(15.0)
        for key in ("validation_psnr_db", "psnr_db", "ssim", "psnr_db_at_iterations"):
            assert {standing(workload, row, key) for row in workload.rows} == {""}
        assert answer(workload, "psnr_db").verdict == "Both end worse than the untuned model after 60 s"
        assert "After no given time" in tradeoffs(workload, "k").sentence


def _without_later_fields(summary):
    """A summary as a version wrote it that knew no untuned one-step scores."""
    later = {"validation_psnr_db_untuned", "validation_ssim_untuned"}
    return type(summary)(**summary.model_dump(exclude=later))


def test_the_untuned_model_is_one_value_in_each_precision():
    """However many runs there are, it has one score and no interval; another precision has its own."""

    def coarse(run):
        return scores(run, "reconstruction", lambda score: _shifted(score, 0.0024))

    workload = only([*three(unchanged), *three(coarse, **BF16)])
    untuned = {each.precision: each.psnr_db for each in workload.anchors if each.name == "untuned"}
    assert untuned["bfloat16"].mean - untuned["FP32"].mean == pytest.approx(0.0024)
    row = workload.rows[0]
    for estimate in (*untuned.values(), row.estimate("ssim_untuned"), row.curve[0].psnr_db, workload.anchors[-1].ssim):
        assert (len(estimate.values), estimate.interval) == (1, None)
    assert not [remark for row in workload.rows for remark in row.remarks if remark.id == "untuned_spread"]


def _shifted(score, by):
    return {"psnr_db": score["psnr_db"] + by} if score["mark"] == "untuned" else None


@pytest.mark.parametrize(("by", "grade"), [(0.0024, "B"), (0.6, "C")])
def test_an_untuned_model_that_is_not_the_same_is_a_finding(by, grade):
    """A run whose untuned score is not that of its precision puts the quality of all of that precision in doubt."""
    runs = three(unchanged)
    runs[2] = scores(runs[2], "reconstruction", lambda score: _shifted(score, by))
    (row,) = only(runs).rows
    (remark,) = [remark for remark in row.remarks if remark.id == "untuned_spread"]
    assert (remark.grade, len(remark.runs)) == (grade, 3)
    assert (
        "The untuned model is the same in every run in FP32, but its scores are not: PSNR untuned from"
        in remark.evidence
    )
