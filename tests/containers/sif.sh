# Apptainer in its own tree of Debian sid. Sourced by chain.sh.
# shellcheck shell=bash disable=SC2154  # its variables are set there

MAX_SIF_BYTES=500000000
MAX_CUDA_SIF_BYTES=3100000000

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

make_sif() { # cpu|cuda: fluxkit.sif or fluxkit-cuda.sif of the archive fluxkit-KIND.tar, which goes
    local start=$SECONDS archive=$scratch/fluxkit-$1.tar largest=$MAX_SIF_BYTES sif=$scratch/fluxkit.sif
    [ "$1" = cpu ] || { largest=$MAX_CUDA_SIF_BYTES && sif=$scratch/fluxkit-$1.sif; }
    apptainer_program
    # zstd in large blocks: smaller than gzip in a third of its time.
    "$apptainer" --quiet build --fakeroot --mksquashfs-args "-comp zstd -Xcompression-level 3 -b 1M" \
        --build-arg BOOTSTRAP=docker-archive --build-arg "FROM=$archive" \
        "$sif" "$scratch/context/apptainer/fluxkit.def" >"$scratch/sif-$1.log" 2>&1 ||
        { tail -n 20 "$scratch/sif-$1.log" >&2 && fail "Apptainer could not make the SIF of $1"; }
    rm "$archive"
    sif_bytes=$(stat --format %s "$sif")
    say "${sif##*/}: $sif_bytes bytes, made in $((SECONDS - start)) s"
    [ "$sif_bytes" -le "$largest" ] || fail "the SIF of $1 has $sif_bytes bytes, more than $largest"
}

sif_proof() {
    install -d -o "$ordinary" -g "$ordinary" "$scratch/sif" "$scratch/sif-cache"
    # What the host's ~/.local holds must not get in; this would end Python at once.
    install -d -o "$ordinary" -g "$ordinary" "$scratch/home/.local/lib/python3.11/site-packages"
    echo 'raise SystemExit("the home of the host got in")' >"$scratch/home/.local/lib/python3.11/site-packages/usercustomize.py"
    as_ordinary HOME="$scratch/home" apptainer --quiet exec --cleanenv --bind "$scratch/sif:/bench/runs,$scratch/sif-cache:/cache" --pwd /bench \
        --env FLUXKIT_IMAGE=fluxkit.sif "$scratch/fluxkit.sif" fluxkit run nano-laptop-cpu --quiet "${tiny[@]}" ||
        fail "the SIF's run ended with $?"
    look completed "$scratch/sif" fluxkit.sif "${revision%-dirty}"
    compgen -G "$scratch/sif-cache/fluxkit/*/*" >/dev/null || fail "the SIF does not use the cache that was bound"
    look same "$scratch/demo" "$scratch/sif"
    as_ordinary apptainer --quiet run --app report "$scratch/fluxkit.sif" --help >/dev/null || fail "--app report does not run"
    as_ordinary apptainer inspect --labels "$scratch/fluxkit.sif" | grep -q 'image.revision: ' || fail "the SIF lost the image's labels"
    as_ordinary apptainer --quiet exec --cleanenv --no-home --bind "$scratch/sif-cache:/cache" \
        "$scratch/fluxkit.sif" python -c "$compiled" || fail "torch.compile does not work in the SIF"
    sif_bad_input
}

sif_bad_input() {
    local run=(run nano-laptop-cpu --quiet "${tiny[@]}")
    sif_refuses "--bind" -- "${run[@]}"
    sif_refuses "of a folder that is yours" --bind "$scratch/others:/bench/runs" -- "${run[@]}"
    sif_refuses ":/cache" --env "FLUXKIT_CACHE=$scratch/others/cache" -- "${run[@]}"
    sif_refuses "--nv" -- plan nano-single-gpu
}

sif_refuses() { # words to look for, options of apptainer run, --, arguments of fluxkit: it ends with 3 and says so in one line
    local wanted=$1 got=0 said options=()
    shift
    while [ "$1" != -- ]; do options+=("$1") && shift; done
    shift
    said=$(as_ordinary apptainer --quiet run --cleanenv --no-home --pwd /bench "${options[@]}" "$scratch/fluxkit.sif" "$@" 2>&1 >/dev/null) || got=$?
    [ "$got" = 3 ] || fail "'${options[*]} $*' ended with $got instead of 3: $said"
    grep -qF -e "$wanted" <<<"$said" || fail "'${options[*]} $*' does not name $wanted: $said"
    [ "$(grep -c . <<<"$said")" = 1 ] || fail "'${options[*]} $*' says more than one line: $said"
    say "  $said"
}
