"""Several runs: order, folders, seeds, and what a half-done study becomes."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest

from fluxkit.errors import MachineError, UsageError
from fluxkit.files.atomic_file import to_json, write_with_sha256
from fluxkit.machine.stop_requests import StopRequestedError
from fluxkit.record.run_folder import read_result
from fluxkit.run import launch, study
from fluxkit.run.progress import Reporter
from fluxkit.run.study import Look, UntilDecided, arrange, newest_unfinished, read_study, resume_study, run_study


@pytest.fixture
def two(small_spec):
    """Two configurations of one workload."""
    other = small_spec.execution.model_copy(update={"precision": "bfloat16"})
    return [small_spec, small_spec.model_copy(update={"name": "small-bf16", "execution": other})]


@pytest.fixture(autouse=True)
def _planned(monkeypatch, small_plan):
    """Plans need no model here."""
    monkeypatch.setattr(study, "plan_all", lambda specs, **_: [small_plan for _ in specs])


def test_the_order_is_random_seeded_and_interleaved(two):
    """Every round holds each spec once, the order is the same every time, and other seeds give another one."""
    runs = arrange(two, (20,)).runs
    rounds = [tuple(run.spec for run in runs if run.repeat == repeat) for repeat in range(20)]
    assert {tuple(sorted(each)) for each in rounds} == {(0, 1)}
    assert len(set(rounds)) == 2, "both orders occur"
    assert arrange(two, (20,)).runs == runs
    moved = [spec.model_copy(update={"seed": 77}) for spec in two]
    assert [run.spec for run in arrange(moved, (20,)).runs] != [run.spec for run in runs]
    assert [run.order for run in runs] == list(range(40))


def test_repeats_have_seeds_of_their_own(two):
    """Repeat r uses the spec's seed + r; with `same_seed` all use the spec's."""
    assert {(run.repeat, run.seed) for run in arrange(two, (3,)).runs} == {(0, 3), (1, 4), (2, 5)}
    assert {run.seed for run in arrange(two, (3,), same_seed=True).runs} == {3}


def test_a_study_runs_each_in_its_folder(two, tmp_path, engine_is):
    """Folders carry order, name and repeat; results carry study, repeat, order and seed."""
    engine_is("completed")
    outcome = run_study(two, repeats=2, out=tmp_path / "s")
    stored = read_study(tmp_path / "s")
    assert [result.status for result in outcome.results] == ["completed"] * 4
    for entry in stored.runs:
        result = read_result(tmp_path / "s" / entry.folder)
        assert entry.folder == f"{entry.order:02d}-{two[entry.spec].name}-r{entry.repeat}"
        assert (result.study, result.repeat, result.order) == (stored.id, entry.repeat, entry.order)
        assert result.seed == entry.seed
    assert json.loads(outcome.to_json())["runs"][0]["summary"]["psnr_db"] == pytest.approx(20.0)


def test_a_failed_run_does_not_stop_the_others(two, tmp_path, engine_is):
    """The study goes on, and the failure is one of its results."""
    engine_is("fails", "completed")
    outcome = run_study(two, out=tmp_path / "s")
    assert [result.status for result in outcome.results] == ["failed", "completed"]
    assert not outcome.stopped


def test_resuming_keeps_what_is_completed(two, tmp_path, engine_is):
    """Completed runs are kept as they are; a failed one is run again from the start."""
    engine_is("completed", "fails", "completed")
    first = run_study(two, repeats=2, out=tmp_path / "s")
    engine_is("completed")
    again = run_study(two, repeats=2, out=tmp_path / "s", resuming=True)
    assert [result.status for result in again.results] == ["completed"] * 4
    assert again.results[0] == first.results[0]
    assert again.results[1].interruptions == ()
    assert {phase.attempt for phase in again.results[1].phases} == {0, 1}


def test_a_stopped_study_continues_from_the_checkpoint(two, tmp_path, engine_is):
    """SIGTERM stops run and study; resuming continues the interrupted run and does the rest."""

    def stop():
        while not list(tmp_path.glob("s/00-*/ready")):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    engine_is("stoppable")
    outcome = run_study(two, out=tmp_path / "s")
    thread.join(5)
    assert outcome.stopped
    assert [result.status for result in outcome.results] == ["interrupted"]
    engine_is("stoppable", "completed")
    again = run_study(two, out=tmp_path / "s", resuming=True)
    assert [result.status for result in again.results] == ["completed"] * 2
    assert len(again.results[0].interruptions) == 1


def test_a_stop_while_a_run_is_folded_ends_the_study_after_it(two, tmp_path, engine_is, monkeypatch):
    """That run is completed and written, the next one does not begin, and one more stop would change nothing."""
    settle = launch.settle_on_disk

    def stopped(*arguments, **options):
        for number in (signal.SIGUSR1, signal.SIGTERM):
            os.kill(os.getpid(), number)
        return settle(*arguments, **options)

    monkeypatch.setattr(launch, "settle_on_disk", stopped)
    engine_is("completed")
    outcome = run_study(two, out=tmp_path / "s")
    assert outcome.stopped
    assert [result.status for result in outcome.results] == ["completed"]
    assert len(list(tmp_path.glob("s/0*"))) == 1


def test_a_stop_before_the_first_run_begins_leaves_nothing(two, tmp_path, engine_is, monkeypatch, small_plan):
    """While plans are made nothing is on disk yet, and nothing comes to be."""

    def plan_all(specs, **_):
        os.kill(os.getpid(), signal.SIGHUP)
        return [small_plan for _ in specs]

    monkeypatch.setattr(study, "plan_all", plan_all)
    engine_is("completed")
    with pytest.raises(StopRequestedError):
        run_study(two, out=tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_resume_finds_the_newest_unfinished_study(two, tmp_path, monkeypatch, engine_is):
    """Without a folder the newest unfinished study of the same specs and repeats is meant, and no other."""
    monkeypatch.chdir(tmp_path)
    for name, scenarios in (("1", ["fails"]), ("2", ["fails"]), ("3", ["completed"])):
        engine_is(*scenarios)
        run_study(two, out=Path("runs") / name)
    assert newest_unfinished(Path("runs"), arrange(two, (1,))) == Path("runs/2")
    with pytest.raises(UsageError, match="no unfinished study"):
        newest_unfinished(Path("runs"), arrange(two, (2,)))
    engine_is("completed")
    assert run_study(two, resuming=True).folder == Path("runs/2")
    assert run_study(two, resuming=True).folder == Path("runs/1")
    with pytest.raises(UsageError, match="no unfinished study"):
        run_study(two, resuming=True)


def test_another_study_is_not_resumed(two, tmp_path, engine_is):
    """A folder of other specs is refused, and one without a study as well."""
    engine_is("completed")
    run_study(two[:1], out=tmp_path / "s")
    with pytest.raises(UsageError, match="other specs or repeats"):
        run_study(two, out=tmp_path / "s", resuming=True)
    with pytest.raises(UsageError, match=r"study\.json can't be read"):
        run_study(two, out=tmp_path / "none", resuming=True)


def test_a_taken_folder_is_refused(two, tmp_path, engine_is):
    """A folder with something in it is left as it is."""
    (tmp_path / "mine.txt").write_text("mine")
    engine_is("completed")
    with pytest.raises(UsageError, match="fluxkit resume"):
        run_study(two, out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_unwritable_place_is_refused(two, tmp_path, engine_is):
    """Nothing half-written is left where nothing can be written."""
    (tmp_path / "file").write_text("")
    engine_is("completed")
    with pytest.raises(MachineError, match="--out"):
        run_study(two, out=tmp_path / "file" / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_study_with_foreign_folders_is_refused(two, tmp_path, engine_is):
    """A study file can't make fluxkit write outside of the study."""
    engine_is("completed")
    run_study(two[:1], out=tmp_path / "s")
    text = (tmp_path / "s" / "study.json").read_text()
    (tmp_path / "s" / "study.json").write_text(text.replace("00-small-r0", "../outside"))
    with pytest.raises(UsageError, match="outside"):
        read_study(tmp_path / "s")


def test_the_default_folder_says_when_and_what(two, tmp_path, monkeypatch, engine_is):
    """Without --out the study lies under runs/, named by time and first spec."""
    monkeypatch.chdir(tmp_path)
    engine_is("completed")
    folder = run_study(two).folder
    assert folder.parent == Path("runs")
    assert folder.name.endswith("z-small")


class Heard(Reporter):
    """Keeps what it is told."""

    def __init__(self):
        self.sentences = []

    def say(self, sentence):
        self.sentences.append(sentence)


def looking(*undecided, looks=(3, 5, 7, 10), **limits):
    """Looks that find these answers, one after the other."""
    answers = list(undecided)
    return UntilDecided(looks, lambda results: Look(answers.pop(0), f"{len(results)} results."), **limits)


def test_of_every_four_blocks_two_are_the_other_two_turned_round(two):
    """A steady drift adds up to nothing, at the first look too; when a block is turned is drawn anew each time."""
    third = two[0].model_copy(update={"name": "third"})
    runs = arrange([*two, third], (40,)).runs
    blocks = [tuple(run.spec for run in runs if run.repeat == repeat) for repeat in range(40)]
    fours = [blocks[first : first + 4] for first in range(0, 40, 4)]
    assert all(sorted(four) == sorted(block[::-1] for block in four) for four in fours)
    assert any(block[::-1] in blocks[:3] for block in blocks[:3])
    assert {four.index(four[0][::-1]) for four in fours} == {1, 2, 3}


def test_a_study_ends_at_the_look_that_decides_it(two, tmp_path, engine_is):
    """All runs are listed from the start; what a decision spares is marked as not needed, and each look is told."""
    engine_is("completed")
    heard = Heard()
    outcome = run_study(two, out=tmp_path / "s", until=looking(True, False), reporter=heard)
    stored = read_study(tmp_path / "s")
    assert (len(outcome.results), outcome.stopped) == (10, False)
    assert [entry.state for entry in stored.runs] == ["planned"] * 10 + ["not needed"] * 10
    assert (stored.looks, stored.repeats) == ((3, 5, 7, 10), 10)
    assert {result.looks for result in outcome.results} == {(3, 5, 7, 10)}
    told = [sentence for sentence in heard.sentences if "look" in sentence or "After" in sentence or "need" in sentence]
    assert told[0] == "After 3 repeats. 6 results."
    assert re.fullmatch(r"The next look, after 5 repeats, takes about [\d.]+ minutes more\.", told[1])
    assert told[2:] == ["After 5 repeats. 10 results.", "The other 10 runs are not needed."]
    again = run_study(two, out=tmp_path / "s", until=looking(True, False), resuming=True)
    assert again.results == outcome.results


def test_an_open_study_ends_at_its_last_look(two, tmp_path, engine_is):
    """Where nothing is decided all repeats are run, and it is said that there is no further look."""
    engine_is("completed")
    heard = Heard()
    outcome = run_study(two, out=tmp_path / "s", until=looking(True, True, looks=(3, 4)), reporter=heard)
    assert len(outcome.results) == 8
    assert heard.sentences[-2:] == ["After 4 repeats. 8 results.", "That was the last look."]
    assert {entry.state for entry in read_study(tmp_path / "s").runs} == {"planned"}


def test_a_look_that_would_take_too_long_is_not_begun(two, tmp_path, engine_is):
    """Beyond the limit nothing is started and nothing is marked, so that the study can be resumed with more time."""
    engine_is("completed")
    heard = Heard()
    outcome = run_study(two, out=tmp_path / "s", until=looking(max_seconds=0.0), reporter=heard)
    assert (len(outcome.results), outcome.stopped) == (2, False)
    assert heard.sentences[-2].endswith(" minutes, which passes the limit.")
    assert heard.sentences[-1] == f"To continue: fluxkit resume {tmp_path / 's'}"
    again = run_study(two, out=tmp_path / "s", until=looking(False), resuming=True)
    assert len(again.results) == 6
    stopped = run_study(two, out=tmp_path / "s", until=looking(True, max_seconds=0.0), resuming=True)
    assert len(stopped.results) == 6, "what is done costs nothing, and the blocks to the next look too much"
    with pytest.raises(UsageError, match="other specs or repeats"):
        run_study(two, repeats=10, out=tmp_path / "s", resuming=True)


def test_a_study_from_before_there_were_looks_is_resumed_in_its_own_order(two, tmp_path, engine_is):
    """A study file without looks, states or turned blocks keeps its order, and its results claim no looks."""
    engine_is("completed", "fails", "completed")
    run_study(two, repeats=2, out=tmp_path / "s")
    file = tmp_path / "s" / "study.json"
    values = json.loads(file.read_text())
    del values["looks"]
    for entry in values["runs"]:
        del entry["state"]
    file.write_text(json.dumps(values))
    again = run_study(two, repeats=2, out=tmp_path / "s", resuming=True)
    assert [result.status for result in again.results] == ["completed"] * 4
    assert [run.folder for run in read_study(tmp_path / "s").runs] == [entry["folder"] for entry in values["runs"]]


def test_a_study_is_resumed_by_its_folder_alone(two, tmp_path, engine_is):
    """Whatever is left of it is run, in its own order and with its own looks; no spec is named again."""
    engine_is("completed", "fails", "completed")
    begun = run_study(two, repeats=2, out=tmp_path / "s")
    assert [result.status for result in begun.results].count("failed") == 1
    again = resume_study(tmp_path / "s", looking(False).look)
    assert [result.status for result in again.results] == ["completed"] * 4
    assert {result.study for result in again.results} == {begun.results[0].study}
    looked = run_study(two, out=tmp_path / "l", until=looking(False, max_seconds=0.0))
    assert len(looked.results) == 2
    assert len(resume_study(tmp_path / "l", looking(False).look).results) == 6


def test_a_study_that_forgot_a_path_asks_for_the_command(small_spec, here, engine_is):
    """A study keeps the last part of a path, so without a job that knows the rest it can't be resumed by its folder."""
    engine_is("completed")
    adapted = small_spec.model_copy(
        update={"model": small_spec.model.model_copy(update={"assistant_adapter": "/far/away.safetensors"})}
    )
    arranged = arrange([adapted], (1,))
    (here / "s").mkdir()
    write_with_sha256(here / "s" / "study.json", to_json(arranged))
    with pytest.raises(UsageError, match=r"no longer says where away\.safetensors lies.*--resume --out"):
        resume_study(here / "s", looking(False).look)


def test_a_study_of_the_first_format_is_asked_for_by_the_same_specs(two, tmp_path, engine_is):
    """A study that was begun with fluxkit.spec/1 goes on with the same specs in the newer format."""
    engine_is("completed")
    run_study(two, out=tmp_path / "s")
    file = tmp_path / "s" / "study.json"
    values = json.loads(file.read_text())
    for spec in values["specs"]:
        spec["schema"] = "fluxkit.spec/1"
        spec["hardware"] |= {"usd_per_hour": 0.0, "usd_per_kwh": 0.0}
    file.write_text(json.dumps(values))
    assert len(run_study(two, out=tmp_path / "s", resuming=True).results) == 2
