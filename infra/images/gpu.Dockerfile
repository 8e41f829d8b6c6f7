# Winnow with vLLM for NVIDIA GPUs. The CUDA libraries come from the lock file, the driver (580 or
# newer, for CUDA 13) from the node. Build from the root of the repository:
#
#   docker build -f infra/images/gpu.Dockerfile -t registry.example.com/winnow:0.1.0-gpu \
#       --build-arg COMMIT="$(git rev-parse --short HEAD)" .
FROM python:3.11.14-slim-bookworm AS dependencies

COPY infra/requirements/gpu.lock /opt/winnow/
# As infra/setup.sh does. --no-deps: the lock is complete, and what vLLM asks for beside it breaks it.
# Left out is what only tests use; removed are the packages' own tests.
RUN grep -vE '^(hypothesis|mypy|playwright|pytest|pytest-timeout|ruff)==' /opt/winnow/gpu.lock >/tmp/image.lock \
    && python -m venv /opt/winnow \
    && /opt/winnow/bin/pip install --no-cache-dir --no-deps \
    -r /tmp/image.lock \
    && rm /tmp/image.lock \
    && find /opt/winnow/lib -type d -name tests -prune -exec rm -r {} +

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
# g++: Triton compiles its kernel launchers when they are first used. wget: the probes of KubeRay.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends g++ wget \
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
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
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
