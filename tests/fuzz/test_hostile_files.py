"""Mutated files of each kind through everything that reads them: sentences at most, never a traceback.

Two thousand of each in the ordinary tests; `just fuzz` sets FLUXKIT_FUZZ to a hundred thousand.
"""

import copy
import json
import os
import random
import shutil
from contextlib import suppress

import builders
import pytest
from faults.edits import leaves
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from stand_in import Log, whole_run

from fluxkit.compare.compare import compare
from fluxkit.errors import FluxkitError
from fluxkit.files.atomic_file import to_json
from fluxkit.fold.outcome import folded_results
from fluxkit.fold.verify import verify_result, verify_study
from fluxkit.plan.plan import Job
from fluxkit.record.run_folder import write_result
from fluxkit.record.study import Entry, Study, read_study
from fluxkit.report.page import render as render_page
from fluxkit.spec.toml import load_spec, preset_text
from fluxkit.text.text_table import render

EXAMPLES = int(os.environ.get("FLUXKIT_FUZZ", "2000"))
A_TABLE_IN, A_PAGE_IN = (10, 100) if EXAMPLES > 2000 else (40, 500)
"""Tables and pages take ten and a hundred times as long as the rest."""
STEP_TIMES = [("iteration_seconds", None), ("step_seconds", None)]
"""Where a page has charts of a number as it was measured."""
SOUND = 1
"""Results beside the mutated one."""
FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
FEWER = settings(FUZZ, max_examples=EXAMPLES if EXAMPLES > 2000 else 300)
"""Of the kinds that are read by few."""
NUMBERS = [0, -1, 1, 2**63, 10**30, 10**400, 0.0, -0.0, 5e-324, 1e-300, 1e38, 1e308, float("nan"), float("inf"), 0.5]
TEXTS = ["", " ", "a\u2028b", "\x1b[31m", "</script>", "\u202e", "\ud800", "=1+1", "../../x", "9" * 400, "a\0b", "nan"]
VALUES = [*NUMBERS, *NUMBERS, *TEXTS, None, True, False, [], {}, [None], [[]], {"": ""}]
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["set", "set", "set", "delete", "repeat", "empty"]),
        st.builds(random.Random, st.integers(min_value=0, max_value=2**32)),  # far quicker than random numbers drawn
        st.sampled_from(VALUES),
    ),
    min_size=1,
    max_size=4,
)


def place(value, draw):
    """A container inside a JSON value and a key of it: every level is as likely to be stopped at."""
    while True:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = draw.choice(keys)
        inner = value[key]
        if not isinstance(inner, dict | list) or not inner or draw.random() < 0.1:
            return value, key
        value = inner


def changed(value, changes):
    """A copy of a JSON value with some of its parts replaced, taken away or doubled."""
    value = copy.deepcopy(value)
    for how, draw, new in changes:
        holder, key = place(value, draw)
        if how == "delete":
            del holder[key]
        elif how == "repeat" and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        elif how == "empty" and isinstance(holder[key], dict | list):
            holder[key] = type(holder[key])()
        else:
            holder[key] = copy.deepcopy(new)
        if not value:
            break
    return value


def numbers_of(value):
    """The paths of the numbers of a JSON value; of a list all items have one path."""
    return {
        tuple(None if isinstance(key, int) else key for key in path)
        for path, leaf in leaves(value)
        if isinstance(leaf, int | float) and not isinstance(leaf, bool)
    }


def put(value, path, new):
    """A copy of a JSON value with another number at all places of a path."""
    if not path:
        return new
    if path[0] is None:
        return [put(item, path[1:], new) for item in value] if isinstance(value, list) else value
    known = isinstance(value, dict) and path[0] in value
    return value | {path[0]: put(value[path[0]], path[1:], new)} if known else value


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A folder with a whole result beside which the mutated one is put."""
    folder = tmp_path_factory.mktemp("good")
    write_result(folder / "good", builders.result(repeat=1, energy=builders.energy(), iteration_seconds=(0.1,) * 20))
    return folder


def read_all(folder, file, count):
    """What compare, report and verify do; the sound results are always among what is compared."""
    unreadable = []
    sources = folded_results([folder], unreadable=unreadable)
    assert len(sources) + len(unreadable) >= SOUND
    assert verify_result(file).problems or not unreadable
    if unreadable and count:
        return  # what is left to compare is the same every time
    comparison = compare([result for _, result in sources])
    for form in ("table", "markdown", "csv", "json") if count % A_TABLE_IN == 0 else ("csv", "json"):
        render(comparison, form)
    if count % A_PAGE_IN == 0:
        render_page(comparison, sources)


def test_mutated_results_are_sentences(good):
    """A result with any value replaced, missing or doubled is compared or set aside, and verified or named."""
    run = builders.result(energy=builders.energy(), iteration_seconds=(0.1,) * 20)
    source = run.model_dump(mode="json", by_alias=True)
    file, count = good / "bad" / "result.json", iter(range(10**9))
    file.parent.mkdir()

    @FUZZ
    @given(CHANGES)
    def fuzz(changes):
        file.write_text(json.dumps(changed(source, changes)), "utf-8")
        read_all(good, file, next(count))

    fuzz()
    shutil.rmtree(file.parent)


@pytest.mark.parametrize("new", [0, 5e-324, 1e-39, 1e39, 10**24])
def test_numbers_at_the_ends_of_what_a_number_can_be_are_sentences(good, new):
    """A result with such a number everywhere at one place is compared, drawn and verified, or set aside."""
    run = builders.result(energy=builders.energy(), iteration_seconds=(0.1,) * 20)
    source = run.model_dump(mode="json", by_alias=True)
    source["tuning"]["ranks"].append(source["tuning"]["ranks"][0] | {"rank": 1})
    file = good / "bad" / "result.json"
    file.parent.mkdir()
    for number, path in enumerate(sorted(numbers_of(source), key=str), 1):
        file.write_text(json.dumps(put(source, path, new)), "utf-8")
        read_all(good, file, 0 if path[-2:] in STEP_TIMES else number)
    shutil.rmtree(file.parent)


def test_mutated_events_are_sentences(good, small_spec, small_plan, base):
    """Events with any value, line or byte changed give a result that is compared, or a failure with its reason."""
    folder = good / "bad"
    write_result(folder, base.model_copy(update={"status": "started"}))
    (folder / "job.json").write_text(to_json(Job(spec=small_spec, plan=small_plan, seed=3)))
    log = Log(folder)
    whole_run(log, {"seconds": 10.0, "iterations": 40})
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    count = iter(range(10**9))

    @FUZZ
    @given(CHANGES, st.binary(max_size=8), st.integers(min_value=0))
    def fuzz(changes, garbage, at):
        text = "".join(json.dumps(line) + "\n" for line in changed(lines, changes)).encode()
        if garbage:
            at %= len(text) + 1
            text = text[:at] + garbage + text[at:]
        log.path.write_bytes(text)
        read_all(good, folder / "result.json", next(count))

    fuzz()
    shutil.rmtree(folder)


def test_mutated_studies_are_sentences(tmp_path, small_spec):
    """A study.json with any value replaced, missing or doubled is read and laid out, or refused in a sentence."""
    runs = tuple(Entry(folder=f"{place}", spec=0, repeat=place, order=place, seed=place) for place in range(3))
    study = Study(
        id="0" * 32, created="2026-01-01T00:00:00Z", repeats=3, same_seed=False, specs=(small_spec,), runs=runs
    )
    source, file = study.model_dump(mode="json", by_alias=True), tmp_path / "study.json"

    @FEWER
    @given(CHANGES)
    def fuzz(changes):
        file.write_text(json.dumps(changed(source, changes)), "utf-8")
        verify_study(file)
        with suppress(FluxkitError):
            read = read_study(tmp_path)
            read.stages()
            read.order_lines()

    fuzz()


def test_mutated_jobs_are_sentences(good, small_spec, small_plan, base):
    """A job.json with any value replaced, missing or doubled verifies, or is named as what it is not."""
    folder = good / "job"
    write_result(folder, base)
    source = Job(spec=small_spec, plan=small_plan, seed=3).model_dump(mode="json", by_alias=True)

    @FEWER
    @given(CHANGES)
    def fuzz(changes):
        (folder / "job.json").write_text(json.dumps(changed(source, changes)), "utf-8")
        assert verify_result(folder / "result.json").problems

    fuzz()
    shutil.rmtree(folder)


def test_mutated_specs_are_sentences(tmp_path):
    """A preset with bytes taken out, put in or replaced is a spec, or is refused in a sentence."""
    file = tmp_path / "spec.toml"
    text = preset_text("nano-laptop-cpu").encode()

    @FEWER
    @given(
        st.integers(min_value=0), st.integers(min_value=0, max_value=12), st.binary(max_size=8) | st.sampled_from(TEXTS)
    )
    def fuzz(at, length, new):
        new = new if isinstance(new, bytes) else new.encode("utf-8", "surrogatepass")
        at %= len(text)
        file.write_bytes(text[:at] + new + text[at + length :])
        with suppress(FluxkitError):
            load_spec(str(file))

    fuzz()
