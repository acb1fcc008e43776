"""What a container lacks is said in one sentence with the flag that mends it."""

from __future__ import annotations

import errno
import os

import pytest
from made_up import write_pipeline

from fluxkit.errors import ExitCode, MachineError, UsageError
from fluxkit.machine import container
from fluxkit.machine.container import FLAGS, container_engine, existing, is_bound, unwritable, warnings
from fluxkit.machine.readings import Reading
from fluxkit.model import pipeline_files
from fluxkit.plan.plan import make_plan
from fluxkit.run.study import run_study
from fluxkit.spec.toml import load_spec


@pytest.fixture
def inside(monkeypatch, tmp_path):
    """Pretends to be inside an image of fluxkit, with or without a folder bound in for the results."""

    def pretend(kind, *, bound=True):
        build = tmp_path / "build.json"
        if kind != "none":
            build.touch()
        monkeypatch.setattr(container, "BUILD_FILE", build)
        monkeypatch.setattr(container, "container_engine", lambda *_: kind)
        monkeypatch.setattr(container, "is_bound", lambda *_: bound)

    return pretend


def refusal(number):
    return OSError(number, os.strerror(number))


def with_reading(system, name, value):
    reading = Reading(value=value, source="test")
    return system.model_copy(update={"readings": {**system.readings, name: reading}})


def test_outside_of_containers_another_folder_is_named(tmp_path, inside):
    """Without a container around, a folder that can't be written leads to --out."""
    inside("none")
    assert unwritable(tmp_path, refusal(errno.EROFS)).endswith(
        "Read-only file system; choose another folder with --out."
    )
    assert list(warnings(tmp_path, tmp_path)) == []


@pytest.mark.parametrize(("kind", "flag"), [("docker", "-v "), ("podman", "-v "), ("apptainer", "--bind ")])
def test_a_missing_bind_names_its_flag(tmp_path, inside, kind, flag):
    """A read-only container without a folder for the results asks for one, in the words of its engine."""
    inside(kind, bound=False)
    sentence = unwritable(tmp_path, refusal(errno.EROFS))
    assert flag in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(("kind", "flag"), [("docker", '--user "$(id -u):$(id -g)"'), ("podman", "--userns keep-id")])
def test_a_wrong_user_names_its_flag(tmp_path, inside, kind, flag):
    """A bound folder of somebody else asks for the owner's user id."""
    inside(kind)
    assert flag in unwritable(tmp_path, refusal(errno.EACCES))


def test_a_full_disk_asks_for_a_larger_folder(tmp_path, inside):
    """No space left is not answered with a user id."""
    inside("docker")
    sentence = unwritable(tmp_path, refusal(errno.ENOSPC))
    assert "larger folder" in sentence
    assert "--user" not in sentence


def test_results_that_go_with_the_container_are_announced(tmp_path, inside):
    """Results on the container's own disk are worth a warning before anything is measured."""
    inside("docker", bound=False)
    (sentence,) = warnings(tmp_path / "runs", tmp_path)
    assert FLAGS["docker"].bind in sentence


def test_a_cache_without_space_is_announced(tmp_path, inside, monkeypatch):
    """A cache that will not hold what is encoded is named with the flag that gives it more."""
    inside("apptainer")
    monkeypatch.setattr(container, "SCARCE_BYTES", 1 << 60)
    (sentence,) = warnings(tmp_path / "runs", tmp_path / "cache")
    assert "--bind /a/folder/of/yours:/cache" in sentence


def test_a_cache_of_somebody_else_is_refused(tmp_path, inside, monkeypatch):
    """A cache that this user can't write is refused with the flag for another one: torch would fail to be imported."""
    inside("docker")
    monkeypatch.setattr(container.os, "access", lambda *words: words[1] != os.W_OK)
    with pytest.raises(MachineError, match=r"-v .*:/cache"):
        list(warnings(tmp_path / "runs", tmp_path / "cache"))


def test_a_folder_of_the_same_disk_is_not_bound(tmp_path):
    """A folder counts as bound where it lies on another device than the root; one that is absent, by its parent."""
    assert not is_bound(tmp_path / "absent" / "deeper", root=tmp_path)
    assert existing(tmp_path / "absent" / "deeper") == tmp_path


@pytest.mark.parametrize(("kind", "flag"), [("docker", "--gpus all"), ("podman", "--device"), ("apptainer", "--nv")])
def test_a_container_without_a_gpu_names_its_flag(tmp_path, monkeypatch, machine, kind, flag):
    """A GPU preset in a container that shows none asks for the engine's flag, in one sentence."""
    monkeypatch.setattr(pipeline_files, "NANO_FOLDER", write_pipeline(tmp_path / "small"))
    with pytest.raises(MachineError, match=flag) as caught:
        make_plan(load_spec("nano-single-gpu"), with_reading(machine(), "container", kind))
    assert caught.value.exit_code == ExitCode.MACHINE
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("kind", "mend"), [("docker", "start the CUDA image"), ("none", "install a torch")])
def test_the_cpu_image_with_a_gpu_leads_to_the_other_image(tmp_path, monkeypatch, machine, inside, kind, mend):
    """A GPU preset where torch is built for CPUs: in an image another image mends it, elsewhere another torch."""
    monkeypatch.setattr(pipeline_files, "NANO_FOLDER", write_pipeline(tmp_path / "small"))
    inside(kind)
    system = machine(gpus=1)
    system = system.model_copy(update={"packages": {**system.packages, "torch": "2.13.0+cpu"}})
    with pytest.raises(MachineError, match=f"built without CUDA; {mend}"):
        make_plan(load_spec("nano-single-gpu"), system)


@pytest.mark.parametrize(
    ("package", "cuda", "driver", "needed"),
    [("nvidia-cuda-runtime", "13.0.96", "570.86", "580"), ("nvidia-cuda-runtime-cu12", "12.8.90", "470.57", "525")],
)
def test_an_old_driver_is_refused(tmp_path, monkeypatch, machine, package, cuda, driver, needed):
    """A driver that is older than the CUDA of torch is refused with the branch that it needs."""
    monkeypatch.setattr(pipeline_files, "NANO_FOLDER", write_pipeline(tmp_path / "small"))
    system = with_reading(machine(gpus=1), "nvidia_driver", driver)
    system = system.model_copy(update={"packages": {**system.packages, package: cuda}})
    with pytest.raises(MachineError, match=f"driver {needed} or newer.* {driver}"):
        make_plan(load_spec("nano-single-gpu"), system)


def test_a_new_driver_is_accepted(tmp_path, monkeypatch, machine):
    """A driver of the branch that CUDA asks for, or a newer one, runs."""
    monkeypatch.setattr(pipeline_files, "NANO_FOLDER", write_pipeline(tmp_path / "small"))
    system = with_reading(machine(gpus=1), "nvidia_driver", "580.159")
    system = system.model_copy(update={"packages": {**system.packages, "nvidia-cuda-runtime": "13.0.96"}})
    assert make_plan(load_spec("nano-single-gpu"), system).device == "cuda"


@pytest.mark.usefixtures("small_pipeline")
def test_a_folder_that_may_not_be_entered_is_no_traceback(tmp_path, monkeypatch, machine, inside):
    """A folder for results that this user may not even look into is refused in a sentence, before anything runs."""
    inside("docker")
    monkeypatch.setattr("fluxkit.machine.system.probe", machine)
    spec = load_spec("nano-laptop-cpu")

    def locked(*_):
        raise refusal(errno.EACCES)

    monkeypatch.setattr("pathlib.Path.exists", locked)
    with pytest.raises(MachineError, match="--user"):
        run_study([spec], out=tmp_path / "locked" / "runs")


@pytest.mark.parametrize(
    ("files", "environment", "name"),
    [
        ({}, {}, "none"),
        ({".dockerenv": ""}, {}, "docker"),
        ({"run/.containerenv": ""}, {}, "podman"),
        ({}, {"container": "podman"}, "podman"),
        ({".dockerenv": ""}, {"APPTAINER_CONTAINER": "/x.sif"}, "apptainer"),
        ({}, {"SINGULARITY_CONTAINER": "/x.sif"}, "apptainer"),
    ],
)
def test_the_engine_around_a_process(root, files, environment, name):
    """The mark that a container engine leaves tells which one it is."""
    assert container_engine(root(files), environment) == name


def test_a_mac_is_told_that_its_gpu_is_not_measured(machine):
    """Whoever asks for a GPU on a Mac reads what to use instead, before anything is to be installed."""
    system = with_reading(machine(), "kernel", "Darwin 24.1.0").model_copy(update={"packages": {}})
    with pytest.raises(MachineError, match=r"no Mac has; on a Mac fluxkit measures the CPU and not the GPU \(mps\)"):
        make_plan(load_spec("nano-single-gpu"), system)
    for name in ("mps", "MPS", "mps:0", "Metal"):
        with pytest.raises(UsageError, match=r"measures the CPU and not the GPU \(mps\): use nano-laptop-cpu"):
            load_spec("nano-laptop-cpu", [f"execution.device={name}"])
