# What the images are made of and how that is proven; a change of it makes the last proof worthless. The source of
# fluxkit is not among it, because its own tests prove that: only its metadata, with dependencies and entry points, is.
# Sourced by chain.sh.
# shellcheck shell=bash disable=SC2154  # its variables are set there

inputs_sha256() {
    local file
    (
        cd "$checkout" || exit
        for file in docker/*.Dockerfile docker/*.py docker/requirements-*.txt .dockerignore apptainer/* \
            tests/containers/*.sh tests/containers/look.py; do
            sha256sum "$file"
        done
        metadata=$(look metadata .) || exit
        echo "$(sha256sum <<<"$metadata" | cut -d ' ' -f 1)  pyproject.toml"
    ) | LC_ALL=C sort -k 2 | sha256sum | cut -d ' ' -f 1
}

record() { # figures: remembers that all of it really ran on what lies here now
    {
        echo "# Written by chain.sh when the whole chain ran; .ci/run repeats it when the hash of its inputs has changed."
        echo "inputs $(inputs_sha256)"
        echo "ran $(date -u +%Y-%m-%d)"
        echo "figures $1"
    } >"$proven"
}
