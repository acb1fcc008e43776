# Apptainer in its own tree of Debian sid. Sourced by chain.sh.
# shellcheck shell=bash disable=SC2154  # its variables are set there

MAX_SIF_BYTES=500000000

apptainer_program() { # the file that stands for `apptainer` on this machine, for root and for the ordinary user
    apptainer=$scratch/bin/apptainer
    mkdir -p "$scratch/bin"
    sed "s|@TREE@|$cache/sid|; s|@CERTIFICATES@|$certificates|" "$here/apptainer-in-tree.sh" >"$apptainer"
    chmod 755 "$apptainer"
}

as_ordinary() { # runs as on a cluster: no privileges, a home of its own
    setpriv --reuid "$ordinary" --regid "$ordinary" --clear-groups \
        env --ignore-environment PATH="$scratch/bin:$PATH" HOME=/home/ordinary LANG=C.UTF-8 "$@"
}

make_sif() {
    local start=$SECONDS
    apptainer_program
    rm -f "$scratch/fluxkit.tar" # an archive is only ever added to
    podman save --quiet --format docker-archive --output "$scratch/fluxkit.tar" localhost/fluxkit:cpu
    # zstd in large blocks: smaller than gzip in a third of its time.
    "$apptainer" --quiet build --fakeroot --mksquashfs-args "-comp zstd -Xcompression-level 3 -b 1M" \
        --build-arg BOOTSTRAP=docker-archive --build-arg "FROM=$scratch/fluxkit.tar" \
        "$scratch/fluxkit.sif" "$scratch/context/apptainer/fluxkit.def" >"$scratch/sif.log" 2>&1 ||
        { tail -n 20 "$scratch/sif.log" >&2 && fail "Apptainer could not make the SIF"; }
    rm "$scratch/fluxkit.tar"
    sif_bytes=$(stat --format %s "$scratch/fluxkit.sif")
    say "fluxkit.sif: $sif_bytes bytes, made in $((SECONDS - start)) s"
    [ "$sif_bytes" -le $MAX_SIF_BYTES ] || fail "the SIF has $sif_bytes bytes, more than $MAX_SIF_BYTES"
}

sif_proof() {
    install -d -o "$ordinary" -g "$ordinary" "$scratch/sif" "$scratch/sif-scratch"
    # What the host's ~/.local holds must not get in; this would end Python at once.
    install -d -o "$ordinary" -g "$ordinary" "$scratch/home/.local/lib/python3.11/site-packages"
    echo 'raise SystemExit("the home of the host got in")' >"$scratch/home/.local/lib/python3.11/site-packages/usercustomize.py"
    as_ordinary HOME="$scratch/home" apptainer --quiet run --cleanenv --bind "$scratch/sif:/bench/runs,$scratch/sif-scratch:/scratch" \
        --env FLUXKIT_SCRATCH=/scratch --env FLUXKIT_IMAGE=fluxkit.sif --pwd /bench "$scratch/fluxkit.sif" run nano-laptop-cpu --quiet "${tiny[@]}" ||
        fail "the SIF's run ended with $?"
    look completed "$scratch/sif" fluxkit.sif "${revision%-dirty}"
    look same "$scratch/demo" "$scratch/sif"
    as_ordinary apptainer --quiet run --app report "$scratch/fluxkit.sif" --help >/dev/null || fail "--app report does not run"
    as_ordinary apptainer inspect --labels "$scratch/fluxkit.sif" | grep -q 'image.revision: ' || fail "the SIF lost the image's labels"
    sif_bad_input
}

sif_bad_input() {
    local said got=0
    said=$(as_ordinary apptainer --quiet run --cleanenv --no-home --pwd /bench "$scratch/fluxkit.sif" \
        run nano-laptop-cpu --quiet "${tiny[@]}" 2>&1) || got=$?
    { [ "$got" = 3 ] && grep -qF -e "--bind" <<<"$said"; } || fail "without a bind the SIF ended with $got: $said"
    got=0
    said=$(as_ordinary apptainer --quiet run --cleanenv --no-home "$scratch/fluxkit.sif" plan nano-single-gpu 2>&1) || got=$?
    { [ "$got" = 3 ] && grep -qF -e "--nv" <<<"$said"; } || fail "without a GPU the SIF ended with $got: $said"
}
