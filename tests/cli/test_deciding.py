"""`fluxkit run --until-decided`: which options go together, and what a look says."""

import builders
import pytest

from fluxkit.cli.deciding import look_at, until_decided
from fluxkit.errors import UsageError


@pytest.mark.parametrize(
    ("wanted", "specs", "repeats", "most", "hours", "same_seed", "said"),
    [
        (False, 2, 3, 5, None, False, "belong to --until-decided"),
        (False, 2, None, None, 1.0, False, "belong to --until-decided"),
        (True, 2, 3, None, None, False, "not --repeats"),
        (True, 1, None, None, None, False, "at least two"),
        (True, 2, None, None, None, True, "--same-seed"),
    ],
)
def test_options_that_contradict_each_other_are_refused(wanted, specs, repeats, most, hours, same_seed, said):
    """The sentence names the options and what to do."""
    with pytest.raises(UsageError, match=said):
        until_decided(wanted, specs, repeats, most, hours, same_seed=same_seed)


@pytest.mark.parametrize(
    ("most", "looks"), [(None, (3, 5, 7, 10)), (10, (3, 5, 7, 10)), (8, (3, 5, 7, 8)), (5, (3, 5)), (3, (3,))]
)
def test_the_last_look_is_at_the_most_repeats(most, looks):
    """The planned looks up to the most repeats, and one after these."""
    assert until_decided(True, 2, None, most, None, same_seed=False).looks == looks


def test_hours_are_a_limit_in_seconds():
    """Two hours are 7,200 seconds."""
    assert until_decided(True, 2, None, None, 2.0, same_seed=False).max_seconds == 7200.0
    assert until_decided(False, 1, 3, None, None, same_seed=False) is None


def test_a_look_says_what_is_decided_and_what_is_not():
    """It is open as long as a question with numbers of two configurations is; failed runs alone leave nothing open."""
    look = look_at(builders.study())
    assert look.undecided
    assert look.sentence.startswith("Decided: training speed (“Laptop CPU (FP32)”), ")
    assert "Not settled: inference speed (about " in look.sentence
    assert not look_at([builders.failed()]).undecided
    same = [
        builders.result(of=builders.spec(execution={"threads": threads}), repeat=repeat, id=f"{threads}-{repeat}")
        for threads in (1, 2)
        for repeat in range(3)
    ]
    assert not look_at(same).undecided
    assert "are equal" in look_at(same).sentence
