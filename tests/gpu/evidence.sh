#!/usr/bin/env bash
# Measures on this machine's NVIDIA GPU what a reports/<gpu>/ holds: one folder for each step, none of them 10 minutes.
#
#   tests/gpu/evidence.sh FOLDER            every step
#   tests/gpu/evidence.sh FOLDER STEP...    these steps: tests, nano, lora-256, lora-512, lora-512-compiled, lora-1024,
#                                           tf32, bf16
#
# Made for a bare machine: Python with a torch for CUDA. Packages that it lacks come from build/gpu-wheels, which
# `just gpu-wheels` collects where there is a network. FLUX.1-schnell has random weights, so nothing is downloaded.
set -euo pipefail
shopt -s nullglob

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
out=$(mkdir -p "${1:?a folder for the results}" && cd "$1" && pwd)
shift
steps=("$@")
[ $# -gt 0 ] || steps=(tests nano lora-256 lora-512 lora-512-compiled lora-1024 tf32 bf16)

# A folder and no virtual environment: the Python of such a machine may be one itself, and another made of it would not
# see its packages.
packages=${TMPDIR:-/tmp}/fluxkit-gpu-packages
wheels=("$checkout"/build/gpu-wheels/*.whl)
[ ${#wheels[@]} = 0 ] || python3 -m pip install --quiet --no-index --no-deps --upgrade --target "$packages" "${wheels[@]}"
export PYTHONPATH=$checkout:$packages HF_HUB_OFFLINE=1

fluxkit() { python3 -m fluxkit "$@"; }

# The whole architecture with random weights; times short enough for several steps in a quarter of an hour.
schnell() { # folder, then overrides
    local folder=$1
    shift
    fluxkit run schnell-single-gpu --out "$folder" \
        --set model.weights=random --set execution.gradient_checkpointing=false \
        --set tune.iterations=100 --set tune.seconds=30.0 --set tune.max_seconds=120.0 \
        --set inference.min_seconds=20.0 --set inference.max_seconds=60.0 "$@"
}

# Where one of the two speeds is known from another step.
untuned=(--set tune.iterations=10 --set tune.seconds=1.0)
briefly=(--set execution.inference_precision=bfloat16 --set inference.min_seconds=1.0 --set inference.max_seconds=5.0)

measure() {
    local step=$1 folder=$out/$1
    case $step in
    tests) # another machine's plugins and deprecations are not what is tested
        PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 python3 -m pytest -p no:cacheprovider -p pytest_timeout -W default \
            "$checkout/tests/gpu" | tee "$out/tests.txt"
        ;;
    nano) fluxkit run nano-single-gpu --repeats 3 --out "$folder" ;;
    lora-256) schnell "$folder" ;;
    lora-512) schnell "$folder" --set data.resolution=512 --set execution.inference_precision=bfloat16 ;;
    lora-512-compiled) schnell "$folder" --set data.resolution=512 --set execution.compile=true "${briefly[@]}" ;;
    lora-1024) schnell "$folder" --set data.resolution=1024 --set execution.inference_precision=bfloat16 ;;
    tf32) schnell "$folder" --set execution.inference_precision=tf32 "${untuned[@]}" ;;
    bf16) schnell "$folder" --set execution.inference_precision=bfloat16 "${untuned[@]}" ;;
    *)
        echo "There is no step $step." >&2
        exit 2
        ;;
    esac
}

failed=()
for step in "${steps[@]}"; do
    printf '== %s (%d s) ==\n' "$step" "$SECONDS"
    # In a shell of its own: a step that fails must not keep the others from being measured.
    (measure "$step") || failed+=("$step")
done
[ ${#failed[@]} = 0 ] || { echo "failed: ${failed[*]}" >&2; exit 1; }
