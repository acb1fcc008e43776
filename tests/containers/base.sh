# The machine, a stand-in for the base image, Apptainer, and the build context. Sourced by chain.sh.
# shellcheck shell=bash disable=SC2154  # its variables are set there

BASE=localhost/stand-in/debian:bookworm-slim # no claim to be the registry's image of a similar name
TOOLS=(mmdebstrap buildah podman runc bwrap dockerd setpriv slurmctld slurmd munged git)

await() { # seconds, command: until the command succeeds
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.3
    done
}

tuning() { # folder of a study: whether iterations are being done
    grep -qs '"event":"iterations"' "$1"/*/events/*.jsonl
}

check_machine() {
    local tool missing=()
    [ "$(uname -s) $(uname -m)" = "Linux x86_64" ] || skip "needs Linux on x86-64"
    [ "$(id -u)" = 0 ] || skip "needs root, to make a base image and to start a Docker Engine"
    for tool in "${TOOLS[@]}"; do command -v "$tool" >/dev/null || missing+=("$tool"); done
    [ ${#missing[@]} = 0 ] || skip "these commands are missing: ${missing[*]}"
    python3 -c 'import pip, tomllib' 2>/dev/null || skip "needs python3, 3.11 or newer, with pip"
    command -v apt-get >/dev/null || skip "needs apt, whose configuration says where Debian's packages are"
    [ -n "$(debian_sources)" ] || skip "apt is not configured for Debian bookworm"
    unshare --mount true 2>/dev/null || skip "this machine refuses mount namespaces"
}

debian_sources() { # one line for each source of bookworm, as this machine's apt has them
    # shellcheck disable=SC2016  # apt fills these in
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk '$2 ~ /^bookworm/ && $3 == "main" && !seen[$0]++ { print "deb", $1, $2, $3 }'
}

make_base() { # what debian:bookworm-slim holds
    [ ! -s "$cache/debian-bookworm.tar" ] || return 0
    local sources
    mapfile -t sources < <(debian_sources)
    mmdebstrap --quiet --variant=minbase --mode=root \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        bookworm "$cache/part.tar" "${sources[@]}" || skip "the packages of the base image can't be had"
    mv "$cache/part.tar" "$cache/debian-bookworm.tar"
}

make_apptainer() { # Debian has it in sid alone, so it gets a tree of its own
    local tree=$cache/sid mirror
    [ ! -e "$tree/ready" ] || return 0
    mirror=$(debian_sources | awk '$3 == "bookworm" { print $2; exit }')
    rm -rf "$tree"
    mkdir "$tree" # mmdebstrap fills an empty folder, but does not make one
    # A mirror may be older than the few days for which sid's index calls itself valid.
    mmdebstrap --quiet --variant=apt --mode=root --aptopt='Acquire::Check-Valid-Until "false"' \
        --include=apptainer,ca-certificates,mount,uidmap,squashfuse sid "$tree" "deb $mirror sid main" ||
        skip "Apptainer can't be had from Debian sid"
    prepare_apptainer "$tree"
    touch "$tree/ready"
}

prepare_apptainer() { # tree: what Apptainer expects of a machine
    cp -L /usr/share/zoneinfo/Etc/UTC "$1/etc/localtime"
    cp /etc/hosts "$1/etc/hosts"
    : >"$1/etc/resolv.conf"
    echo 'root:100000:65536' | tee "$1/etc/subuid" >"$1/etc/subgid"
    echo "ordinary:x:$ordinary:$ordinary::/home/ordinary:/bin/sh" >>"$1/etc/passwd"
    echo "ordinary:x:$ordinary:" >>"$1/etc/group"
    install -d -o "$ordinary" -g "$ordinary" "$1/home/ordinary"
    mknod -m 666 "$1/fuse.node" c 10 229 # the machine's own may be root's alone
}

make_context() { # what git holds, so that the image is the commit, and the wheels that pip takes from a local folder
    local links wheel
    mkdir "$scratch/context" "$scratch/tmp"
    git -C "$checkout" -c safe.directory="$checkout" ls-files -z |
        (cd "$checkout" && tar --null --files-from - --create) | tar -C "$scratch/context" --extract
    links=$(python3 -m pip config list | sed -n "s/^\(global\|:env:\)\.find-links='\(.*\)'$/\2/p" | head -n 1)
    for wheel in "${links:-/nowhere}"/torch-*+cpu-*.whl; do
        [ ! -e "$wheel" ] || cp "$wheel" "$scratch/context/docker/wheels/"
    done
    # The rest of pip's configuration, as far as it means something inside the build.
    { echo '[global]' && python3 -m pip config list |
        sed -n "s/^\(global\|:env:\)\.\(index-url\|proxy\|timeout\|default-timeout\)='\(.*\)'$/\2 = \3/p" |
        LC_ALL=C sort -u; } >"$scratch/pip.conf"
    revision=$(git -C "$checkout" -c safe.directory="$checkout" describe --always --abbrev=40 --match='' --dirty)
    created=$(git -C "$checkout" -c safe.directory="$checkout" log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ)
}

build_arguments() { # cpu|cuda: the arguments that both engines take, one a line
    local torch_index=()
    [ "$1" = cuda ] || ! compgen -G "$scratch/context/docker/wheels/*.whl" >/dev/null || torch_index=(--build-arg TORCH_INDEX=)
    printf '%s\n' --network host --secret "id=pip.conf,src=$scratch/pip.conf" --secret "id=ca,src=$certificates" \
        --build-arg "BASE_IMAGE=$BASE" --build-arg "IMAGE=fluxkit:$1" --build-arg "REVISION=$revision" \
        --build-arg "CREATED=$created" --build-arg "VERSION=$(look version "$checkout")" "${torch_index[@]}" \
        --file "$scratch/context/docker/$1.Dockerfile"
}
