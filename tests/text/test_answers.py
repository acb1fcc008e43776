"""`fluxkit.text.answers`: a verdict, one number and what it rests on; said of as few names as a reader can hold."""

import builders
import pytest

from fluxkit.compare.compare import compare
from fluxkit.compare.ranking import standing
from fluxkit.compare.reader_options import ReaderOptions
from fluxkit.text.answers import answers
from fluxkit.text.text_table import render


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


def test_a_decided_answer_is_a_name_a_number_and_a_margin():
    """Where one leads, the answer is its name with its number; the interval, runs, grade and rival stand in detail."""
    answer = asked(builders.study(), "training_speed")
    (name,) = answer.names
    assert (answer.state, answer.verdict, answer.unit) == ("decided", "", "iterations/s")
    assert answer.sentence.startswith(f"“{name.name}” tunes fastest: {name.value} iterations/s, 95 % interval [")
    assert "n = 3, grade A; 1." in answer.detail
    assert "times [" in answer.detail
    assert answer.detail.endswith("] against “Laptop CPU (bfloat16)”.")


def test_at_most_three_names_are_said():
    """Of twenty configurations that lie close, three are named and the others are counted."""
    answer = asked(many(20), "peak_memory_bytes")
    assert (len(answer.names), answer.more) == (3, 17)
    assert " and 17 more " in answer.sentence
    assert len(answer.sentence) < 400


def test_a_tie_says_what_to_choose_by():
    """Where several are equal, the answer names the one that another question puts first."""
    first, second = (builders.spec(execution={"threads": n}, hardware={"label": f"M{n}"}) for n in (1, 2))
    runs = [builders.result(of=first, repeat=n) for n in range(3)]
    runs += [builders.result(of=second, repeat=n, iteration_seconds=(0.3 + n / 1000,) * 220) for n in range(3)]
    answer = asked(runs, "peak_memory_bytes")
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
    assert "ot decided" not in answer.sentence


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
    assert answer.sentence.startswith("Not measured, so it is not known which draws the tuned images best")


def test_generation_is_asked_in_fp32():
    """A faster speed in bfloat16 neither answers the question about FP32 nor has its star, but stands beside it."""
    runs = [*generating("bfloat16", 400.0), *generating("ieee_float32", 100.0), *generating("ieee_float32", 50.0, 3)]
    answer = asked(runs, "inference_speed")
    assert answer.names[0].name == "ieee_float32, 0"
    assert answer.detail.startswith("In FP32, ")
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
    assert answer.detail.startswith("In bfloat16, ")


def test_quality_at_equal_iterations_is_answered():
    """PSNR over equal iterations has an answer of its own, from the untuned score."""
    answer = asked(builders.study(), "psnr_db_at_iterations")
    assert "after equal iterations" in answer.sentence
    assert "untuned" in answer.detail


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_terminal_and_markdown_say_the_same_sentence(form):
    """Each answer is one sentence with its scenario before it."""
    text = " ".join(render(compare(builders.study()), form, 2000).replace("\\", "").split())
    for answer in answers(compare(builders.study()).workloads[0]):
        assert answer.scenario in text
        assert answer.sentence in text


def test_an_untuned_score_without_spread_has_few_digits():
    """Equal untuned scores whose mean was rounded in the last bit are written like those that are exactly equal."""
    third = builders.result().summary.model_copy(update={"psnr_db_untuned": 14.038143434625301})
    runs = [each.model_copy(update={"summary": third}) for each in many(1)]
    assert "From 14.0 untuned" in asked(runs, "psnr_db").detail
