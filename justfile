# Recipes for working on fluxkit, inside an activated virtual environment. Each calls a command that the README names.

set positional-arguments

# List the recipes.
help:
    @{{ just_executable() }} --list

# Tune twice, compare, and write the report: the laptop study, offline.
demo:
    fluxkit demo

# Write reports/STUDY/index.html of a study folder, with the results and pictures that it shows in results/ beside it.
report study:
    mkdir -p "reports/$(basename "$1")"
    fluxkit report "$1" -o "reports/$(basename "$1")/index.html" --with-results --published original-study

# Install what the tests need and run them.
test:
    pip install '.[engine,test]' && pytest

# The tests that take minutes: several processes, lost ranks, whole runs of FLUX.1-schnell's architecture.
slow:
    pytest -m slow

# Mutate so many results and as many events, and read them: sentences, never a traceback.
fuzz count="100000":
    FLUXKIT_FUZZ={{ count }} pytest --timeout 0 tests/fuzz

# Make things go wrong in numbers (kills, two commands at once, ...), and print how many tries were lost: hours for all.
faults *parts:
    python tests/faults {{ parts }}

# Lint, formatting, types, and the order of the rooms.
check:
    ruff check
    ruff format --check
    mypy
    lint-imports

# Measure fluxkit's speed against other ways to do the same work; add it to reports/bench/MACHINE.json.
bench *arguments:
    PYTHONPATH="tests${PYTHONPATH:+:$PYTHONPATH}" python -m bench "$@"

# Write the pinned files of tests/golden/ anew; look at the difference before committing it.
golden:
    pytest --write-golden

# Print the JSON Schemas of a spec and of a result.
schema:
    fluxkit schema spec
    fluxkit schema result

# Build an image from this checkout: cpu or cuda.
image kind:
    docker build --file docker/{{ kind }}.Dockerfile --tag fluxkit:{{ kind }} \
        --build-arg IMAGE=fluxkit:{{ kind }} \
        --build-arg VERSION="$(python3 -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["project"]["version"])')" \
        --build-arg REVISION="$(git describe --always --abbrev=40 --match= --dirty)" \
        --build-arg CREATED="$(TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ)" .

# Make fluxkit.sif from an image of the Docker Engine: cuda unless told otherwise.
sif kind="cuda":
    apptainer build --build-arg BOOTSTRAP=docker-daemon --build-arg FROM=fluxkit:{{ kind }} fluxkit.sif apptainer/fluxkit.def

# Write the software bill of materials of an image, CycloneDX JSON, to standard output; FLUXKIT_DOCKER=podman runs another engine.
sbom image:
    "${FLUXKIT_DOCKER:-docker}" run --rm --interactive --network none --entrypoint python "$1" -I - < tests/containers/installed.py \
        | python3 tests/containers/sbom.py "$1"

# Write docker/requirements-*.txt anew: the newest versions that pyproject.toml allows, with their hashes.
lock:
    docker/lock.sh

# Ask the package index whether the CPU image's lock holds for arm64 as well.
arm64:
    python3 tests/containers/arm64.py

# Build and run the images, a SIF and the Slurm script for real; needs root and Debian.
containers:
    tests/containers/chain.sh

# Make the embedded nano pipeline again by its recipe: minutes on two cores.
nano:
    python -m fluxkit.engine.nano

# Collect, for a bare CUDA machine with Python 3.12, the few wheels that it may lack; they go into build/gpu-wheels.
gpu-wheels:
    rm -rf build/gpu-wheels
    sed -n -E 's/^((diffusers|importlib-metadata|zipp|pydantic|pydantic-core|annotated-types|typing-inspection|typing-extensions|rich|markdown-it-py|mdurl|pygments|platformdirs|nvidia-ml-py)==[^ ]+).*/\1/p' docker/requirements-cuda.txt \
        | xargs pip download --quiet --no-deps --only-binary :all: --python-version 3.12 --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 --dest build/gpu-wheels pytest pytest-timeout pluggy iniconfig

# Measure on this machine's NVIDIA GPU what reports/ holds of one: the tests of tests/gpu/, nano, and schnell's architecture.
gpu-evidence out="runs/gpu-evidence" *steps:
    tests/gpu/evidence.sh {{ out }} {{ steps }}
