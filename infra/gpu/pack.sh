#!/usr/bin/env bash
# For a GPU machine without a network that has Python and torch: the rest, in archives to carry there.
#
#   infra/gpu/pack.sh [PYTHON [TORCH [CAPABILITY [FOLDER]]]]       (3.12 2.11.0 90 gpu-pack)
#
# PYTHON and TORCH are what the machine has, CAPABILITY is its GPU's (90: H100, H200). vLLM and its
# torch are those of gpu.lock. NVIDIA's libraries, gigabytes, stay those of the machine's torch if
# they are of the same CUDA; code for other GPUs is left out (infra/gpu/thin.py). Each archive has at
# most 60 MB. TRY names an interpreter with that torch, here: the imports are tried with it, as far
# as they go without a driver (infra/gpu/stub.sh).
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${1:-3.12} torch=${2:-2.11.0} capability=${3:-90} folder=${4:-gpu-pack}

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

pinned() { grep "^$1==" infra/requirements/gpu.lock; }

echo "torch==$torch" >"$scratch/torch.in"
resolve "$scratch/torch.in" >"$scratch/there.txt"
{ pinned torch && pinned torchvision && pinned vllm && pinned ray; } >"$scratch/all.in"
resolve "$scratch/all.in" pyproject.toml >"$scratch/all.txt"
# By name: of NVIDIA's libraries the machine's own serve, whatever their last digits. Not so NCCL:
# each torch asks for functions of its own.
sed -n 's/^\(nvidia-.*\|cuda-.*\)==.*/\1/p' "$scratch/there.txt" | grep -v nccl >"$scratch/left.txt"
# Compilers, kernels and loaders that scoring does not come to.
printf '%s\n' nvidia-cutlass-dsl{,-libs-base,-libs-core,-libs-cu12,-libs-cu13} cuda-{core,python,tile} \
    nvidia-{cuda-cccl,cuda-crt,cuda-nvcc,cudnn-frontend,nvvm} nccl-extensions nccl4py tilelang z3-solver \
    tokenspeed-triton pynvvideocodec instanttensor >>"$scratch/left.txt"
awk -F== 'NR == FNR { left[$1]; next } !($1 in left)' \
    "$scratch/left.txt" "$scratch/all.txt" >"$scratch/needed.txt"
site=$scratch/site
"$uv" pip install --quiet --no-deps --only-binary :all: --target "$site" "${target[@]}" \
    -r "$scratch/needed.txt"
"$uv" pip install --quiet --no-deps --target "$site" "${target[@]}" .
find "$site" \( -name '*.a' -o -name vllm-rs \) -delete
strip --strip-unneeded "$site/triton/_C/libtriton.so"
python3 infra/gpu/thin.py "$capability" "$site"

mkdir -p "$folder"
rm -f "$folder"/winnow-gpu.tar.xz.*
# Kernels repeat each other, megabytes apart: a large dictionary finds it.
tar -C "$site" -c . | xz -T1 --lzma2=preset=1,dict=64MiB | split --bytes=60000000 - "$folder/winnow-gpu.tar.xz."
cp "$scratch/needed.txt" "$folder/packages.txt"
here=/tmp/winnow-gpu
# Where torch looks for NVIDIA's libraries: beside itself.
link="for one in \$(python3 -c 'import nvidia; print(nvidia.__path__[0])')/*/; do [ -e $here/nvidia/\$(basename \$one) ] || ln -s \$one $here/nvidia/; done"
{
    echo "# vLLM for Python $python beside torch $torch, $(wc -l <"$scratch/needed.txt") packages"
    echo "# Bring each archive there:"
    for archive in "$folder"/winnow-gpu.tar.xz.*; do
        name=$(basename "$archive")
        echo "mkdir -p $here && cp $name $here/ && echo '$(sha256sum <"$archive" |
            cut -d' ' -f1)  $here/$name' | sha256sum --check"
    done
    echo "# Then, once:"
    echo "cat $here/winnow-gpu.tar.xz.* | tar -xJ -C $here && $link"
    echo "export PYTHONPATH=$here"
} >"$folder/UNPACK.txt"
echo "$folder: $(ls "$folder"/winnow-gpu.tar.xz.* | wc -l) archives, $(du -cm "$folder"/winnow-gpu.tar.xz.* |
    tail -1 | cut -f1) MB; $folder/UNPACK.txt says how they are unpacked"

if [ -z "${TRY:-}" ]; then
    echo "imports not tried: TRY names no Python $python with torch $torch"
    exit
fi
for library in "$("$TRY" -c 'import nvidia; print(nvidia.__path__[0])')"/*/; do
    [ -e "$site/nvidia/$(basename "$library")" ] || ln -s "$library" "$site/nvidia/"
done
infra/gpu/stub.sh "$site" "$scratch/stub"
failed=0
for module in vllm vllm.v1.attention.backends.flashinfer \
    vllm.v1.worker.gpu.pool.pooling_runner pipeline.engine.vllm.engine \
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
