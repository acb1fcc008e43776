"""Verification finds what was changed, and names it."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest

from fluxkit.errors import UsageError
from fluxkit.files.atomic_file import write_with_sha256
from fluxkit.fold.verify import verify_all, verify_result
from fluxkit.run.launch import launch


@pytest.fixture
def folder(small_spec, small_plan, tmp_path, engine_is):
    """A completed run."""
    engine_is("completed")
    launch(small_spec, small_plan, folder=tmp_path / "run", seed=3)
    return tmp_path / "run"


def change(folder, edit):
    """Edits the decoded result.json."""
    values = json.loads((folder / "result.json").read_text())
    edit(values)
    write_with_sha256(folder / "result.json", json.dumps(values))


def problems(path):
    return verify_result(path).problems


def test_an_untouched_run_is_verified(folder, tmp_path):
    """A run folder, moved elsewhere, verifies; so does its lone result."""
    assert problems(folder) == []
    moved = shutil.copytree(folder, tmp_path / "moved")
    assert problems(moved) == []
    (tmp_path / "alone").mkdir()
    shutil.copy(folder / "result.json", tmp_path / "alone" / "result.json")
    assert problems(tmp_path / "alone" / "result.json") == []


def listed(file):
    """A manifest's entry of a file of the run folder's top."""
    return [{"path": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "bytes": file.stat().st_size}]


def test_what_was_left_out_on_purpose_is_told_and_is_not_missing(folder):
    """A file that a copy was made without is missing only where its manifest does not say that it was left out."""
    (folder / "notes.txt").write_text("beside the events")
    change(folder, lambda values: values["artifacts"].extend(listed(folder / "notes.txt")))
    names = sorted(f"events/{file.name}" for file in (folder / "events").iterdir())
    shutil.rmtree(folder / "events")
    assert problems(folder) == [f"{name} is missing" for name in names]

    def mark(values):
        for artifact in values["artifacts"]:
            artifact["left_out"] = artifact["path"].startswith("events/")

    change(folder, mark)
    assert problems(folder) == []
    assert "the events among them" in "".join(verify_result(folder).notes)


def test_a_changed_summary_is_named(folder):
    """A number that does not follow from the raw values is named with both values."""
    change(folder, lambda values: values["summary"].update(training_iterations_per_second=99.0))
    assert problems(folder) == ["summary.training_iterations_per_second is 99.0, but the raw values give 2.0"]


def test_changed_raw_values_are_named(folder):
    """Raw values that were changed together with their summary are not what the events tell."""

    def edit(values):
        values["tuning"]["iteration_seconds"] = [0.25] * 40
        values["tuning"]["ranks"][0]["seconds"] = 10.0
        values["summary"].update(
            training_iterations_per_second=4.0,
            training_images_per_second=32.0,
            tuning_seconds=10.0,
            training_flops_share=0.96,
        )

    change(folder, edit)
    assert problems(folder) == ["tuning.iteration_seconds[0] is not what the events tell"]


def test_a_changed_spec_is_named(folder):
    """The workload hash belongs to the spec."""
    change(folder, lambda values: values["spec"]["tune"].update(learning_rate=0.5))
    assert any("workload_sha256" in sentence for sentence in problems(folder))


def test_a_changed_file_is_named(folder):
    """A file that is not the one of the manifest is named, and so is one that is missing."""
    (folder / "samples" / "cat.png").write_bytes(b"another")
    (folder / "engine.log").unlink()
    assert problems(folder) == [
        "engine.log is missing",
        "samples/cat.png was changed: its hash is not the manifest's",
    ]


@pytest.mark.parametrize("path", ["/etc/hostname", "../../secret", "samples/link", "a\\b", ""])
def test_a_manifest_cannot_point_outside(folder, tmp_path, path):
    """Absolute paths, climbing paths and links out of the folder are findings and are never opened."""
    (tmp_path / "outside").write_text("outside")
    (folder / "samples" / "link").symlink_to(tmp_path / "outside")
    change(folder, lambda values: values["artifacts"].append({"path": path, "sha256": "0" * 64, "bytes": 1}))
    assert problems(folder) == [
        f"{path} of the manifest is not a path inside the run folder",
        *([] if path == "samples/link" else ["samples/link is not in the manifest"]),
    ]


def test_what_is_no_result_is_said(folder, tmp_path):
    """A file that is no result, and a newer schema, are findings; a path without a result is a mistake."""
    (tmp_path / "result.json").write_text("{}")
    assert "not a fluxkit result" in problems(tmp_path / "result.json")[0]
    change(folder, lambda values: values.update(schema="fluxkit.result/99"))
    assert "version 99" in problems(folder)[0]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"holds no result\.json"):
        verify_all([tmp_path / "empty"])


def test_all_results_of_a_study_are_verified(folder):
    """A study folder stands for every result under it."""
    assert [verdict.file.name for verdict in verify_all([folder.parent])] == ["result.json"]


def test_a_configuration_that_is_not_its_own_is_found(folder):
    """A result that claims another configuration's hash, or whose settings were changed after it, does not verify."""
    change(folder, lambda values: values["spec"]["execution"].update(gradient_checkpointing=True))
    assert "configuration_sha256 is not the hash of the spec, the hardware and the packages in it" in problems(folder)
