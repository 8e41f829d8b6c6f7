# Winnow with vLLM for NVIDIA GPUs. The CUDA libraries come from the lock file, the driver (580 or
# newer, for CUDA 13) from the node. Build from the root of the repository:
#
#   docker build -f infra/images/gpu.Dockerfile -t registry.example.com/winnow:0.1.0-gpu .
FROM python:3.11.14-slim-bookworm AS build

COPY infra/requirements/gpu.lock /build/
# As infra/setup.sh does. --no-deps: the lock is complete, and what vLLM asks for beside it breaks it.
RUN python -m venv /opt/winnow && /opt/winnow/bin/pip install --no-cache-dir --no-deps \
    -r /build/gpu.lock
COPY pyproject.toml README.md /build/
COPY pipeline /build/pipeline
COPY jobs /build/jobs
RUN /opt/winnow/bin/pip install --no-cache-dir --no-deps --no-build-isolation /build

FROM python:3.11.14-slim-bookworm

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
COPY --from=build /opt/winnow /opt/winnow

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
USER 1000:1000
# No ENTRYPOINT: Ray's launcher and KubeRay start a shell in the image.
CMD ["winnow", "--help"]
