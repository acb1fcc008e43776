#!/usr/bin/env bash
# Writes docker/requirements-*.txt, every package of the images with its version and the hashes of its files, and
# docker/constraints.txt, the same versions for an install without an image.
# The index and local wheels are those that pip is configured for; none of them is written into a lock.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# PyTorch's index of CPU wheels can't be asked for a platform other than one's own without all of its wheels at hand,
# so the hash of the arm64 wheel is noted here. It belongs to one version of torch and must be renewed with it.
TORCH_ARM64_VERSION=2.13.0+cpu
TORCH_ARM64_SHA256=84453b69508ec79902f899c5ed9495acb9e2bbe9fda5f1d5d6f19e3c3842e1a7

pip_setting() { # name: its value in pip's configuration, or nothing
    python3 -m pip config list | sed -n "s/^\(global\|:env:\)\.$1='\(.*\)'$/\2/p" | head -n 1
}

compile() { # more arguments: one lock on standard output, for the Python and the C library of the base image
    uv pip compile --quiet --no-config --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
        --generate-hashes --only-binary :all: --python-version 3.11 --python-platform x86_64-manylinux_2_28 "$@"
}

header() { # what it locks
    printf '# %s, written by: just lock. Do not edit.\n' "$1"
}

torch_of_both_platforms() { # adds the arm64 wheel to the lock on standard input
    sed "s/^\(torch==${TORCH_ARM64_VERSION/+/[+]}\) \\\\$/\1 \\\\\n    --hash=sha256:$TORCH_ARM64_SHA256 \\\\/"
}

index=$(pip_setting index-url)
links=$(pip_setting find-links)
[ -z "$index" ] || export UV_DEFAULT_INDEX=$index
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# CUDA first, without local wheels: the CPU build of torch may be among them and would be preferred.
compile --extra engine --extra int8 ../pyproject.toml >"$scratch/cuda.txt"

# The CPU image gets the same versions; only torch is another build, and what CUDA needs falls away.
sed -n 's/^\([a-z0-9][^ ]*\) \\$/\1/p' "$scratch/cuda.txt" | grep -v '^torch==' >"$scratch/versions.txt"
torch=$(sed -n 's/^\(torch==[0-9.]*\).*/\1/p' "$scratch/cuda.txt")
echo "$torch+cpu" >"$scratch/torch.in"
where=(--index "$(sed -n 's/^ARG TORCH_INDEX=//p' cpu.Dockerfile)" --index-strategy unsafe-best-match)
for file in "${links:-/nowhere}/torch-${torch#torch==}+cpu-"*; do
    if [ -e "$file" ]; then where=(--find-links "$links"); fi
done
compile "${where[@]}" --constraint "$scratch/versions.txt" --extra engine --extra int8 ../pyproject.toml "$scratch/torch.in" \
    >"$scratch/cpu.txt"
compile requirements-build.in >"$scratch/build.txt"

[ "$torch+cpu" = "torch==$TORCH_ARM64_VERSION" ] || {
    echo "docker/lock.sh: torch is now ${torch#torch==}; put the version and hash of its arm64 CPU wheel into this file." >&2
    exit 1
}

{ header "Packages of the CUDA image"; cat "$scratch/cuda.txt"; } >requirements-cuda.txt
{ header "Packages of the CPU image"; torch_of_both_platforms <"$scratch/cpu.txt"; } >requirements-cpu.txt
{ header "What builds fluxkit's wheel in both images"; cat "$scratch/build.txt"; } >requirements-build.txt
{ header "The versions that are tested, for pip install --constraint"; cat "$scratch/versions.txt"; echo "$torch"; } |
    grep -v '^nvidia-[^m]\|^cuda-\|^triton==' >constraints.txt
