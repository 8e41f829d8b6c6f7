#!/usr/bin/env bash
# A stand-in for the driver's library, so that CUDA extensions can be imported where there is no GPU.
#
#   infra/gpu/stub.sh SITE_PACKAGES FOLDER
#
# Only a driver brings libcuda.so.1. What vLLM's extensions want of it is read from them; each
# function of the stand-in fails with CUDA_ERROR_UNKNOWN (999). Nothing can be computed with it.
set -euo pipefail
site=$1 folder=$2
mkdir -p "$folder"
for extension in "$site"/vllm/*.so; do nm -D --undefined-only "$extension"; done |
    awk '$2 ~ /^cu[A-Z]/ { print "int " $2 "(void) { return 999; }" }' | sort -u >"$folder/stub.c"
if [ ! -s "$folder/stub.c" ]; then
    echo "infra/gpu/stub.sh: no extension in $site/vllm asks for the driver: is it the CUDA build?" >&2
    exit 1
fi
"${CC:-cc}" -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$folder/libcuda.so.1" "$folder/stub.c"
echo "$folder/libcuda.so.1: $(wc -l <"$folder/stub.c") functions"
