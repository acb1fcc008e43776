"""`fluxkit.record.run_folder`: results found under paths, and paths of strangers refused."""

import builders
import pytest

from fluxkit.errors import UsageError
from fluxkit.files.atomic_file import write_atomically
from fluxkit.files.lock import LOCK_FILE
from fluxkit.record.run_folder import find_results, new_folder, safe_path, write_result


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../secret.png", "a/../../secret.png", "", ".", "C:\\x.png", "x\0.png", "out.png", "samples"],
)
def test_paths_of_strangers_stay_inside_the_folder(tmp_path, path):
    """A path that is absolute, climbs out, leads out by a link or names no regular file is refused in a sentence."""
    inside = tmp_path / "run"
    (inside / "samples").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(b"secret")
    (inside / "out.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(UsageError):
        safe_path(inside, path)


def test_a_plain_path_inside_the_folder_is_found(tmp_path):
    """An ordinary relative path gives the file."""
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "a.png").write_bytes(b"x")
    assert safe_path(tmp_path, "samples/a.png").read_bytes() == b"x"


def test_results_are_found_at_any_of_three_depths(tmp_path):
    """Files, run folders and study folders all lead to their results, each id once."""
    run = builders.result()
    for place in ("a", "a/b", "a/b/c"):
        write_result(tmp_path / place, run)
    write_result(tmp_path / "a/b/c/d", builders.result(repeat=1))
    found = find_results([tmp_path, tmp_path / "a", tmp_path / "a" / "result.json"])
    assert [result.repeat for _, result in found] == [0, 1]


@pytest.mark.parametrize("empty", [True, False])
def test_nothing_found_is_a_sentence(tmp_path, empty):
    """No path, or a folder without results, is one sentence that says what to give."""
    with pytest.raises(UsageError, match=r"Give a result\.json, a run folder or a study folder"):
        find_results([] if empty else [tmp_path])


@pytest.mark.parametrize(
    "left", [LOCK_FILE, ".study.json.0123abcd", ".job.json.0123abcd", ".result.json.sha256.0123abcd"]
)
def test_a_folder_that_a_death_left_with_nothing_whole_is_used_again(tmp_path, left):
    """What was torn at the first moment of a run is taken away; anything else in the folder still refuses."""
    (tmp_path / left).touch()
    with new_folder(tmp_path, "choose another", lambda: write_atomically(tmp_path / "job.json", "{}")):
        assert sorted(path.name for path in tmp_path.iterdir()) == ["job.json", LOCK_FILE]
    (tmp_path / "job.json").rename(tmp_path / ".backup.20261126")
    with pytest.raises(UsageError, match="not empty"), new_folder(tmp_path, "choose another", list):
        pass
