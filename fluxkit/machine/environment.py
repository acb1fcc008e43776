"""Which environment variables reach a process that fluxkit starts: left out, or passed on and recorded, and why.

A shell's leftovers must not change a number behind a spec's back. What would change the arithmetic, the threads, the
processes or whether anything is compiled is left out, and said. What may change speed or rounding and is the user's to
choose is passed on and stands in the result. Everything else is nobody's business and is passed on unread.
"""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping, MutableMapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple


class Rule(NamedTuple):
    """Variables that are left out for one reason."""

    patterns: tuple[str, ...]
    """Names, with * for any characters."""
    why: str


LAUNCHERS = Rule(
    ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_*",
     "MASTER_ADDR", "MASTER_PORT", "INIT_METHOD", "TORCHELASTIC_*", "TORCHCOMM_*", "OMPI_*", "PMI_*", "PMIX_*",
     "PRTE_*", "MV2_*", "MPI_LOCAL*", "MPICH_*", "I_MPI_*", "HYDRA_*", "HYDI_*", "PALS_*", "JSM_*", "SLURM_*",
     "SLURMD_*", "SMDATAPARALLEL_*", "FORK_LAUNCHED"),
    "they belong to another launcher, and fluxkit starts its processes itself",
)  # fmt: skip
RENDEZVOUS = Rule(("PET_*",), "torchrun would read them, and they are for execution.nodes above 1 alone")
CLEARED: tuple[Rule, ...] = (
    Rule(
        ("ACCELERATE_*", "FSDP_*", "MEGATRON_LM_*", "PARALLELISM_CONFIG_*", "FP8_*", "DEEPSPEED_*", "XLA_*",
         "USE_TORCH_XLA", "PJRT_DEVICE", "PT_HPU_*"),
        "accelerate would take precision, device and processes from them, and the spec states those",
    ),
    # Source: cuBLAS (TF32 and emulation), oneDNN (implicit down-conversion), oneMKL, triton and inductor.
    Rule(
        ("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "CUBLAS_EMULAT*", "CUBLAS_FIXEDPOINT_*",
         "*_DEFAULT_FPMATH_MODE", "MKL_BLAS_COMPUTE_MODE", "TRITON_F32_DEFAULT", "TORCHINDUCTOR_USE_FAST_MATH",
         "TORCHINDUCTOR_CPP_ENABLE_UNSAFE_MATH_OPT_FLAG"),
        "they override the precision of products, which the spec states",
    ),
    Rule(
        ("DIFFUSERS_*", "TRANSFORMERS_*", "USE_TORCH", "USE_TF", "USE_FLAX", "USE_JAX", "USE_SAFETENSORS",
         "USE_HUB_KERNELS", "USE_PEFT_BACKEND", "_CHECK_PEFT", "TRUST_REMOTE_CODE"),
        "they change which code of diffusers and transformers runs",
    ),
    Rule(
        ("NPY_PROMOTION_STATE", "NUMPY_EXPERIMENTAL_*", "SCIPY_*", "SKIMAGE_*"),
        "they change which code of NumPy, SciPy and scikit-image scores the pictures",
    ),
    Rule(("TORCHDYNAMO_*", "TORCH_COMPILE_*"), "execution.compile states whether blocks are compiled"),
    Rule(
        ("MKL_NUM_THREADS", "MKL_DOMAIN_NUM_THREADS", "MKL_NUM_STRIPES", "MKL_DYNAMIC", "OMP_DYNAMIC",
         "OMP_THREAD_LIMIT", "KMP_*THREAD*", "OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "BLIS_NUM_THREADS",
         "VECLIB_MAXIMUM_THREADS"),
        "execution.threads states the threads",
    ),
    Rule(
        ("CUDA_LAUNCH_BLOCKING", "PYTORCH_NO_CUDA_MEMORY_CACHING", "TORCH_DISTRIBUTED_DEBUG", "TORCH_SHOW_*",
         "TORCH_LOGS*", "TORCH_TRACE", "TORCH_CPP_LOG_LEVEL", "TORCH_FAKE_TENSOR_*", "LOGLEVEL", "MKL_VERBOSE*",
         "ONEDNN_VERBOSE*", "DNNL_VERBOSE*", "CUBLAS_LOG*", "CUBLASLT_LOG*", "CUDNN_LOG*", "KINETO_*",
         "ENABLE_PYTORCH_EXECUTION_TRACE*", "TORCHINDUCTOR_*ASSERTS", "TRITON_INTERPRET", "TRITON_DEBUG"),
        "they are for debugging and would falsify a speed, or end the run",
    ),
    Rule(("PYTHON*",), "they change how Python runs what is measured"),
)  # fmt: skip
KEPT = ("PYTHONPATH", "PYTHONNOUSERSITE", "PYTHONUSERBASE", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX",
        "PYTHONHASHSEED", "PYTHONUTF8", "PYTHONIOENCODING", "PYTHONCOERCECLOCALE", "PYTHONUNBUFFERED",
        "PYTHONSAFEPATH", "TRANSFORMERS_OFFLINE")  # fmt: skip
"""Of those that a pattern covers the ones that change no number."""
RECORDED = ("OMP_*", "GOMP_*", "KMP_*", "MKL_*", "ONEDNN_*", "DNNL_*", "ATEN_*", "OPENBLAS_*", "BLIS_*", "VECLIB_*",
            "XNNPACK_*", "ARM_COMPUTE_*", "FBGEMM_*", "NPY_*CPU_FEATURES", "NUMPY_MADVISE_HUGEPAGE",
            "LRU_CACHE_CAPACITY", "MALLOC_*", "_RJEM_MALLOC_CONF", "TCMALLOC_*", "MIMALLOC_*", "GLIBC_TUNABLES",
            "THP_MEM_ALLOC_ENABLE", "LD_PRELOAD", "LD_AUDIT", "DYLD_INSERT_LIBRARIES", "SAFETENSORS_*", "HF_*_LOAD*",
            "TORCH_*", "PYTORCH_*", "TORCHINDUCTOR_*", "INDUCTOR_*", "TRITON_*", "CUDA_*", "CUBLAS_*", "CUBLASLT_*",
            "DISABLE_ADDMM_CUDA_LT", "ENABLE_*_TMA_*", "CUDNN_*", "CUTLASS_*", "FLASH_ATTENTION_*", "NCCL_*", "GLOO_*",
            "NVSHMEM_*", "UCX_*", "FI_*")  # fmt: skip
"""Passed on and recorded: they may change speed or rounding, and are the user's to choose."""
UNRECORDED = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "CUDA_VERSION", "*_HOME", "*_DIR", "CUDA_PATH*", "CUDNN_PATH")
"""Of them those that stand elsewhere in the result, or only say where files lie."""
_NUMBER = re.compile(r"[-+]?\d+(\.\d+|-\d+)?(e[-+]?\d+)?[a-z%]{0,3}", re.IGNORECASE)
_LIBRARY = re.compile(r"lib[-\w+]{1,40}\.(so|dylib)[\d.]{0,12}")
_WORDS = frozenset(
    """true false yes no on off none default auto active passive close spread master primary cores threads sockets
    numa_domains ll_caches static dynamic guided monotonic nonmonotonic granularity fine core thread compact scatter
    balanced disabled explicit verbose noverbose respect norespect warnings nowarnings infinite turnaround throughput
    serial avx avx2 avx512 avx512_core avx512_core_vnni avx512_core_bf16 avx512_core_fp16 avx512_core_amx avx2_vnni
    sse41 sse4_2 vsx zvector sve sve128 sve256 avx512_e1 avx512_e2 avx512_e3 avx512_e4 compatible strict all ieee any
    native cudamallocasync backend max_split_size_mb expandable_segments garbage_collection_threshold
    roundup_power2_divisions max_non_split_rounding_mb pinned_use_cuda_host_register pinned_num_register_threads
    pinned_use_background_threads background_thread metadata_thp dirty_decay_ms muzzy_decay_ms narenas percpu_arena
    thp always lg_tcache_max oversize_threshold glibc malloc arena_max trim_threshold mmap_threshold tcache_count
    top_pad hugetlb ring tree collnet nvls ll ll128 simple loc node pix pxb phb sys lazy eager fastest_first
    x86_v2 x86_v3 x86_v4 fma3 f16c avx512f avx512_skx avx512_icl avx512_spr asimdhp asimddp
    pci_bus_id aggressive spawn subprocess fork info warn error debug trace version""".split()  # noqa: SIM905 - a list of fifty lines
)
"""What a value may say of itself beside numbers: words of the variables' own documentation."""


def child_environment(environment: Mapping[str, str] = os.environ, *, nodes: int = 1) -> dict[str, str]:
    """What a Python process that fluxkit starts finds: nothing of the folder one happens to stand in, no leftovers.

    `nodes` is the number of machines that run together: with several, torchrun's own variables stay.
    """
    kept = {name: value for name, value in environment.items() if _rule_of(name, nodes) is None}
    # A file of the folder one happens to be in must not shadow a module; an empty or relative entry means that folder.
    entries = [entry for entry in kept.pop("PYTHONPATH", "").split(os.pathsep) if Path(entry).is_absolute()]
    package = Path(__file__).resolve().parents[2]
    if not package.name.endswith("-packages"):
        entries.insert(0, str(package))
    return {**kept, "PYTHONSAFEPATH": "1"} | ({"PYTHONPATH": os.pathsep.join(entries)} if entries else {})


def environment_notes(nodes: int, threads: int, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """What of this environment does not reach the engine, in sentences with names and no values.

    `nodes` and `threads` of each process are the plan's.
    """
    hits: dict[Rule, list[str]] = {}
    for name in sorted(environment):
        if rule := _rule_of(name, nodes):
            hits.setdefault(rule, []).append(name)
    notes = [f"Not passed to the engine: {_listed(rule, names)}; {rule.why}." for rule, names in hits.items()]
    if environment.get("OMP_NUM_THREADS", str(threads)) != str(threads):
        notes.append(f"OMP_NUM_THREADS is {threads} for the engine, as planned; execution.threads sets it.")
    return tuple(notes)


def recorded(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables that may change speed or rounding, by name; of a value only numbers and known words."""
    return {name: harmless(name, environment[name]) for name in sorted(environment) if _is_recorded(name)}


def overriding(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Names of the variables that would change a number, or may: those that are left out, and those recorded.

    Without those of launchers, and NVIDIA_TF32_OVERRIDE, which is a reading of its own.
    """
    names = [name for name in sorted(environment) if name != "NVIDIA_TF32_OVERRIDE"]
    return [name for name in names if _rule_of(name, nodes=2) not in {LAUNCHERS, None} or _is_recorded(name)]


def harmless(name: str, value: str) -> str:
    """`value` where it is made of numbers and known words, the file names of preloaded libraries, else `set`."""
    if name in {"LD_PRELOAD", "LD_AUDIT", "DYLD_INSERT_LIBRARIES"}:
        files = [Path(entry).name for entry in re.split(r"[:\s]+", value) if entry]
        return ", ".join(file if _LIBRARY.fullmatch(file) else "another library" for file in files) or "empty"
    parts = [part for part in re.split(r"[,:;=.|{}\[\]()\s]+", value) if part]
    known = all(_NUMBER.fullmatch(part) or part.lower() in _WORDS for part in parts)
    return (value.strip() or "empty") if known or _NUMBER.fullmatch(value) else "set"


def to_unset(text: str, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Names of the variables that an error's text speaks of, by their name, their value or a path in it."""
    return [name for name, value in sorted(environment.items()) if _may_break(name) and _speaks_of(text, name, value)]


def settle_home(environment: MutableMapping[str, str] = os.environ) -> None:
    """Where this user has no home folder, that of temporary files is it: caches would lie in a folder named `~`."""
    if not Path(os.path.expanduser("~")).is_absolute():  # noqa: PTH111 - Path.expanduser raises instead
        environment["HOME"] = tempfile.gettempdir()


def _rule_of(name: str, nodes: int) -> Rule | None:
    """Why a variable is left out; None where it is passed on."""
    rules = () if name in KEPT else (*CLEARED, LAUNCHERS, *(() if nodes > 1 else (RENDEZVOUS,)))
    return next((rule for rule in rules if _matches(name, rule.patterns)), None)


def _is_recorded(name: str) -> bool:
    return _matches(name, RECORDED) and not _matches(name, UNRECORDED) and _rule_of(name, nodes=2) is None


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _listed(rule: Rule, names: list[str]) -> str:
    """The names; of many that begin alike only how they begin, since a cluster sets forty."""

    def parts() -> Iterator[str]:
        for pattern in rule.patterns:
            fitting = [name for name in names if fnmatchcase(name, pattern)]
            yield from [f"{pattern} ({len(fitting)} variables)"] if len(fitting) > 4 else fitting  # noqa: PLR2004 - a line

    return ", ".join(dict.fromkeys(parts()))


def _may_break(name: str) -> bool:
    return _is_recorded(name) or _matches(name, ("PYTHONPATH", "LD_LIBRARY_PATH", "HF_*", "HUGGINGFACE_*", "XDG_*"))


def _speaks_of(text: str, name: str, value: str) -> bool:
    own = str(Path(__file__).resolve().parents[2])
    values = [entry for entry in value.split(os.pathsep) if entry != own] if "PATH" in name else [value]
    # A short or everyday value stands in any text by chance.
    telling = [entry for entry in values if len(entry) > 3 and not _NUMBER.fullmatch(entry)]  # noqa: PLR2004
    return re.search(rf"\b{name}\b", text) is not None or any(entry in text for entry in telling)
