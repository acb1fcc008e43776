"""Files that are no files: pipes, devices and endless lists are refused at once, and bounded in memory."""

import os
import resource
import subprocess
import sys

import builders
import pytest

from fluxkit.errors import UsageError
from fluxkit.files.atomic_file import to_json
from fluxkit.files.lock import is_held
from fluxkit.record.events import read_events
from fluxkit.record.run_folder import find_results, read_result, write_result
from fluxkit.record.study import Entry, Study, read_study
from fluxkit.spec.toml import load_spec


@pytest.fixture(params=["pipe", "/dev/zero", "folder"])
def strange(request, tmp_path):
    """Puts a pipe, an endless device or a folder at a path."""

    def put(name):
        path = tmp_path / name
        if request.param == "pipe":
            os.mkfifo(path)
        elif request.param == "folder":
            path.mkdir()
        else:
            path.symlink_to(request.param)
        return path

    return put


@pytest.mark.timeout(20)
def test_what_is_no_regular_file_is_a_sentence(strange, tmp_path):
    """A pipe is not waited for and a device is not read: the sentence says that it is not a regular file."""
    strange("run.lock")
    assert not is_held(tmp_path)
    if not (file := strange("result.json")).is_dir():
        with pytest.raises(UsageError, match="not a regular file"):
            read_result(file)
    strange("study.json")
    with pytest.raises(UsageError, match="can't be read"):
        read_study(tmp_path)
    with pytest.raises(UsageError, match="cannot be read"):
        load_spec(str(strange("spec.toml")))


def test_a_list_without_end_is_not_held_in_memory(tmp_path):
    """A result of 190 MB of zeros is refused within a gigabyte."""
    (tmp_path / "result.json").write_bytes(b'{"schema":"fluxkit.result/1","x":[' + b"0," * 95_000_000 + b"0]}")
    script = "import sys; from fluxkit.cli.app import main; main(['compare', sys.argv[1]])"
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "result.json")], capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30)),
    )  # fmt: skip
    assert "holds more than 10000000 values" in done.stderr


def test_a_line_without_end_is_no_event(tmp_path, monkeypatch):
    """A line that never ends is not held in memory: it is no event."""
    monkeypatch.setattr("fluxkit.record.events.MAX_LINE_BYTES", 100)
    (tmp_path / "e.jsonl").write_bytes(b"0" * 1000)
    with pytest.raises(ValueError, match="longer than 100 bytes"):
        list(read_events(tmp_path / "e.jsonl"))


def test_one_unreadable_result_is_set_aside(tmp_path):
    """The others are given, and a sentence names the one that can't be read; alone it is refused."""
    write_result(tmp_path / "good", builders.result())
    (tmp_path / "bad").mkdir()
    text = (tmp_path / "good" / "result.json").read_text()
    for bad in ("NaN", "Infinity", "1e308", "1" + "0" * 400):
        (tmp_path / "bad" / "result.json").write_text(text.replace('"processes": 1', f'"processes": {bad}'))
        unreadable = []
        assert len(find_results([tmp_path], unreadable)) == 1
        assert len(unreadable) == 1
        assert "bad/result.json" in unreadable[0]
        with pytest.raises(UsageError):
            find_results([tmp_path / "bad"], [])


@pytest.mark.timeout(20)
def test_a_study_that_says_any_number_of_repeats_is_laid_out_by_its_runs(tmp_path, small_spec):
    """Counting up to a number that a file says would never end; the runs that it lists are what there is."""
    runs = [
        Entry(folder=f"{place}", spec=0, repeat=repeat, order=place, seed=place)
        for place, repeat in enumerate((1, 0, 10**18, 0, 10**24))
    ]
    study = Study(
        id="0" * 32, created="2026-01-01T00:00:00Z", repeats=10**23, looks=(2, 10**20), same_seed=False,
        specs=(small_spec,), runs=tuple(runs),
    )  # fmt: skip
    (tmp_path / "study.json").write_text(to_json(study))
    folders = [(end, [[entry.folder for entry in block] for block in blocks])
               for end, blocks in read_study(tmp_path).stages()]  # fmt: skip
    assert folders == [(2, [["1", "3"], ["0"]]), (10**20, [["2"]]), (10**23, [])]
