# CPU:   docker build -t basecast .
# CUDA:  docker build -t basecast:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
#        torch brings its own CUDA, so the base needs none; BASE may be any Debian or Ubuntu whose Python is 3.11 or
#        newer, such as nvidia/cuda:13.0.1-base-ubuntu24.04.
# Run:   docker run --rm --read-only --tmpfs /tmp -u "$(id -u):$(id -g)" -v "$PWD:/data" basecast basecast demo
#        With a GPU: --gpus all. To keep caches: -v DIR:/tmp/basecast
ARG BASE=python:3.12-slim

# The wheel is made apart, so that the image has no compiler.
FROM ${BASE} AS wheel
ARG DEBIAN_FRONTEND=noninteractive
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && { command -v python3 || apt-get install -y --no-install-recommends python3 python3-venv; } \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/build
WORKDIR /opt/basecast/source
COPY LICENSE README.md pyproject.toml hatch_build.py ./
COPY src src
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --wheel-dir /opt/basecast/wheel .

FROM ${BASE}

# Workflow managers ask ps (procps) what a task uses; a base without Python gets its distribution's.
ARG DEBIAN_FRONTEND=noninteractive
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends procps \
    && { command -v python3 || apt-get install -y --no-install-recommends python3 python3-venv; } \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/basecast
ENV PATH=/opt/basecast/bin:$PATH

WORKDIR /opt/basecast
COPY constraints.txt ./
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" "$(grep '^torch==' constraints.txt)"
COPY --from=wheel /opt/basecast/wheel wheel
RUN pip install --no-cache-dir --constraint constraints.txt wheel/*.whl

# Any user, no home, nothing to write to but /tmp and what is mounted.
ENV BASECAST_CACHE=/tmp/basecast NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 65532:65532
WORKDIR /data
# no entry point: workflow managers start a shell of their own
CMD ["basecast", "--help"]
