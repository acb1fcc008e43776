#!/usr/bin/env bash
# Builds the CPU image with two engines, runs it as people are told to, makes a SIF of it, runs that as an ordinary
# user, and submits apptainer/run.sbatch to a Slurm of its own. Needs no container registry: the base is made of Debian
# packages, which come from where this machine's apt takes them.
#
#   tests/containers/chain.sh            everything
#   tests/containers/chain.sh --inputs   prints the hash of everything that the images depend on
#   tests/containers/chain.sh --cuda     also builds the CUDA image and a SIF of it, which run without a GPU (16 GB of disk)
#
# Exit code 0: it ran, and tests/containers/proven.txt says on what. 77: skipped, the reason is printed, nothing is
# recorded; with FLUXKIT_REQUIRE_CONTAINERS=1 that is a failure. Anything else: it failed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
checkout=$(cd "$here/../.." && pwd)
proven=$here/proven.txt
cache=${FLUXKIT_CHAIN_CACHE:-/var/cache/fluxkit-chain} # base and Apptainer, between runs; not in a home that is closed
certificates=/etc/ssl/certs/ca-certificates.crt
ordinary=1000 # uid and gid of the user who runs containers and submits jobs

# Small enough for minutes, whole enough for every phase.
tiny=(--set tune.iterations=4 --set tune.seconds=0.03 --set inference.min_seconds=0.5 --set inference.max_seconds=1.0)

say() { printf '[%4d s] %s\n' "$SECONDS" "$*"; }

skip() {
    echo "SKIP containers: $*" >&2
    [ "${FLUXKIT_REQUIRE_CONTAINERS:-0}" != 1 ] || exit 1
    exit 77
}

fail() {
    echo "FAILED containers: $*" >&2
    exit 1
}

look() { python3 "$here/look.py" "$@"; }

# shellcheck source=tests/containers/inputs.sh
. "$here/inputs.sh"
# shellcheck source=tests/containers/base.sh
. "$here/base.sh"
# shellcheck source=tests/containers/engines.sh
. "$here/engines.sh"
# shellcheck source=tests/containers/sif.sh
. "$here/sif.sh"
# shellcheck source=tests/containers/slurm.sh
. "$here/slurm.sh"

if [ "${1:-}" = --inputs ]; then
    inputs_sha256
    exit
fi

check_machine
mkdir -p "$cache"
setpriv --reuid "$ordinary" --regid "$ordinary" --clear-groups test -x "$cache" || skip "user $ordinary can't look into $cache"
exec 9>"$cache/lock"
flock 9 # one at a time: the cache and the ports of Slurm are the same for all
scratch=$(mktemp -d /tmp/fluxkit-chain.XXXXXX) # in /tmp, which the tree of Apptainer sees
chmod 755 "$scratch" # the ordinary user passes through it
clean_up() {
    local code=$?
    set +e
    slurm_down
    docker_down
    store_down
    rm -rf "$scratch" 2>/dev/null || say "left behind: $scratch"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

say "base image and Apptainer, from $cache or from Debian's packages"
make_base
make_apptainer
make_context

say "Buildah: build the CPU image"
store_up
buildah_build cpu
say "Podman: run it hardened"
podman_proof

say "Docker Engine: build it again"
docker_up
docker_build cpu
say "Docker Engine: both builds hold the same packages"
same_packages
bill_of_materials
say "Docker Engine: the selftest gives the same numbers, and the README's command a report, hardened"
docker_demo
say "Docker Engine: compile something, and stop a run to see it leave a checkpoint"
docker_compile
docker_stop
say "Docker Engine: what people forget is named with the flag that mends it"
docker_bad_input
if [ "${1:-}" = --cuda ]; then
    say "Docker Engine: build the CUDA image, and make a SIF of it"
    docker_build cuda
    docker_cuda
fi
docker_down

say "Apptainer: make a SIF of it"
podman save --quiet --format docker-archive --output "$scratch/fluxkit-cpu.tar" localhost/fluxkit:cpu
make_sif cpu
say "Apptainer: run it as an ordinary user"
sif_proof

say "Slurm: the README's walk, two jobs of apptainer/run.sbatch and the laptop's run on one page"
slurm_up
slurm_walk
say "Slurm: pre-empt it, and see it continue"
slurm_preempted_job

record "$(figures)"
say "containers: $(figures)"
