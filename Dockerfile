# Two images from one file:
#   docker build --target slim -t thinkqueue .         api, prepare worker, keeper and command line; no torch
#   docker build --target gpu  -t thinkqueue-gpu .     the generate worker, with torch for CUDA
#   docker build --target gpu  -t thinkqueue-cpu --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu .
# Each runs as user 10001 with a read-only root. /tmp must be writable, and /models for the generate worker.
# The release workflow passes the image with its digest (docs/deploy.md, Images).
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS venv
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
RUN python -m venv /opt/thinkqueue
ENV PATH=/opt/thinkqueue/bin:$PATH
WORKDIR /build

FROM venv AS venv-slim
COPY requirements-slim.lock ./
RUN pip install --require-hashes --no-deps -r requirements-slim.lock

# The lock file has setuptools, so the build needs no network.
FROM venv-slim AS wheel
COPY . .
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheel .

FROM venv-slim AS installed-slim
COPY --from=wheel /wheel /wheel
RUN pip install --no-deps --no-index /wheel/thinkqueue-*.whl && pip check

FROM venv AS installed-gpu
COPY requirements-gpu.lock ./
RUN pip install --require-hashes --no-deps -r requirements-gpu.lock
# torch in its own step: its builds differ by machine, so one hash cannot cover all.
ARG TORCH_VERSION=2.13.0
ARG TORCH_INDEX=
# hadolint ignore=DL3013
RUN pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "torch==${TORCH_VERSION}"
COPY --from=wheel /wheel /wheel
RUN pip install --no-deps --no-index /wheel/thinkqueue-*.whl && pip check

FROM ${PYTHON_IMAGE} AS base
ARG PYTHON_IMAGE
ARG VERSION=
LABEL org.opencontainers.image.title="thinkqueue" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}" \
      org.opencontainers.image.description="Asynchronous jobs for vision-language models that think before they answer" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 thinkqueue \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp thinkqueue
# HOME is writable although the root is read-only. The health check asks the monitor port.
ENV PATH=/opt/thinkqueue/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    API_HOST=0.0.0.0 \
    AUTH=keys \
    LOG_FORMAT=json \
    MONITOR_HOST=0.0.0.0 \
    MONITOR_PORT=9100
WORKDIR /app
# Celery and uvicorn must receive TERM themselves, so every command is in exec form, without a shell.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-m", "cli.local.probe"]

FROM base AS slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libreoffice-impress-nogui fonts-noto-cjk \
    && rm -rf /var/lib/apt/lists/*
COPY --from=installed-slim /opt/thinkqueue /opt/thinkqueue
USER 10001:10001
EXPOSE 8800 9100
CMD ["python", "-m", "api"]

FROM base AS gpu
ENV HF_HOME=/models
# Triton compiles its kernels' launchers at the first start, into HOME.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY --from=installed-gpu /opt/thinkqueue /opt/thinkqueue
RUN install --directory --owner=10001 --group=10001 /models
USER 10001:10001
VOLUME /models
EXPOSE 9100
# 20 GB of weights take minutes from a slow volume, and longer from a model hub.
HEALTHCHECK --interval=10s --timeout=5s --start-period=1800s --retries=3 \
    CMD ["python", "-m", "cli.local.probe"]
CMD ["python", "-m", "worker.generate"]
