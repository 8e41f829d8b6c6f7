# Winnow with the CPU build of vLLM. Build from the root of the repository:
#
#   docker build -f infra/images/cpu.Dockerfile -t registry.example.com/winnow:0.1.0-cpu \
#       --build-arg COMMIT="$(git rev-parse --short HEAD)" .
FROM python:3.11.14-slim-bookworm AS dependencies

# The CPU builds of PyTorch are on its own index; a mirror of it can be named instead.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY infra/requirements/cpu.lock /opt/winnow/
# As infra/setup.sh does. --no-deps: the lock is complete, and what vLLM asks for beside it breaks it.
# Left out is what only tests use, and triton, a gigabyte that compiles for GPUs; removed are the
# packages' own tests, and their headers, since nothing is compiled.
RUN grep -vE '^(hypothesis|mypy|playwright|pytest|pytest-timeout|ruff|triton)==' /opt/winnow/cpu.lock >/tmp/image.lock \
    && python -m venv /opt/winnow \
    && /opt/winnow/bin/pip install --no-cache-dir --no-deps \
    --extra-index-url "$TORCH_INDEX" \
    -r /tmp/image.lock \
    && rm /tmp/image.lock \
    && find /opt/winnow/lib \( -type d \( -name tests -o -path '*/torch/test' -o -name include \) \
    -o -path '*/torch/bin/test_*' \) -prune -exec rm -r {} +

FROM dependencies AS winnow

COPY pyproject.toml README.md /build/
COPY pipeline /build/pipeline
COPY jobs /build/jobs
# Beside the dependencies, not among them: what changes with our code is a layer of its own.
RUN /opt/winnow/bin/pip install --no-cache-dir --no-deps --no-build-isolation \
    --root /image /build

# Not copied out of the stage: gigabytes that would be written twice.
FROM dependencies

LABEL org.opencontainers.image.title="winnow" \
    org.opencontainers.image.licenses="Apache-2.0"
# libnuma1: vLLM is linked with it. Nothing is compiled: no engine needs a compiler.
# wget: the probes of KubeRay.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends libnuma1 wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home winnow \
    && install -d -o winnow -g winnow /cache \
    # A login shell, which KubeRay and Ray's launcher start, forgets the PATH below.
    && echo "PATH=/opt/winnow/bin:\$PATH" >/etc/profile.d/winnow.sh

# Nothing reports home. Models are kept in /cache; all else that is written goes to HOME and /tmp.
ENV PATH=/opt/winnow/bin:$PATH \
    RAY_USAGE_STATS_ENABLED=0 \
    VLLM_NO_USAGE_STATS=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    DO_NOT_TRACK=1 \
    HF_HOME=/cache/huggingface \
    HOME=/home/winnow \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
VOLUME /cache
WORKDIR /home/winnow
# Last, so that a new version of Winnow is a small layer on what a node has already.
COPY --from=winnow /image/opt/winnow /opt/winnow
# Which commit that code is, for `winnow --version`: no layer, and no name where none is given.
ARG COMMIT=
ENV WINNOW_COMMIT=$COMMIT
LABEL org.opencontainers.image.revision=$COMMIT
USER 1000:1000
# No ENTRYPOINT: Ray's launcher and KubeRay start a shell in the image.
CMD ["winnow", "--help"]
