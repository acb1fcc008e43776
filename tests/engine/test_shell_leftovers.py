"""What a shell's leftovers do to a real run: nothing to its numbers, and what is left out is said."""

import pytest
from real_engine import EngineRun, small_spec

from fluxkit.fold.verify import verify_result
from fluxkit.record.result import RunResult
from fluxkit.run.study import run_study

IEEE = {"dtype": "float32", "autocast": "off", "cuda.matmul": "ieee", "mkldnn.matmul": "ieee"}
MEETING = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}
LEFTOVERS = {
    "accelerate tunes in bfloat16": {"ACCELERATE_MIXED_PRECISION": "bf16"},
    "accelerate compiles": {"ACCELERATE_DYNAMO_BACKEND": "EAGER"},
    "accelerate shards": {"ACCELERATE_USE_FSDP": "true", "FSDP_CPU_RAM_EFFICIENT_LOADING": "1"},
    "accelerate uses DeepSpeed": {"ACCELERATE_USE_DEEPSPEED": "true"},
    "accelerate picks a device": {"ACCELERATE_TORCH_DEVICE": "meta"},
    "accelerate casts on XLA": {"ACCELERATE_DOWNCAST_BF16": "true", "XLA_USE_BF16": "1"},
    "rank": {"RANK": "1"},
    "local rank": {"LOCAL_RANK": "0"},
    "world": {"WORLD_SIZE": "2", "RANK": "0", **MEETING},
    "Open MPI": {
        "OMPI_COMM_WORLD_SIZE": "2",
        "OMPI_COMM_WORLD_RANK": "1",
        "OMPI_COMM_WORLD_LOCAL_RANK": "1",
        **MEETING,
    },
    "PMI": {"PMI_SIZE": "2", "PMI_RANK": "1", **MEETING},
    "MVAPICH": {"MV2_COMM_WORLD_SIZE": "2", "MV2_COMM_WORLD_RANK": "1", "MV2_COMM_WORLD_LOCAL_RANK": "1", **MEETING},
    "Slurm": {"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_LOCALID": "1", "PMIX_RANK": "1"},
    "TF32": {"NVIDIA_TF32_OVERRIDE": "1", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1"},
    "oneDNN": {"ONEDNN_DEFAULT_FPMATH_MODE": "BF16", "DNNL_DEFAULT_FPMATH_MODE": "BF16"},
    "cuBLAS emulates": {"CUBLAS_EMULATE_SINGLE_PRECISION": "1", "CUBLAS_EMULATION_STRATEGY": "eager"},
    "diffusers' attention": {"DIFFUSERS_ATTN_BACKEND": "_native_math"},
    "diffusers' attention, not there": {"DIFFUSERS_ATTN_BACKEND": "flash"},
    "another framework": {"USE_TORCH": "0", "USE_TF": "1"},
    "threads": {"OMP_THREAD_LIMIT": "1", "MKL_NUM_THREADS": "9", "OMP_DYNAMIC": "true", "OMP_NUM_THREADS": "7"},
    "logs": {"TORCH_LOGS": "no such log", "LOGLEVEL": "no such level"},
    "warnings": {"PYTHONWARNINGS": "error", "PYTHONINSPECT": "1", "PYTHONOPTIMIZE": "2"},
    "debugging": {"CUDA_LAUNCH_BLOCKING": "1", "TORCH_SHOW_DISPATCH_TRACE": "1"},
}


def run_with(variables: dict[str, str], tmp_path, monkeypatch, **tables) -> RunResult:
    """A short run in a shell where these variables are set."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (result,) = run_study([small_spec(**tables)], out=tmp_path / "study").results
    return result


@pytest.mark.slow
@pytest.mark.parametrize("leftovers", LEFTOVERS.values(), ids=LEFTOVERS)
def test_a_leftover_changes_no_bit_and_is_named(leftovers, short_run: EngineRun, tmp_path, monkeypatch):
    """Losses stay those of a clean shell to the last bit, and every variable is named in the plan's notes."""
    result = run_with(leftovers, tmp_path, monkeypatch)
    assert result.status == "completed", result.error
    assert list(result.tuning.losses[:12]) == short_run.losses()[:12]
    assert result.tuning.ranks[0].precision.items() >= IEEE.items()
    assert result.inference.precision.items() >= IEEE.items()
    notes = "\n".join(result.plan.notes)
    assert all(name in notes for name in leftovers), notes


def test_many_leftovers_at_once_change_no_bit(short_run: EngineRun, tmp_path, monkeypatch):
    """A shell full of them gives the FP32 losses of a clean one, and none of their values stands in the result."""
    everything = {name: value for variables in LEFTOVERS.values() for name, value in variables.items()}
    result = run_with(everything, tmp_path, monkeypatch)
    assert result.status == "completed", result.error
    assert list(result.tuning.losses[:12]) == short_run.losses()[:12]
    assert result.tuning.ranks[0].precision.items() >= IEEE.items()
    assert not set(everything) & set(result.tuning.ranks[0].environment)
    assert verify_result(tmp_path / "study" / "00-small-r0").problems == []
    written = (tmp_path / "study" / "00-small-r0" / "result.json").read_text()
    assert "no such log" not in written


def test_what_may_change_speed_stands_in_the_result(tmp_path, monkeypatch):
    """Spinning, allocators and instruction sets are the user's to choose: passed on, recorded, without paths."""
    library = tmp_path / "libnothing.so.2"
    chosen = {
        "OMP_WAIT_POLICY": "PASSIVE", "MALLOC_ARENA_MAX": "2", "ATEN_CPU_CAPABILITY": "avx2", "KMP_BLOCKTIME": "0",
        "PYTORCH_ALLOC_CONF": "max_split_size_mb:128", "LD_PRELOAD": str(library), "MKL_CBWR": "/home/someone/secret",
    }  # fmt: skip
    result = run_with(chosen, tmp_path, monkeypatch)
    assert result.status == "completed", result.error
    environment = result.tuning.ranks[0].environment
    assert environment.items() >= (chosen | {"LD_PRELOAD": "libnothing.so.2", "MKL_CBWR": "set"}).items()
    assert "GOMP_SPINCOUNT" not in environment, "it would override the wait policy that the user chose"
    assert result.tuning.ranks[0].versions["cpu_capability"] == "AVX2"
    written = (tmp_path / "study" / "00-small-r0" / "result.json").read_text()
    assert "someone" not in written
    assert str(tmp_path) not in written


@pytest.mark.slow
@pytest.mark.parametrize("name", ["TORCHDYNAMO_DISABLE", "TORCH_COMPILE_DISABLE"])
def test_a_run_that_says_compiled_is_compiled(name, tmp_path, monkeypatch):
    """What switches torch.compile off does not reach a run whose spec asks for it."""
    result = run_with({name: "1"}, tmp_path, monkeypatch, execution={"compile": True})
    assert result.status == "completed", result.error
    assert result.tuning.compile_seconds > 0
    assert any(name in note for note in result.plan.notes)


@pytest.mark.slow
@pytest.mark.parametrize(
    "leftovers",
    [{"TORCH_DISTRIBUTED_DEBUG": "DETAIL"}, {"PET_NNODES": "2"}, LEFTOVERS["world"], LEFTOVERS["Open MPI"],
     LEFTOVERS["logs"]],
)  # fmt: skip
def test_two_processes_are_started_by_fluxkit_alone(leftovers, short_run: EngineRun, tmp_path, monkeypatch):
    """Two processes meet each other and nobody else, whatever another launcher or a debugging session left behind."""
    result = run_with(leftovers, tmp_path, monkeypatch, execution={"processes": 2})
    assert result.status == "completed", result.error
    assert list(result.tuning.losses[:12]) == pytest.approx(short_run.losses()[:12], abs=1e-5)
    assert len(result.tuning.ranks) == 2


@pytest.mark.parametrize("module", ["torch/__init__.py", "torch.py", "numpy/__init__.py", "skimage/__init__.py"])
def test_another_torch_is_named_with_what_to_unset(module, tmp_path, monkeypatch):
    """A result states the versions of what is installed: a copy that PYTHONPATH puts first is never executed."""
    other = tmp_path / "other" / module
    other.parent.mkdir(parents=True)
    other.write_text(f"open({str(tmp_path / 'executed')!r}, 'w').close()\n__version__ = '9.9'\n")
    result = run_with({"PYTHONPATH": str(tmp_path / "other")}, tmp_path, monkeypatch)
    assert (result.status, result.error.phase) == ("failed", "import")
    name = module.partition("/")[0].removesuffix(".py")
    assert f"Another {name} than the installed one comes first on Python's path" in result.error.message
    assert result.error.message.endswith("unset PYTHONPATH.")
    assert not (tmp_path / "executed").exists()
