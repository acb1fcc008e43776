"""`fluxkit.report.trust_board`: what the checks found, one line for each check however many runs it concerns."""

import re

import builders
from pages import rendered

from fluxkit.compare.compare import compare
from fluxkit.report.trust_board import BOARD, board, findings


def moved(repeat, percent):
    """A run whose canary moved by so much."""
    evidence = f"During tuning the machine's own rate changed: copies in memory by {percent:+.1f}%."
    check = {"id": "rate_moved", "subject": "training_speed", "grade": "C", "evidence": evidence}
    return builders.result(repeat=repeat, checks=[check])


def test_a_check_that_many_runs_failed_is_one_line():
    """Remarks that differ in their numbers are one line with the largest share, the repeats and each run's words."""
    runs = {run.id: run for run in (moved(0, 7.1), moved(1, -12.5), moved(2, 9.0))}
    (found,) = findings(compare(runs.values()).workloads[0], runs)
    assert found.words == (
        "In 3 of 3 runs; the most: During tuning the machine's own rate changed: copies in memory by -12.5%."
    )
    assert found.repeats == "0, 1, 2"
    assert found.by_run[1] == ("repeat 1: During tuning the machine's own rate changed: copies in memory by -12.5%.")


def test_a_remark_of_one_run_stays_its_own_words():
    """What was seen once is said as it was written, with its repeat."""
    runs = {run.id: run for run in (builders.result(checks=[]), moved(1, 7.1))}
    (found,) = findings(compare(runs.values()).workloads[0], runs)
    assert (found.words[:14], found.by_run, found.repeats) == ("During tuning ", (), "1")


def test_a_lone_run_is_not_one_of_one():
    """The board says of a single run that it is the only one."""
    run = moved(0, 7.1)
    ((_, squares),) = board(compare([run]).workloads[0])
    by_subject = dict(zip(BOARD, squares, strict=True))
    assert by_subject["training_speed"].words == ("rate moved: the only run",)


def test_board_says_which_check_spoilt_a_grade():
    """The board's squares hold the worst grade about a subject and the check behind it, with its runs."""
    runs = builders.study()
    ((_, squares), _) = board(compare(runs).workloads[0])
    by_subject = dict(zip(BOARD, squares, strict=True))
    assert (by_subject["quality"].grade, by_subject["quality"].words) == ("B", ("split: 3 of 3 runs",))
    assert (by_subject["training_speed"].grade, by_subject["training_speed"].words) == ("A", ())


def test_the_board_grades_as_the_numbers_do_and_only_what_was_measured():
    """Where nothing was found a square has the A of the number, and where there is no number it says why."""
    unknown = {"class": "unavailable", "reason": "no counter can be read"}
    check = {"id": "energy_unknown", "subject": "energy", "grade": "A", "evidence": "Energy is not known."}
    runs = [builders.result(repeat=repeat, energy=unknown, checks=[check]) for repeat in range(3)]
    workload = compare(runs).workloads[0]
    ((row, squares),) = board(workload)
    by_subject = dict(zip(BOARD, squares, strict=True))
    assert (by_subject["energy"].grade, by_subject["energy"].reason) == (None, "no counter can be read")
    assert by_subject["training_speed"].grade == row.estimate("training_iterations_per_second").grade == "A"
    page = rendered(runs)
    assert "Not graded: energy (no counter can be read)." in page
    assert "Energy" not in re.search(r'<table class="board">.*?</thead>', page, re.DOTALL)[0]


def test_the_board_knows_what_comparing_found():
    """What comparing finds in old results spoils the square as it spoils the number."""
    runs = [builders.result(repeat=repeat, canary=[]) for repeat in range(3)]
    ((row, squares),) = board(compare(runs).workloads[0])
    grades = dict(zip(BOARD, (square.grade for square in squares), strict=True))
    assert grades["training_speed"] == row.estimate("training_iterations_per_second").grade == "B"
