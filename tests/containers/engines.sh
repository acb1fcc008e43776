# Buildah and Podman with runc in a store of their own, and a Docker Engine on a socket of its own. Sourced by chain.sh.
# shellcheck shell=bash disable=SC2154  # its variables are set there

MAX_IMAGE_BYTES=1700000000
MAX_CUDA_IMAGE_BYTES=5800000000
MAX_START_SECONDS=1.0
compiled='import torch; ones = torch.ones(64); assert torch.equal(torch.compile(lambda x: x * 2 + 1)(ones), ones * 3)'
hardened=(--network none --read-only --cap-drop ALL --security-opt no-new-privileges)

store_up() {
    export CONTAINERS_STORAGE_CONF=$scratch/storage.conf CONTAINERS_CONF=$scratch/containers.conf
    printf '[storage]\ndriver = "overlay"\nrunroot = "%s"\ngraphroot = "%s"\n' \
        "$scratch/run" "$scratch/store" >"$CONTAINERS_STORAGE_CONF"
    # runc and no limits of its own: crun wants unmixed control groups, and raising limits wants a capability.
    printf '[containers]\ndefault_ulimits = []\n[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n' \
        >"$CONTAINERS_CONF"
    podman info >/dev/null 2>&1 || skip "Podman finds no usable store here"
    podman import --quiet --change 'CMD ["bash"]' "$cache/debian-bookworm.tar" "$BASE" >/dev/null
}

store_down() {
    [ ! -d "$scratch/store" ] || podman rm --all --force >/dev/null 2>&1
    [ ! -d "$scratch/store" ] || umount "$scratch/store/overlay" 2>/dev/null
}

buildah_build() { # cpu|cuda
    local arguments start=$SECONDS
    mapfile -t arguments < <(build_arguments "$1")
    # chroot: no runtime is needed to build. docker: the OCI format has no place for HEALTHCHECK.
    TMPDIR=$scratch/tmp buildah bud --isolation chroot --pull-never --format docker --tag "localhost/fluxkit:$1" \
        "${arguments[@]}" "$scratch/context" >"$scratch/buildah-$1.log" 2>&1 ||
        { tail -n 30 "$scratch/buildah-$1.log" >&2 && fail "Buildah could not build $1"; }
    buildah_seconds=$((SECONDS - start))
}

podman_proof() { # what this build gives, for the next one to give again
    podman run --rm --no-healthcheck "${hardened[@]}" --user "$ordinary:$ordinary" localhost/fluxkit:cpu \
        selftest --json >"$scratch/selftest.buildah" || { cat "$scratch/selftest.buildah" >&2 && fail "the selftest failed under Podman"; }
}

docker_up() {
    docker_folder=$scratch/docker
    mkdir -p "$docker_folder"
    # No bridge and no rules: nothing of this machine's network is touched.
    setsid dockerd --data-root "$docker_folder/data" --exec-root "$docker_folder/exec" --pidfile "$docker_folder/pid" \
        --host "unix://$docker_folder/sock" --bridge=none --iptables=false --ip6tables=false \
        >"$docker_folder/log" 2>&1 </dev/null &
    local _
    for _ in $(seq 100); do
        ! docker_ info >/dev/null 2>&1 || break
        sleep 0.2
    done
    docker_ info >/dev/null 2>&1 || { tail -n 5 "$docker_folder/log" >&2 && skip "no Docker Engine starts here"; }
    docker_ import --change 'CMD ["bash"]' "$cache/debian-bookworm.tar" "$BASE" >/dev/null
}

docker_() { # Debian's client: another one on PATH may lack BuildKit
    DOCKER_HOST=unix://$docker_folder/sock DOCKER_BUILDKIT=1 /usr/bin/docker "$@"
}

docker_down() {
    [ -s "${docker_folder:-/nowhere}/pid" ] || return 0
    local pid _
    pid=$(cat "$docker_folder/pid")
    kill "$pid"
    for _ in $(seq 100); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.2
    done
    ! mountpoint --quiet "$docker_folder/exec/netns/default" || umount "$docker_folder/exec/netns/default"
    rm -rf "$docker_folder"
}

docker_build() { # cpu|cuda
    local arguments start=$SECONDS
    mapfile -t arguments < <(build_arguments "$1")
    docker_ build --progress plain --tag "fluxkit:$1" "${arguments[@]}" "$scratch/context" >"$scratch/docker-$1.log" 2>&1 ||
        { tail -n 30 "$scratch/docker-$1.log" >&2 && fail "Docker could not build $1"; }
    docker_seconds=$((SECONDS - start))
    image_bytes=$(docker_ image inspect --format '{{.Size}}' "fluxkit:$1")
    say "fluxkit:$1: $image_bytes bytes, built in $docker_seconds s"
}

same_packages() {
    podman run --rm --no-healthcheck --network none --entrypoint cat localhost/fluxkit:cpu \
        /etc/fluxkit/packages.txt /etc/fluxkit/build.json >"$scratch/buildah.packages"
    docker_ run --rm --network none --entrypoint cat fluxkit:cpu \
        /etc/fluxkit/packages.txt /etc/fluxkit/build.json >"$scratch/docker.packages"
    diff "$scratch/buildah.packages" "$scratch/docker.packages" || fail "two builds of one commit differ"
    docker_ image inspect --format '{{json .Config.Labels}}' fluxkit:cpu >"$scratch/labels.json"
    look labelled "$scratch/labels.json" "$scratch/docker.packages"
    cpu_image_bytes=$image_bytes
    [ "$image_bytes" -le $MAX_IMAGE_BYTES ] || fail "the CPU image has $image_bytes bytes, more than $MAX_IMAGE_BYTES"
}

bill_of_materials() { # as people make it; it names every package that pip named when the image was built
    if ! command -v just >/dev/null || ! python3 -c "import cyclonedx" 2>/dev/null; then
        say "no bill of materials: just or cyclonedx-python-lib is not installed"
        return
    fi
    (cd "$checkout" && DOCKER_HOST=unix://$docker_folder/sock FLUXKIT_DOCKER=/usr/bin/docker just sbom fluxkit:cpu) \
        >"$scratch/sbom.json" || fail "just sbom ended with $?"
    look billed "$scratch/sbom.json" "$scratch/docker.packages"
}

docker_demo() {
    local id
    id=$(docker_ image inspect --format '{{.Id}}' fluxkit:cpu)
    start_seconds=$(for _ in 1 2 3 4 5; do seconds_to_help; done | sort -n | head -n 1)
    say "fluxkit --help in a running engine: $start_seconds s"
    awk "BEGIN { exit !($start_seconds < $MAX_START_SECONDS) }" || fail "fluxkit --help took $start_seconds s"
    docker_ run --rm "${hardened[@]}" --user "$ordinary:$ordinary" fluxkit:cpu selftest --json >"$scratch/selftest.docker" ||
        { cat "$scratch/selftest.docker" >&2 && fail "the selftest failed under Docker"; }
    look same_numbers "$scratch/selftest.buildah" "$scratch/selftest.docker"
    install -d -o "$ordinary" -g "$ordinary" "$scratch/demo"
    docker_ run --rm "${hardened[@]}" --user "$ordinary:$ordinary" --env "FLUXKIT_IMAGE=fluxkit:cpu@$id" \
        --volume "$scratch/demo:/bench/runs" fluxkit:cpu demo --quiet "${tiny[@]}" || fail "the demo ended with $?"
    compgen -G "$scratch/demo/*/report.html" >/dev/null || fail "the demo left no report"
    look completed "$scratch/demo" "fluxkit:cpu@$id" "${revision%-dirty}"
}

seconds_to_help() {
    local start
    start=$(date +%s.%N)
    docker_ run --rm --network none fluxkit:cpu --help >/dev/null
    awk "BEGIN { print $(date +%s.%N) - $start }"
}

docker_compile() { # torch.compile finds a compiler, Python's headers and a cache that this user may write
    docker_ run --rm "${hardened[@]}" --user "$ordinary:$ordinary" --entrypoint python fluxkit:cpu -c "$compiled" ||
        fail "torch.compile does not work in the image"
}

docker_stop() { # leads to a checkpoint, and a cache that is too small to a warning
    local code id
    install -d -o "$ordinary" -g "$ordinary" "$scratch/stopped"
    id=$(docker_ run --detach "${hardened[@]}" --user "$ordinary:$ordinary" --volume "$scratch/stopped:/bench/runs" \
        --tmpfs /cache:size=50m,mode=1777 fluxkit:cpu run nano-laptop-cpu "${tiny[@]}" --set tune.seconds=600.0 --out runs/stopped)
    await 120 tuning "$scratch/stopped/stopped" || fail "the run to be stopped does not tune: $(docker_ logs "$id" 2>&1 | tail -n 5)"
    docker_ stop --time 90 "$id" >/dev/null
    code=$(docker_ inspect --format '{{.State.ExitCode}}' "$id")
    [ "$code" = 75 ] || fail "docker stop ended with $code instead of 75: $(docker_ logs "$id" 2>&1 | tail -n 5)"
    docker_ logs "$id" 2>&1 | tr '\n' ' ' | grep -qF -e "MB left; give it more with -v " || fail "a cache of 50 MB is not named"
    docker_ rm --volumes "$id" >/dev/null
}

refuses() { # code, words to look for, then the arguments of docker run: it ends so and says so in one line
    local code=$1 wanted=$2 got=0 said
    shift 2
    said=$(docker_ run --rm --network none "$@" 2>&1 >/dev/null) || got=$?
    [ "$got" = "$code" ] || fail "'$*' ended with $got instead of $code: $said"
    grep -qF -e "$wanted" <<<"$said" || fail "'$*' does not name $wanted: $said"
    [ "$(grep -c . <<<"$said")" = 1 ] || fail "'$*' says more than one line: $said"
    say "  $said"
}

docker_bad_input() {
    install -d -m 700 "$scratch/others"
    local mine=(--user "$ordinary:$ordinary" --volume "$scratch/others:/bench/runs")
    refuses 3 "--user" "${mine[@]}" fluxkit:cpu run nano-laptop-cpu --quiet "${tiny[@]}"
    refuses 3 "-v " --read-only fluxkit:cpu run nano-laptop-cpu --quiet "${tiny[@]}"
    refuses 3 ":/cache" --volume "$scratch/others:/cache" --user "$ordinary:$ordinary" fluxkit:cpu run nano-laptop-cpu --quiet "${tiny[@]}"
    refuses 3 "--gpus all" fluxkit:cpu plan nano-single-gpu
    refuses 3 "No space left on device" --tmpfs /bench/runs:size=4k,mode=1777 fluxkit:cpu run nano-laptop-cpu --quiet "${tiny[@]}"
}

docker_cuda() {
    [ "$image_bytes" -le $MAX_CUDA_IMAGE_BYTES ] || fail "the CUDA image has $image_bytes bytes, more than $MAX_CUDA_IMAGE_BYTES"
    refuses 3 "--gpus all" fluxkit:cuda plan nano-single-gpu
    docker_ run --rm "${hardened[@]}" --user "$ordinary:$ordinary" fluxkit:cuda selftest >/dev/null || fail "the selftest failed in the CUDA image"
    docker_ save --output "$scratch/fluxkit-cuda.tar" fluxkit:cuda
    make_sif cuda
    cuda_figures=", CUDA image $((image_bytes / 1000000)) MB and SIF $((sif_bytes / 1000000)) MB without a GPU"
    rm "$scratch/fluxkit-cuda.sif"
}

figures() {
    printf 'built with Buildah (%s s) and Docker (%s s), CPU image %s MB, fluxkit --help %.2f s, SIF %s MB, ' \
        "$buildah_seconds" "$docker_seconds" $((cpu_image_bytes / 1000000)) "$start_seconds" $((sif_bytes / 1000000))
    printf 'ran under Podman, Docker, Apptainer and Slurm%s; whole chain %s s' "${cuda_figures:-}" "$SECONDS"
}
