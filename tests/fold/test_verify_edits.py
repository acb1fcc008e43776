"""`fluxkit.fold.verify` against edits: what contradicts events, plan, spec, job, study or files is named."""

import hashlib
import json
import random
import shutil

import pytest
from typer.testing import CliRunner

from fluxkit.cli.app import app
from fluxkit.files.atomic_file import write_with_sha256
from fluxkit.fold.verify import verify_all, verify_result, verify_study
from fluxkit.run.launch import launch
from fluxkit.run.study import run_study


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return tmp_path_factory.mktemp("whole")


@pytest.fixture
def folder(whole, small_spec, small_plan, engine_is, tmp_path):
    """A copy of one completed run."""
    if not (whole / "run").exists():
        engine_is("completed")
        launch(small_spec, small_plan, folder=whole / "run", seed=3)
    return shutil.copytree(whole / "run", tmp_path / "run")


def at(values, path):
    """The holder and the last key of a dotted path."""
    *parts, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in parts:
        values = values[part]
    return values, last


EDITS = {
    "status": "failed",
    "seed": 4,
    "checks": [],
    "checks.0.grade": "A",
    "checks.0.evidence": "all is well",
    "checks.0.subject": "energy",
    "kit.version": "9.9.9",
    "kit.commit": "f" * 40,
    "kit.image": "docker.io/other",
    "spec.name": "other",
    "spec.hardware.label": "H100",
    "spec.hardware.usd_per_hour": 0.5,
    "spec.execution.precision": "bfloat16",
    "spec.tune.learning_rate": 0.5,
    "spec.tune.iterations": 41,
    "plan.device_names": ["NVIDIA H100"],
    "plan.parameters": 11,
    "plan.threads_per_process": 2,
    "plan.notes": [],
    "system.before.devices.0.name": "NVIDIA H100",
    "system.before.devices.0.memory_bytes": 1,
    "system.before.packages": {},
    "inputs.weights_sha256": "f" * 64,
    "inputs.pairs.0.caption": "a dog",
    "inputs.parameters": 11,
    "phases.0.seconds": 0.5,
    "phases": [],
    "tuning.iteration_seconds.0": 0.25,
    "tuning.losses.0": 0.25,
    "tuning.coverage": 0.5,
    "tuning.marks.0.seconds": 1.0,
    "tuning.ranks.0.device_name": "NVIDIA H100",
    "tuning.ranks.0.peak_memory_bytes.tune.resident": 1,
    "quality.reconstruction.0.psnr_db": 40.0,
    "quality.validation.0.loss": 0.0,
    "quality.definition": {},
    "inference.step_seconds.0": 0.1,
    "inference.micro_batch_size": 256,
    "agreement": None,
    "agreement.0.relative_l2": 0.0,
    "canary.0.matmul_flops_per_second": 1.0,
    "summary.psnr_db": 40.0,
    "summary.training_iterations_per_second": None,
    "summary.energy_joules": 5.0,
    "predicted_over_measured.seconds": 1.0,
    "artifacts": [],
    "artifacts.0.sha256": "0" * 64,
    "artifacts.0.left_out": True,
    "workload_sha256": "0" * 64,
    "configuration_sha256": "0" * 64,
    "error": {"phase": "tune", "kind": "Lost", "message": "it was lost"},
}
"""By path; whoever edits also writes the hash beside the result anew."""
SIGNATURE_ALONE = {
    "id": "f" * 32,
    "study": "other",
    "repeat": 7,
    "order": 7,
    "created": "2020-01-01T00:00:00Z",
    "energy.joules_gross": 1.0,
    "attempts": [],
}


def edited(folder, path, value, *, with_hash):
    values = json.loads((folder / "result.json").read_text())
    holder, key = at(values, path)
    if holder[key] == value:
        value = "nothing else" if isinstance(value, str) else None
    holder[key] = value
    text = json.dumps(values, indent=1) + "\n"
    write_with_sha256(folder / "result.json", text) if with_hash else (folder / "result.json").write_text(text)
    return verify_result(folder / "result.json").problems


@pytest.mark.parametrize("path", EDITS)
def test_an_edit_that_contradicts_the_rest_is_found(folder, path):
    """An edit of what events, log, job, plan, spec or files tell is found, though its hash was written anew."""
    assert verify_result(folder / "result.json") == (folder / "result.json", [], [])
    assert edited(folder, path, EDITS[path], with_hash=True)


@pytest.mark.parametrize("path", SIGNATURE_ALONE)
def test_an_edit_of_what_nothing_else_tells_is_found_by_the_hash(folder, path):
    """What only a signature protects is found by the hash beside the result as long as that is not written anew."""
    assert edited(folder, path, SIGNATURE_ALONE[path], with_hash=False)


ADDED = (
    "samples/more.png",
    "events/rank-1.attempt-0.jsonl",
    "x",
    ".hidden",
    "samples/result.json",
    "adapter/a",
    "events/x",
)


@pytest.mark.parametrize("name", ADDED)
def test_a_file_that_was_added_is_named(folder, name):
    """The files of a run folder are those of its manifest, no fewer and no more."""
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"")
    assert f"{name} is not in the manifest" in verify_result(folder / "result.json").problems


def test_every_flipped_bit_is_found(folder):
    """Any bit of a result, of its hash, or of a file of its folder that is not what was written is found."""
    draw = random.Random(1)
    for file in (
        [folder / "result.json"] * 60
        + [folder / "result.json.sha256"] * 20
        + [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
    ):
        before = file.read_bytes()
        place = draw.randrange(len(before) * 8)
        flipped = bytearray(before)
        flipped[place // 8] ^= 1 << place % 8
        file.write_bytes(flipped)
        assert verify_result(folder / "result.json").problems
        file.write_bytes(before)
    assert not verify_result(folder / "result.json").problems


def test_checks_of_another_version_are_told_and_are_no_fault(folder):
    """A result of another version may be graded otherwise today: that is a note."""
    values = json.loads((folder / "result.json").read_text())
    values["kit"]["version"], values["checks"] = "0.0.1", []
    (folder / "job.json").unlink()
    values["artifacts"] = [file | {"left_out": file["path"] == "job.json"} for file in values["artifacts"]]
    write_with_sha256(folder / "result.json", json.dumps(values))
    verdict = verify_result(folder / "result.json")
    assert verdict.problems == []
    assert any("made by fluxkit 0.0.1" in note for note in verdict.notes)


def test_a_result_without_its_hash_says_so(folder):
    """An older result, without a hash beside it, verifies for what it holds."""
    (folder / "result.json.sha256").unlink()
    verdict = verify_result(folder / "result.json")
    assert verdict.problems == []
    assert "would not be seen" in verdict.notes[0]


def test_sha256sum_reads_the_hash(folder):
    """The hash beside a result is a line of `sha256sum`."""
    digest, name = (folder / "result.json.sha256").read_text().split()
    assert (digest, name) == (hashlib.sha256((folder / "result.json").read_bytes()).hexdigest(), "result.json")


@pytest.fixture
def study(small_spec, engine_is, tmp_path):
    engine_is("completed")
    return run_study([small_spec], repeats=2, out=tmp_path / "study").folder


def test_a_study_is_verified_with_its_runs(study):
    """Each flipped bit of study.json is found, and so is a study that says otherwise than its runs."""
    file = study / "study.json"
    assert not [problem for verdict in verify_all([study]) for problem in verdict.problems]
    text, draw = file.read_bytes(), random.Random(2)
    for _ in range(40):
        place = draw.randrange(len(text) * 8)
        flipped = bytearray(text)
        flipped[place // 8] ^= 1 << place % 8
        file.write_bytes(flipped)
        assert verify_study(file).problems
    values = json.loads(text)
    values["runs"][0]["seed"] += 1
    write_with_sha256(file, json.dumps(values))
    assert verify_study(file).problems == [f"seed of {values['runs'][0]['folder']} is not what study.json says"]
    result = study / values["runs"][0]["folder"] / "result.json"
    write_with_sha256(result, json.dumps(json.loads(result.read_text()) | {"looks": [1]}))
    assert any(problem.startswith("looks of ") for problem in verify_study(file).problems)
    shutil.copytree(study / values["runs"][1]["folder"], study / "99-added")
    assert "99-added is a run that study.json does not name" in verify_study(file).problems


@pytest.mark.parametrize(("state", "notes"), [("planned", ["1 of its 2 runs are not here"]), ("not needed", [])])
def test_runs_that_a_decided_study_does_not_need_are_not_missed(study, state, notes):
    """A run that is not there is told, unless the study says that it needs none."""
    file = study / "study.json"
    values = json.loads(file.read_text())
    values["runs"][1]["state"] = state
    write_with_sha256(file, json.dumps(values))
    shutil.rmtree(study / values["runs"][1]["folder"])
    verdict = verify_study(file)
    assert (verdict.problems, verdict.notes) == ([], notes)


def test_help_says_what_only_a_signature_protects():
    """`verify --help` names those fields and the command that signs."""
    text = CliRunner().invoke(app, ["verify", "--help"]).output
    assert "ssh-keygen -Y sign -f ~/.ssh/id_ed25519 -n fluxkit result.json" in text
    assert all(path.partition(".")[0] in text for path in SIGNATURE_ALONE)
