#!/usr/bin/env bash
# For a GPU machine without a network that has Python and torch: the rest, in archives to carry there.
#
#   infra/gpu/pack.sh [PYTHON [TORCH [VLLM [FOLDER]]]]       (3.12 2.11.0 0.26.0 gpu-pack)
#
# What torch itself brings (NVIDIA's libraries, triton) is left out. Each archive has at most 60 MB.
# An older vLLM than the pin scores by what of Winnow imports unchanged with it: the public path
# first. TRY names an interpreter of that version with that torch, here: the imports are tried with
# it, as far as they go without a driver (infra/gpu/stub.sh).
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${1:-3.12} torch=${2:-2.11.0} vllm=${3:-0.26.0} folder=${4:-gpu-pack}

# A local folder of wheels would bring a torch for CPUs.
unset PIP_FIND_LINKS UV_FIND_LINKS
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
uv=${UV:-$(command -v uv || true)}
if [ -z "$uv" ]; then
    python3 -m venv "$scratch/uv"
    "$scratch/uv/bin/pip" install --quiet uv
    uv=$scratch/uv/bin/uv
fi
target=(--python-version "$python" --python-platform x86_64-manylinux_2_31)
resolve() { # requirements to pins, a line each
    "$uv" pip compile --quiet --no-annotate --no-header --only-binary :all: "${target[@]}" \
        --excludes infra/requirements/excludes.txt "$@" | sort
}

echo "torch==$torch" >"$scratch/torch.in"
resolve "$scratch/torch.in" >"$scratch/there.txt"
ray=$(sed -n 's/^gpu = \["\(ray[^"]*\)".*/\1/p' pyproject.toml)
printf 'torch==%s\nvllm==%s\n%s\n' "$torch" "$vllm" "${ray:?}" >"$scratch/all.in"
resolve "$scratch/all.in" pyproject.toml >"$scratch/all.txt"
# By name: a machine's own version of what came with its torch stays.
sed 's/==.*//' "$scratch/there.txt" >"$scratch/names.txt"
awk -F== 'NR == FNR { there[$1]; next } !($1 in there)' \
    "$scratch/names.txt" "$scratch/all.txt" >"$scratch/needed.txt"
site=$scratch/site
"$uv" pip install --quiet --no-deps --only-binary :all: --target "$site" "${target[@]}" \
    -r "$scratch/needed.txt"
"$uv" pip install --quiet --no-deps --target "$site" "${target[@]}" .

mkdir -p "$folder"
rm -f "$folder"/winnow-gpu.tar.gz.*
tar -C "$site" -c . | gzip -1 | split --bytes=60000000 - "$folder/winnow-gpu.tar.gz."
cp "$scratch/needed.txt" "$folder/packages.txt"
{
    echo "# vLLM $vllm for Python $python with torch $torch, $(wc -l <"$scratch/needed.txt") packages"
    echo "# Bring each archive there:"
    for archive in "$folder"/winnow-gpu.tar.gz.*; do
        name=$(basename "$archive")
        echo "mkdir -p /tmp/winnow-gpu && cp $name /tmp/winnow-gpu/ && echo '$(sha256sum <"$archive" |
            cut -d' ' -f1)  /tmp/winnow-gpu/$name' | sha256sum --check"
    done
    echo "# Then, once:"
    echo "cat /tmp/winnow-gpu/winnow-gpu.tar.gz.* | tar -xz -C /tmp/winnow-gpu && export PYTHONPATH=/tmp/winnow-gpu"
} >"$folder/UNPACK.txt"
echo "$folder: $(ls "$folder"/winnow-gpu.tar.gz.* | wc -l) archives, $(du -cm "$folder"/winnow-gpu.tar.gz.* |
    tail -1 | cut -f1) MB; $folder/UNPACK.txt says how they are unpacked"

if [ -z "${TRY:-}" ]; then
    echo "imports not tried: TRY names no Python $python with torch $torch"
    exit
fi
infra/gpu/stub.sh "$site" "$scratch/stub"
failed=0
for module in vllm vllm.v1.worker.gpu.pool.pooling_runner pipeline.engine.vllm.engine \
    pipeline.engine.vllm.fused pipeline.engine.vllm.pooler jobs.run.score; do
    if told=$(CUDA_VISIBLE_DEVICES='' VLLM_LOGGING_LEVEL=ERROR PYTHONPATH=$site \
        LD_LIBRARY_PATH=$scratch/stub "$TRY" -P -c "import $module" 2>&1); then
        echo "imports: $module"
    else
        echo "does not import: $module: $(tail -1 <<<"$told")"
        failed=1
    fi
done
exit $failed
