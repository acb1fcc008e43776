"""`fluxkit.text.answers`: the estimate first, then what is settled and what it rests on; of as few names as can be."""

import re

import builders
import pytest

from fluxkit.compare.compare import compare
from fluxkit.compare.ranking import standing
from fluxkit.compare.reader_options import ALL, ReaderOptions
from fluxkit.record.metrics import METRICS
from fluxkit.stats import Interval
from fluxkit.text.answers import answers, decided_sentence, design_sentence
from fluxkit.text.number_format import change_text, column_decimals, interval_text, level_text, value_text
from fluxkit.text.text_table import cells_of, render
from fluxkit.trust.estimate import Estimate


def asked(results, quantity, given=None):
    """The answer about a quantity of the one workload of some results."""
    (workload,) = compare(results, given or ReaderOptions()).workloads
    (answer,) = [each for each in answers(workload) if each.quantity == quantity]
    return answer


def many(count, **changes):
    """Configurations that hardly differ, three runs of each."""
    return [
        builders.result(
            of=builders.spec(execution={"threads": threads}), id=f"{threads}-{repeat}", repeat=repeat, **changes
        )
        for threads in range(1, count + 1)
        for repeat in range(3)
    ]


def generating(precision, images_per_second, threads=0):
    """Three runs that generate in a precision."""
    of = builders.spec(
        execution={"inference_precision": precision, "threads": threads, "device": "cuda"},
        hardware={"label": f"{precision}, {threads}"},
    )
    return [
        builders.result(
            of=of, repeat=repeat, gpu=True, images_per_second=images_per_second, id=f"{of.hardware}{repeat}"
        )
        for repeat in range(3)
    ]


def test_a_decided_answer_begins_with_the_estimate():
    """The number in what the question names, with its interval, then who and how far ahead, then what it rests on."""
    answer = asked(builders.study(), "training_speed")
    (name,) = answer.names
    assert (answer.state, answer.verdict) == ("decided", "")
    assert (name.value, name.interval) == ("200 iterations in 20.0 s", "19.9 to 20.1")
    assert answer.estimate == "21 % more iterations/s than “Laptop CPU (bfloat16)” (+5 % to +38 %). Decided."
    assert answer.sentence.startswith(
        f"“{name.name}” tunes fastest: {answer.estimate} {name.value} (95 % interval {name.interval}), 9.994 "
    )
    assert answer.detail.endswith("n = 3, grade A; the difference with its 99.5 % interval.")


def test_an_open_answer_leads_with_the_estimate_and_says_what_it_takes():
    """Where nothing is settled, the leader, how far it is ahead and about how many more runs it takes are said."""
    runs = []
    for place, speed in enumerate((10.0, 9.6)):
        of = builders.spec(execution={"threads": place + 1}, hardware={"label": f"M{place + 1}"})
        for repeat, wobble in enumerate((0.98, 1.0, 1.03)):
            seconds = ((wobble if place else 1 / wobble) / speed,) * 220
            runs.append(builders.result(of=of, repeat=repeat, iteration_seconds=seconds))
    answer = asked(runs, "training_speed")
    assert (answer.state, answer.verdict, answer.row, answer.names[0].name) == ("not settled", "", None, "M1")
    said = answer.sentence.replace("\N{MINUS SIGN}", "-")
    assert re.match(
        r"“M1” tunes fastest: \d+ % more iterations/s than “M2” \(-\d+ % to \+\d+ %\)\. Not settled; ", said
    )
    assert re.search(r"Not settled; about \d+ more runs each\. 200 iterations in 19", said)


@pytest.mark.parametrize(("of", "ratio", "said"), [
    ("inference_speed", 1.002, "as many image-steps/s as “B” (-20 % to +25 %)"),
    ("peak_memory_bytes", 0.998, "as much as “B” (-20 % to +25 %)"),
    ("inference_speed", 1.006, "1 % more image-steps/s than “B” (-20 % to +25 %)"),
    ("peak_memory_bytes", 0.994, "1 % less than “B” (-20 % to +25 %)"),
])  # fmt: skip
def test_a_change_that_rounds_to_nothing_is_said_as_equal(of, ratio, said):
    """“0 % more” says neither more nor equal."""
    (workload,) = compare(builders.study()).workloads
    contrast = next(each for each in workload.contrasts if each.quantity == of)
    known = contrast.model_copy(update={"value": ratio, "interval": Interval(low=0.8, high=1.25)})
    assert change_text(known, "B").replace("\N{MINUS SIGN}", "-") == said


def test_with_fewer_than_three_runs_no_spread_is_known():
    """Two runs each give an estimate and no guess: at least three runs each are needed."""
    answer = asked(builders.study(repeats=2), "training_speed")
    assert answer.estimate.endswith("iterations/s than “Laptop CPU (bfloat16)”. Not settled; no spread known; at least "
                                    "3 runs each.")  # fmt: skip


def test_one_sentence_names_what_is_decided():
    """The questions of the study stand in it as decided, with who leads, or as not settled, with what it takes."""
    (workload,) = compare(builders.study()).workloads
    assert decided_sentence(workload) == (
        "Decided: training speed (“Laptop CPU (FP32)”), PSNR in equal time (“Laptop CPU (FP32)”). "
        "Not settled: inference speed (about 1 more run each)."
    )
    (alone,) = compare([builders.result()]).workloads
    assert decided_sentence(alone) == "Nothing is to be decided: no question has numbers of two configurations."
    (once,) = compare(builders.study(repeats=1)).workloads
    assert decided_sentence(once).startswith("Not settled: training speed (no spread known; at least 3 runs each), ")


def test_the_design_is_said_with_its_looks_and_bounds():
    """What may be wrong how often: one look where the repeats were fixed, else the planned looks with their shares."""
    (planned,) = compare(builders.study()).workloads
    assert design_sentence(planned) == (
        "Looks after 3, 5, 7 and 10 repeats, which may add 0.5, 1, 1.75 and 1.75 % of wrong answers; this one is after "
        "3 and may add 0.5 %."
    )
    (fixed,) = compare([run.model_copy(update={"looks": (3,)}) for run in builders.study()]).workloads
    assert design_sentence(fixed) == "3 repeats, fixed beforehand: one look, which may be wrong in 5 % of studies."


def test_at_most_three_names_are_said():
    """Of twenty configurations that lie close, three are named and the others are counted."""
    answer = asked(many(20), "peak_memory_bytes")
    assert " and 17 more need the same memory: as much as " in answer.sentence
    assert len(answer.sentence) < 500
    assert (len(answer.names), answer.more, answer.lists_all) == (6, 14, True)
    tied = asked(many(20), "inference_speed")
    assert len(tied.names) == 3
    assert tied.more == 17


def test_a_tie_says_what_to_choose_by():
    """Where several are equal, the answer names the one that another question puts first."""
    first, second = (builders.spec(execution={"threads": n}, hardware={"label": f"M{n}"}) for n in (1, 2))
    runs = [builders.result(of=first, repeat=n) for n in range(3)]
    runs += [builders.result(of=second, repeat=n, iteration_seconds=(0.3 + n / 1000,) * 220) for n in range(3)]
    runs = [run.model_copy(update={"inference": runs[0].inference, "summary": run.summary.model_copy(
        update={"inference_image_steps_per_second": 160.0 + run.repeat})}) for run in runs]  # fmt: skip
    answer = asked(runs, "inference_speed")
    assert (answer.state, answer.verdict, answer.row) == ("decided", "Equal", None)
    assert "of these “M1” tunes fastest" in answer.detail


def test_what_is_equal_has_no_star():
    """A hollow star says that a lead is not decided; of equal ones nobody leads."""
    (workload,) = compare(many(2)).workloads
    assert {standing(workload, row, "peak_memory_bytes") for row in workload.rows} == {""}


def test_one_configuration_is_no_open_question():
    """A lone configuration has nothing to be decided against, and the answer says that instead of not decided."""
    answer = asked([builders.result()], "training_speed")
    assert (answer.state, answer.names[0].name) == ("one configuration", "Laptop CPU")
    assert answer.sentence.startswith(
        "Only “Laptop CPU” has this number: 200 iterations in 20.0 s, 9.99 iterations/s, n = 1"
    )


def test_without_a_price_the_terminal_names_the_options():
    """Where no price is given, the sentence says which option or which key gives one."""
    answer = asked(builders.study(), "usd_per_adapter")
    assert (answer.state, answer.verdict) == ("no price given", "No price given")
    assert "--usd-per-hour" in answer.sentence
    assert "hardware.usd_per_kwh" in answer.sentence


def test_what_was_not_measured_is_called_so():
    """Where no run has a number, the state is that it was not measured, with the reason."""
    answer = asked([builders.result(quality=None, summary={})], "psnr_db")
    assert answer.state == "not measured"
    assert answer.sentence.startswith("Not measured, so it is not known which generates the tuned images best")


def test_generation_is_asked_in_fp32():
    """A faster speed in bfloat16 neither answers the question about FP32 nor has its star, but stands beside it."""
    runs = [*generating("bfloat16", 400.0), *generating("ieee_float32", 100.0), *generating("ieee_float32", 50.0, 3)]
    answer = asked(runs, "inference_speed")
    assert answer.names[0].name == "ieee_float32, 0"
    assert answer.names[0].value == "25.00 images/s at 4 steps"
    assert answer.detail.startswith("100.00 image-steps/s, in FP32, ")
    assert "beside it, not in FP32: “bfloat16, 0” 4" in answer.detail
    (workload,) = compare(runs).workloads
    stars = {
        row.name: {standing(workload, row, f"inference_{unit}_steps_per_second") for unit in ("image", "batch")}
        for row in workload.rows
    }
    assert stars == {"bfloat16, 0": {""}, "ieee_float32, 0": {"best"}, "ieee_float32, 3": {""}}


def test_without_fp32_the_fastest_precision_is_named():
    """Where nothing generates in FP32, the answer is about what there is, and says in which precision."""
    answer = asked([*generating("bfloat16", 400.0), *generating("tf32", 100.0)], "inference_speed")
    assert answer.names[0].name == "bfloat16, 0"
    assert " image-steps/s, in bfloat16, " in answer.detail


def test_quality_at_equal_iterations_is_answered():
    """PSNR over equal iterations has an answer of its own, from the untuned score."""
    answer = asked(builders.study(), "psnr_db_at_iterations")
    assert "after equal iterations" in answer.sentence
    assert "untuned" in answer.detail


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_terminal_and_markdown_say_the_same_sentence(form):
    """Each answer is one sentence with its scenario before it."""
    text = " ".join(render(compare(builders.study()), form, 2000, everything=True).replace("\\", "").split())
    for answer in answers(compare(builders.study()).workloads[0]):
        assert answer.scenario in text
        assert answer.sentence in text


def test_an_untuned_score_without_spread_has_few_digits():
    """Equal untuned scores whose mean was rounded in the last bit are written like those that are exactly equal."""
    third = builders.result().summary.model_copy(update={"psnr_db_untuned": 14.038143434625301})
    runs = [each.model_copy(update={"summary": third}) for each in many(1)]
    assert "From 14.0 untuned" in asked(runs, "psnr_db").detail


def test_memory_is_told_of_all_with_what_it_fits_into():
    """Every configuration stands in the answer about memory, and the smallest usual memory that holds it."""
    runs = builders.study()
    needs = {"Laptop CPU (FP32)": 3 * 10**9, "Laptop CPU (bfloat16)": 13 * 10**9}
    names = {run: row.name for row in compare(runs).workloads[0].rows for run in row.runs}
    runs = [
        run.model_copy(update={"summary": run.summary.model_copy(update={"peak_memory_bytes": needs[names[run.id]]})})
        for run in runs
        if run.id in names
    ]
    answer = asked(runs, "peak_memory_bytes")
    assert answer.scenario == "Memory needed"
    assert [name.name for name in answer.names] == ["Laptop CPU (FP32)", "Laptop CPU (bfloat16)"]
    assert "fits in 4 GB: “Laptop CPU (FP32)”, 16 GB: “Laptop CPU (bfloat16)”" in answer.detail


def test_a_long_tuning_time_is_told_in_minutes_or_hours():
    """Seconds are for what is below two minutes: the same unit for all that are compared."""
    of = builders.spec(tune={"iterations": 2000})
    slow = builders.result(of=of, iteration_seconds=(0.5,) * 2000)
    fast = builders.result(of=builders.spec(tune={"iterations": 2000}, execution={"threads": 2}),
                           iteration_seconds=(0.1,) * 2000, id="fast")  # fmt: skip
    assert asked([slow], "training_speed").names[0].value == "2,000 iterations in 16.7 minutes"
    (name, *_) = asked([slow, fast], "training_speed").names
    assert name.value == "2,000 iterations in 3.3 minutes"


def test_a_grade_says_what_lowered_it():
    """An answer with a grade below A names the checks that gave it, in words of a reader."""
    check = {"id": "canary_moved", "subject": "training_speed", "grade": "C", "evidence": "It changed."}
    answer = asked([builders.result(checks=[check])], "training_speed")
    assert (answer.grade, answer.grade_reason) == ("C", "machine speed changed during the run")
    assert asked([builders.result(checks=[])], "training_speed").grade_reason == ""


@pytest.mark.parametrize(
    ("level", "text"), [(0.95, "95 %"), (0.995, "99.5 %"), (1 - 0.005 / 3, "99.8 %"), (0.9998, "99.98 %")]
)
def test_a_level_has_no_more_digits_than_tell_it_from_certainty(level, text):
    """The level of an interval ends at the first digit that is not a nine."""
    assert level_text(level) == text


def test_a_column_has_one_number_of_decimals():
    """Numbers of one column are written alike: as the widest spread supports, and the smallest keeps two digits."""
    wide, narrow = (Interval(low=ends[0], high=ends[1], level=0.95) for ends in ((27.6, 28.4), (28.30, 28.34)))
    assert column_decimals([(28.02, wide), (28.323, narrow)]) == 2
    assert column_decimals([(0.0123, None), (1234.5, None)]) == 3
    (workload,) = compare(builders.study()).workloads
    cell = cells_of(workload)
    for metric in METRICS:
        texts = [cell(row, metric).value for row in workload.rows if row.estimate(metric.key).mean]
        assert metric.per or len({len(text.partition(".")[2]) for text in texts}) <= 1, metric.key


@pytest.mark.parametrize(("usd_per_hour", "unit"), [(3.0, "adapter"), (0.03, "1,000 adapters")])
def test_a_cost_says_which_work_it_pays_for(usd_per_hour, unit):
    """“Least money per adapter” is followed by what one costs, or a thousand where one costs next to nothing."""
    answer = asked(builders.study(), "usd_per_adapter", ReaderOptions(usd_per_hour={ALL: usd_per_hour}))
    assert f" USD per {unit}" in answer.short
    assert f", for {'an ' if unit == 'adapter' else ''}{unit} of 200 iterations" in answer.sentence


def test_a_score_without_a_unit_says_its_name():
    """A loss has no unit, so that its number stands with its name."""
    assert asked(builders.study(), "validation_loss").names[0].value.endswith(" held-out loss")


def test_a_tiny_number_and_its_interval_are_never_zeros():
    """What is below a ten thousandth has an interval in the same form, not one of zeros."""
    tiny = Estimate(mean=2.5e-8, values=(2.4e-8, 2.6e-8), interval=Interval(low=2.4e-8, high=2.6e-8, level=0.95))
    assert (value_text(tiny), interval_text(tiny)) == ("2.50e-08", "[2.40e-08, 2.60e-08]")
