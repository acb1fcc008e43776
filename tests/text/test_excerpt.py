"""What of a large comparison is shown, and what is said of the rest."""

import builders
import pytest

from fluxkit.compare.compare import compare
from fluxkit.compare.contrasts import MOST_IN_PAIRS
from fluxkit.text.answers import answers
from fluxkit.text.excerpt import MOST_ENDED, MOST_ROWS, excerpt
from fluxkit.text.text_table import render

MANY = 40


@pytest.fixture(scope="module")
def many():
    """Forty configurations of three runs, of which the last is the fastest."""
    return compare(
        builders.result(
            of=builders.spec(hardware={"label": f"Node {place:02d}"}), repeat=repeat,
            iteration_seconds=(1 / (10 + place + 0.01 * repeat),) * 220,
        )
        for place in range(MANY)
        for repeat in range(3)
    )  # fmt: skip


def test_of_many_rows_the_leader_is_compared_with_each_other(many):
    """Of more rows than all pairs can be told of, a metric's pairs are its leader's, and they share for all pairs."""
    (workload,) = many.workloads
    assert len(workload.rows) == MANY > MOST_IN_PAIRS
    speed = [line for line in workload.contrasts if line.quantity == "training_speed"]
    leader = next(row.key for row in workload.rows if row.label == f"Node {MANY - 1}")
    assert len(speed) == MANY - 1
    assert all(leader in {line.first, line.second} for line in speed)
    judgement = workload.judgement("training_speed")
    assert judgement.leader == leader
    assert judgement.pairs == MANY * (MANY - 1) // 2


def test_few_rows_are_shown_and_the_rest_is_said(many):
    """Leaders are among the rows that are shown, and a warning says how many there are and where all of them stand."""
    shown = excerpt(many)
    (workload,) = shown.workloads
    keys = {row.key for row in workload.rows}
    assert len(keys) == MOST_ROWS
    assert {judgement.leader for judgement in workload.judgements} <= keys
    assert all({line.first, line.second} <= keys for line in workload.contrasts)
    assert f"{MOST_ROWS} of {MANY} configurations" in shown.warnings[0]
    assert "--format csv" in shown.warnings[0]
    assert len(render(many, "csv").splitlines()) == 1 + MANY


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_a_table_shows_few_rows_and_answers_for_all(many, form):
    """The table of forty configurations has twenty, and its answers are those of all forty."""
    text = " ".join(render(many, form, 4000, everything=True).replace("\\", "").split())
    assert f"Shown are {MOST_ROWS} of {MANY} configurations" in text
    assert sum(f"Node {place:02d}" in text for place in range(MANY)) <= MOST_ROWS + 2
    assert all(" ".join(answer.sentence.split()) in text for answer in answers(many.workloads[0]))


def test_a_small_comparison_is_shown_as_it_is():
    """Up to twenty configurations nothing is left out."""
    small = compare(builders.study())
    assert excerpt(small) is small


def test_many_failures_and_many_workloads_are_cut_and_said():
    """Runs without a result and workloads of their own are cut too, and nothing points to one that is not shown."""
    runs = [builders.failed(id=f"f{place}") for place in range(MOST_ENDED + 5)]
    specs = [builders.spec(tune={"iterations": 100 + place}) for place in range(MOST_ROWS + 5)]
    runs += [builders.result(id=f"w{place}", of=spec) for place, spec in enumerate(specs)]
    shown = excerpt(compare(runs))
    assert len(shown.ended) == MOST_ENDED
    assert len(shown.workloads) <= MOST_ROWS
    keys = {workload.key for workload in shown.workloads}
    assert all(set(difference.values) <= keys for difference in shown.differences)
    assert f"{MOST_ENDED} of {MOST_ENDED + 5} runs" in " ".join(shown.warnings)
    assert "workloads" in shown.warnings[0]
