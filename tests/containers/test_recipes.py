"""Recipes of the images: what they promise each other and the locks, read from their text, and the linters' opinion."""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKER, APPTAINER, CHAIN = ROOT / "docker", ROOT / "apptainer", ROOT / "tests" / "containers"
RECIPES = {kind: DOCKER / f"{kind}.Dockerfile" for kind in ("cpu", "cuda")}
LOCKS = {kind: DOCKER / f"requirements-{kind}.txt" for kind in ("cpu", "cuda", "build")}
DEFINITION, JOB = APPTAINER / "fluxkit.def", APPTAINER / "run.sbatch"
SHELL = (*sorted(CHAIN.glob("*.sh")), DOCKER / "lock.sh", JOB, ROOT / ".ci" / "run")
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
ONLY_CUDA = ("nvidia-", "cuda-", "triton")
ALSO_ON_CPU = ("nvidia-ml-py",)
DELIVERED = [
    path
    for folder in (DOCKER, APPTAINER, CHAIN, ROOT / ".ci")
    for path in sorted(folder.rglob("*"))
    if path.is_file() and path.suffix not in {".whl", ".pyc"} and path != Path(__file__)
]


def text(path):
    return path.read_text("utf-8")


def instructions(kind):
    """Instructions of a recipe with their continuation lines, without comments."""
    lines = [line for line in text(RECIPES[kind]).splitlines() if line.strip() and not line.startswith("#")]
    return "\n".join(lines).replace("\\\n", " ").splitlines()


def versions(lock):
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", text(lock), re.MULTILINE))


def environment(kind):
    """Variables that a recipe sets."""
    joined = " ".join(line[4:] for line in instructions(kind) if line.startswith("ENV "))
    return dict(re.findall(r"(\w+)=(\S+)", joined))


def section(name):
    """Lines of one section of the Apptainer definition."""
    return re.search(rf"^%{name}\b[^\n]*\n(.*?)(?=^%|\Z)", text(DEFINITION), re.MULTILINE | re.DOTALL)[1]


def program(name):
    """A program of this environment, or of PATH; not having it is no reason to let a recipe go unread."""
    here = Path(sysconfig.get_path("scripts")) / name
    found = str(here) if here.exists() else shutil.which(name)
    assert found, f"{name} is missing; run: pip install '.[test]'"
    return found


def lint(*command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hadolint_finds_nothing():
    """Both image recipes pass hadolint."""
    lint(program("hadolint"), *map(str, RECIPES.values()))


def test_shellcheck_finds_nothing():
    """Every shell script passes shellcheck, with what it sources."""
    lint(program("shellcheck"), "-x", *map(str, SHELL))


def test_the_justfile_is_formatted():
    """The justfile is as just itself would write it."""
    lint(program("just"), "--fmt", "--check", "--unstable")


def test_the_recipes_have_the_same_stages():
    """CPU and CUDA images are built in the same stages, by the same instructions but for torch, name and driver."""
    stages = {kind: re.findall(r"^FROM \S+ AS (\w+)", text(RECIPES[kind]), re.MULTILINE) for kind in RECIPES}
    assert stages["cpu"] == stages["cuda"] == ["base", "dependencies", "project", "runtime"]
    different = set(instructions("cpu")) ^ set(instructions("cuda"))
    words = ("TORCH_INDEX", "torch.version.cuda", "fluxkit:", "NVIDIA_", "image.title", "requirements-c")
    assert [line for line in different if not any(word in line for word in words)] == []


@pytest.mark.parametrize("kind", RECIPES)
def test_the_base_is_pinned(kind):
    """The base is one argument with a digest, and no stage comes from anywhere else."""
    assert re.search(r"^ARG BASE_IMAGE=\S+@sha256:[0-9a-f]{64}$", text(RECIPES[kind]), re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", text(RECIPES[kind]), re.MULTILINE)) == {
        "${BASE_IMAGE}", "base", "dependencies",
    }  # fmt: skip
    assert ":latest" not in text(RECIPES[kind])


@pytest.mark.parametrize("kind", RECIPES)
def test_old_engines_understand_it(kind):
    """Nothing in a recipe needs a frontend from a registry: no syntax line, no here-document, no linked copy."""
    assert not re.search(r"^#\s*syntax=", text(RECIPES[kind]), re.MULTILINE)
    assert not any("<<" in line or "--link" in line for line in instructions(kind))


@pytest.mark.parametrize("kind", RECIPES)
def test_packages_are_locked(kind):
    """Every pip that reaches an index takes hashes only, and the layer of packages comes before the source."""
    reaching = [
        part for line in instructions(kind) for part in line.split("&&")
        if " -m pip " in part and " install " in part and "--no-index" not in part
    ]  # fmt: skip
    assert reaching
    assert all("--require-hashes" in part and "--no-deps" in part for part in reaching)
    copied = [line for line in instructions(kind) if line.startswith("COPY --from")]
    assert copied[0].endswith("--from=dependencies /opt/venv /opt/venv")
    assert copied[-1].endswith("--from=project /project/opt/venv /opt/venv")


@pytest.mark.parametrize("kind", RECIPES)
def test_the_image_runs_as_anybody(kind):
    """The image's user is not root, its folders belong to group 0, and tini passes signals to everything it started."""
    lines = instructions(kind)
    assert "USER 10001:0" in lines
    assert any("install -d -o 10001 -g 0 -m 0775 /bench /bench/runs " in line for line in lines)
    assert any("install -d -o 10001 -g 0 -m 1777 /cache " in line for line in lines)
    assert 'ENTRYPOINT ["tini", "-g", "--", "fluxkit"]' in lines
    assert "HEALTHCHECK NONE" in lines


@pytest.mark.parametrize("kind", RECIPES)
def test_caches_and_the_network_are_settled(kind):
    """Nothing is downloaded unasked, ~/.local stays out, and every cache lies in /cache."""
    settled = environment(kind)
    assert settled["HF_HUB_OFFLINE"] == "1"
    assert settled["PYTHONNOUSERSITE"] == "1"
    caches = [value for name, value in settled.items() if "CACHE" in name or name == "HF_HOME"]
    assert len(caches) == 5
    assert all(value.startswith("/cache") for value in caches)
    assert not any(name.startswith("OMP_") for name in settled), "fluxkit settles threads itself"


@pytest.mark.parametrize("kind", RECIPES)
def test_labels_and_the_build_file_say_the_same(kind):
    """Version, revision, time and base are labels of the image and stand in the file that fluxkit reads."""
    label = next(line for line in instructions(kind) if line.startswith("LABEL "))
    build = next(line for line in instructions(kind) if "/etc/fluxkit/build.json" in line)
    for name in ("VERSION", "REVISION", "CREATED", "BASE_IMAGE", "IMAGE"):
        assert f'"${{{name}}}"' in label
        assert f'"${{{name}}}"' in build


def test_the_locks_differ_in_torch_alone():
    """Both images hold the same versions; only torch is another build, and CUDA's own packages are in one of them."""
    cpu, cuda = versions(LOCKS["cpu"]), versions(LOCKS["cuda"])
    assert cpu.pop("torch") == cuda.pop("torch") + "+cpu"
    extra = {name for name in cuda if name.startswith(ONLY_CUDA) and name not in ALSO_ON_CPU}
    assert extra
    assert cpu == {name: version for name, version in cuda.items() if name not in extra}


@pytest.mark.parametrize("kind", LOCKS)
def test_every_package_has_a_hash(kind):
    """A lock holds versions with hashes, and no option and no address."""
    body = [line for line in text(LOCKS[kind]).splitlines() if not line.startswith("#")]
    entries = "\n".join(body).replace("\\\n", " ").splitlines()
    assert all(re.fullmatch(r"[a-z0-9._-]+==\S+( +--hash=sha256:[0-9a-f]{64})+", entry) for entry in entries)


def test_the_locks_hold_what_the_package_asks_for():
    """Every dependency of fluxkit, its engine and eight-bit weights is in the locks, in a version that it allows."""
    import tomllib

    from packaging.requirements import Requirement

    project = tomllib.loads(text(ROOT / "pyproject.toml"))["project"]
    extras = project["optional-dependencies"]
    asked = [Requirement(line) for line in (*project["dependencies"], *extras["engine"], *extras["int8"])]
    for kind in ("cpu", "cuda"):
        held = versions(LOCKS[kind])
        assert [str(each) for each in asked if not each.specifier.contains(held[each.name])] == []
    backend = [Requirement(line) for line in tomllib.loads(text(ROOT / "pyproject.toml"))["build-system"]["requires"]]
    assert all(each.specifier.contains(versions(LOCKS["build"])[each.name]) for each in backend)


def test_the_cpu_lock_has_a_torch_for_arm64():
    """The CPU lock accepts torch's wheel for x86-64 and the one for arm64; the CUDA lock is for x86-64."""
    entry = re.search(r"^torch==.*\n((?: +--hash=.*\n)+)", text(LOCKS["cpu"]), re.MULTILINE)
    hashes = re.findall(r"sha256:([0-9a-f]{64})", entry[1])
    noted = re.search(r"^TORCH_ARM64_SHA256=(\w+)$", text(DOCKER / "lock.sh"), re.MULTILINE)[1]
    assert len(hashes) == 2
    assert noted in hashes


def test_no_index_is_named():
    """Only the CPU recipe names an index of packages, PyTorch's own; pip and apt have their own configuration."""
    hosts = re.compile(r"https?://[^\s\"'<>)]+|\b[\w.-]*(?:pypi|pythonhosted|debian|npmjs)\.(?:org|net|com)\b")
    found = {(path.name, host) for path in DELIVERED for host in hosts.findall(text(path))}
    assert found == {("cpu.Dockerfile", TORCH_INDEX)}


def test_the_definition_is_one_for_every_source():
    """Bootstrap and source are arguments with defaults, every section is there, and nothing is installed."""
    written = text(DEFINITION)
    assert re.search(r"^Bootstrap: {{ BOOTSTRAP }}\nFrom: {{ FROM }}$", written, re.MULTILINE)
    assert {line.split("=")[0].strip() for line in section("arguments").splitlines() if "=" in line} == {
        "BOOTSTRAP", "FROM",
    }  # fmt: skip
    for name in ("environment", "runscript", "test", "apprun", "help", "labels"):
        assert re.search(rf"^%{name}\b", written, re.MULTILINE), name
    assert not re.search(r"^%post|pip install|apt-get|:latest", written, re.MULTILINE)


def test_the_definition_moves_every_cache_of_the_image():
    """Each cache that the image keeps in /cache has a writable place in a SIF, but for weights, which are only read."""
    moved = set(re.findall(r"export (\w+)=", section("environment")))
    kept = {name for name, value in environment("cuda").items() if value.startswith("/cache")}
    assert kept - moved == {"HF_HOME"}
    assert "PYTHONNOUSERSITE" in moved


def test_the_documented_presets_exist():
    """Every preset that a recipe or script names is one that ships."""
    shipped = {path.stem for path in (ROOT / "fluxkit" / "spec" / "presets").glob("*.toml")}
    named = {name for path in (DEFINITION, JOB) for name in re.findall(r"\b(?:nano|schnell)-[a-z0-9-]+", text(path))}
    assert named
    assert named <= shipped


def test_the_job_is_requeued_with_a_checkpoint():
    """The job gets its signal early enough, goes back into the queue after exit code 75, and continues its study."""
    options = set(re.findall(r"^#SBATCH (\S+)", text(JOB), re.MULTILINE))
    assert {"--nodes=1", "--ntasks-per-node=1", "--requeue", "--open-mode=append", "--signal=B:USR1@180"} <= options
    assert "--resume" in text(JOB)
    assert re.search(r'"\$code" = 75 .*\n.*\n +scontrol requeue', text(JOB))
    assert text(JOB).count("apptainer exec") == 1, "one container for each node"


@pytest.mark.parametrize(("required", "code"), [("0", 77), ("1", 1)])
def test_a_chain_that_can_not_run_says_why(tmp_path, required, code):
    """Where an engine is missing the chain ends with 77 and one reason; where it is required, that is a failure."""
    for name in ("dirname", "uname", "id"):
        (tmp_path / name).symlink_to(shutil.which(name))
    done = subprocess.run(
        [shutil.which("bash"), str(CHAIN / "chain.sh")],
        env={"PATH": str(tmp_path), "HOME": str(tmp_path), "FLUXKIT_REQUIRE_CONTAINERS": required},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert re.fullmatch(r"SKIP containers: .+\n", done.stderr)


JOB_ENVIRONMENT = {
    "SLURM_JOB_ID": "7", "SLURM_GPUS_ON_NODE": "1", "CUDA_VISIBLE_DEVICES": "2", "NCCL_SOCKET_IFNAME": "ib0",
    "NCCL_DEBUG": "INFO,WARN", "GLOO_SOCKET_IFNAME": "ib0", "UCX_NET_DEVICES": "mlx5_0:1", "FI_PROVIDER": "efa",
}  # fmt: skip


def test_a_job_takes_its_network_into_the_container(tmp_path):
    """What Slurm and NCCL need passes `--cleanenv` unchanged, commas too, and nothing else of the shell does."""
    container = tmp_path / "apptainer"
    container.write_text("#!/bin/sh\nenv | sed -n s/^APPTAINERENV_//p\n")
    container.chmod(0o755)
    (tmp_path / "fluxkit.sif").touch()
    shell = {"PATH": f"{tmp_path}:/usr/bin:/bin", "TMPDIR": str(tmp_path), "LD_PRELOAD_OF_A_SHELL": "x"}
    done = subprocess.run(
        ["bash", str(JOB)], env=JOB_ENVIRONMENT | shell, cwd=tmp_path, capture_output=True, text=True, timeout=60,
        check=True,
    )  # fmt: skip
    passed = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert passed.pop("FLUXKIT_IMAGE").startswith("fluxkit.sif@sha256:")
    assert passed == JOB_ENVIRONMENT


def test_a_job_asks_for_its_memory():
    """A node's default may be a few GB for each core: the job asks for what one process with schnell in FP32 needs."""
    assert int(re.search(r"^#SBATCH --mem=(\d+)G$", text(JOB), re.MULTILINE)[1]) > 48


def test_a_plain_install_can_have_the_versions_that_are_tested():
    """The constraints pin what the locks pin, but for CUDA's libraries and the build of torch, and nothing else."""
    pinned = versions(DOCKER / "constraints.txt")
    locked = versions(LOCKS["cuda"])
    assert pinned == {
        name: version for name, version in locked.items() if name in ALSO_ON_CPU or not name.startswith(ONLY_CUDA)
    }
    assert {**versions(LOCKS["cpu"]), "torch": pinned["torch"]} == pinned


def test_no_dependency_may_become_another_major_version():
    """Every package that a run or a report uses ends before a version that was never tried, and the locks obey."""
    tables = tomllib.loads(text(ROOT / "pyproject.toml"))["project"]
    used = [*tables["dependencies"], *(line for kind in ("engine", "int8", "heif") for line in
            tables["optional-dependencies"][kind])]  # fmt: skip
    assert [line for line in used if "<" not in line] == []
    pinned = versions(DOCKER / "constraints.txt")
    for name, least, end in (re.fullmatch(r"([a-z0-9-]+)>=([0-9.]+),<([0-9.]+)", line).groups() for line in used):
        if name in pinned:
            numbers = [tuple(map(int, part.split("."))) for part in (least, pinned[name].partition(".post")[0], end)]
            assert numbers == sorted(numbers), name


def inputs(checkout):
    done = subprocess.run(
        [str(checkout / "tests" / "containers" / "chain.sh"), "--inputs"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize(
    ("file", "old", "new", "worthless"),
    [
        ("docker/cpu.Dockerfile", "tini", "dumb-init", True),
        ("docker/requirements-cuda.txt", "==", "===", True),
        ("apptainer/run.sbatch", "--requeue", "--no-requeue", True),
        ("tests/containers/engines.sh", "--read-only", "", True),
        ("pyproject.toml", '"peft>=0.17,', '"peft>=0.18,', True),
        ("pyproject.toml", 'fluxkit = "fluxkit.__main__:main"', 'fluxkit = "fluxkit.other:main"', True),
        ("pyproject.toml", '"pytest>=8.3"', '"pytest>=9.0"', False),
        ("pyproject.toml", "line-length = 120", "line-length = 100", False),
        ("fluxkit/machine/container.py", "import", "import sys, ", False),
        ("docker/lock.sh", "uv", "pip", False),
    ],
)
def test_a_proof_holds_until_what_it_is_about_changes(tmp_path, file, old, new, worthless):
    """What images are made of, and how that is proven, makes a proof worthless; other source and test tools do not."""
    for folder in ("docker", "apptainer", "tests/containers", "fluxkit"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=lambda *_: ["data", "__pycache__"])
    for name in ("pyproject.toml", ".dockerignore"):
        shutil.copy(ROOT / name, tmp_path / name)
    before = inputs(tmp_path)
    assert before == inputs(ROOT)
    changed = tmp_path / file
    assert old in text(changed)
    changed.write_text(text(changed).replace(old, new), "utf-8")
    assert (inputs(tmp_path) != before) == worthless


def test_the_last_proof_is_recorded():
    """What the chain recorded has a hash, a date and figures; whether it is of what lies here is .ci/run's question."""
    recorded = CHAIN / "proven.txt"
    if not recorded.exists():
        pytest.skip("the chain has not run yet")
    assert re.search(r"^inputs [0-9a-f]{64}\nran \d{4}-\d\d-\d\d\nfigures .+$", text(recorded), re.MULTILINE)
