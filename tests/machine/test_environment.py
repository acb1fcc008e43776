"""What of an environment reaches a child process, and what of it may be told."""

import os
import subprocess
import sys

import pytest

from fluxkit.machine.environment import child_environment, environment_notes, harmless, recorded, settle_home, to_unset


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("OMP_WAIT_POLICY", "ACTIVE", "ACTIVE"),
        ("KMP_AFFINITY", "granularity=fine,compact,1,0", "granularity=fine,compact,1,0"),
        ("GOMP_CPU_AFFINITY", "0-3", "0-3"),
        ("PYTORCH_ALLOC_CONF", "expandable_segments:True", "expandable_segments:True"),
        ("CUBLAS_WORKSPACE_CONFIG", ":4096:8", ":4096:8"),
        ("LD_PRELOAD", "/home/alice/lib/libjemalloc.so.2", "libjemalloc.so.2"),
        ("LD_PRELOAD", "/home/alice/alice", "another library"),
        ("LD_AUDIT", "/home/alice/lib/libaudit.so", "libaudit.so"),
        ("NPY_DISABLE_CPU_FEATURES", "X86_V3 AVX512_ICL", "X86_V3 AVX512_ICL"),
        ("FBGEMM_ENABLE_INSTRUCTIONS", "AVX2", "AVX2"),
        ("HF_ENABLE_PARALLEL_LOADING", "yes", "yes"),
        ("MALLOC_CONF", "prof_prefix:/home/alice/heap", "set"),
        ("NCCL_SOCKET_IFNAME", "alice", "set"),
    ],
)
def test_a_value_says_no_more_than_numbers_and_known_words(name, value, told):
    """Numbers, words of the documentation and file names of libraries; anything else may be private."""
    assert harmless(name, value) == told
    assert recorded({name: value}) == {name: told}


def test_torchruns_own_variables_stay_for_several_machines_only():
    """PET_ variables are how several machines meet, and a leftover everywhere else."""
    meeting = {"PET_RDZV_ENDPOINT": "a:1", "RANK": "1"}
    assert "PET_RDZV_ENDPOINT" not in child_environment(meeting)
    kept = child_environment(meeting, nodes=2)
    assert ("PET_RDZV_ENDPOINT" in kept, "RANK" in kept) == (True, False)


def test_what_is_left_out_is_said_by_name_and_reason():
    """Names only, many of one beginning as one, and the threads that the plan gives instead."""
    shell = {"ACCELERATE_MIXED_PRECISION": "bf16", "OMP_NUM_THREADS": "9"} | {f"SLURM_{n}": "x" for n in range(40)}
    precision, launchers, threads = environment_notes(1, 2, shell)
    assert precision.startswith("Not passed to the engine: ACCELERATE_MIXED_PRECISION; accelerate")
    assert "SLURM_* (40 variables)" in launchers
    assert threads.startswith("OMP_NUM_THREADS is 2 for the engine")
    assert environment_notes(1, 2, {"OMP_NUM_THREADS": "2", "HOME": "/root"}) == ()


@pytest.mark.parametrize("name", ["SCIPY_ARRAY_API", "SKIMAGE_NO_DISPATCHING", "NPY_PROMOTION_STATE", "SCIPY_DEVICE"])
def test_what_changes_the_code_that_scores_pictures_is_left_out(name):
    """NumPy, SciPy and scikit-image run as they are by themselves, and the notes say which variable was set."""
    assert name not in child_environment({name: "1"})
    (note,) = environment_notes(1, 2, {name: "1"})
    assert note.startswith(f"Not passed to the engine: {name}; they change which code of NumPy")


def test_no_child_imports_from_the_folder_one_stands_in(tmp_path):
    """Neither by Python's own rule nor by an empty or relative entry of PYTHONPATH is a stranger's file executed."""
    (tmp_path / "random.py").write_text("raise SystemExit('executed')")
    (tmp_path / "fluxkit").mkdir()
    (tmp_path / "fluxkit" / "__init__.py").write_text("raise SystemExit('executed')")
    for path in ("", ":", ".", f".:{tmp_path.name}::"):
        environment = child_environment({**os.environ, "PYTHONPATH": path})
        command = [sys.executable, "-c", "import random, fluxkit.machine.environment"]
        subprocess.run(command, env=environment, cwd=tmp_path, check=True)


def test_a_download_imports_nothing_from_the_folder_one_stands_in(tmp_path, monkeypatch):
    """The child that downloads is started as the engine is."""
    from fluxkit.errors import MachineError
    from fluxkit.model.download import download
    from fluxkit.spec.workload import ModelSpec

    (tmp_path / "random.py").write_text("open('executed', 'w').close()")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = ModelSpec(family="schnell", weights="pretrained", repo="a/b", revision="c" * 40, download=True)
    with pytest.raises(MachineError, match=r"could not be downloaded.*unset HF_HUB_OFFLINE"):
        download(model, child_environment())
    assert not (tmp_path / "executed").exists()


def test_a_variable_that_an_error_speaks_of_is_named():
    """By its name, by its value, or by a file that lies in it; an everyday value is no evidence."""
    shell = {"HF_HUB_ETAG_TIMEOUT": "soon", "PYTHONPATH": "/opt/other", "OMP_STACKSIZE": "1", "HOME": "/home/alice"}
    assert to_unset("invalid literal for int(): 'soon'", shell) == ["HF_HUB_ETAG_TIMEOUT"]
    assert to_unset('File "/opt/other/torch/__init__.py", line 1', shell) == ["PYTHONPATH"]
    assert to_unset("OMP_STACKSIZE is not a size", shell) == ["OMP_STACKSIZE"]
    assert to_unset("line 1 of /home/alice/x", shell) == []


def test_without_a_home_folder_caches_do_not_lie_in_the_current_one(tmp_path, monkeypatch):
    """A user without an entry and without HOME gets the folder of temporary files, never one that is named ~."""
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    environment = {}
    settle_home(environment)
    assert environment == {"HOME": str(tmp_path)}
