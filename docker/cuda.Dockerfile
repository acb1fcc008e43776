# fluxkit for NVIDIA GPUs. Build it in the root of a checkout:  just image cuda
# cpu.Dockerfile has the same stages. Both keep to what Docker 20.10 and Buildah 1.28 build without a network frontend:
# no syntax line, no here-documents, no COPY --link.

# Pinned by digest, because a tag moves; 12.12 is Debian bookworm with Python 3.11.
ARG BASE_IMAGE=debian:12.12-slim@sha256:d5d3f9c23164ea16f31852f95bd5959aad1c5e854332fe00f7b3a20fcc9f635c

# ── What runs: Python, a compiler, an init ──
FROM ${BASE_IMAGE} AS base
# g++, the headers of Python, and openssl for hashes of files: torch.compile builds its kernels when it runs.
# tini: reaps processes and passes signals.
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ libpython3-dev openssl python3 tini \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log /var/cache/ldconfig/aux-cache

# ── Packages that fluxkit stands on: a layer of its own, which a change of the source leaves alone ──
FROM base AS dependencies
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-pip \
    && rm -rf /var/lib/apt/lists/*
# Empty: the ordinary wheel of torch is the CUDA 13 one and brings every CUDA library, so that the base needs none.
ARG TORCH_INDEX=
# The builder's interpreter is the one that runs, so the environment can be copied as it is; pip stays behind.
RUN python3 -m venv --without-pip /opt/venv
# docker/ is mounted, not copied: the lock, and docker/wheels/ for wheels that no index of yours has.
# ca and pip.conf: a site's certificates and index, for this step only and in no layer.
RUN --mount=type=bind,source=docker,target=/locked \
    --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt,required=false \
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf,required=false \
    python3 -m pip --python /opt/venv/bin/python install --quiet --no-compile --no-deps --require-hashes --only-binary :all: \
        ${TORCH_INDEX:+--extra-index-url ${TORCH_INDEX}} --find-links /locked/wheels --requirement /locked/requirements-cuda.txt \
    && python3 -m pip --python /opt/venv/bin/python check \
    && python3 -m pip --python /opt/venv/bin/python freeze > /opt/packages.txt
# torch's wheel brings the programs that test it, 120 MB that nobody runs; triton's, 77 MB of libraries to link with.
RUN rm -rf /opt/venv/lib/python3.11/site-packages/torch/test \
    && find /opt/venv/lib/python3.11/site-packages/torch/bin -name '*test*' -type f -delete \
    && find /opt/venv/lib/python3.11/site-packages -path '*/triton/*' -name '*_static.a' -delete
# -I: nothing but the environment is imported; -B: only the script writes bytecode.
RUN --mount=type=bind,source=docker,target=/locked \
    /opt/venv/bin/python -I -B /locked/bytecode.py
# The build fails here, and not a benchmark later, if the wrong torch was taken.
RUN /opt/venv/bin/python -I -c "import torch; assert torch.version.cuda, torch.__version__"

# ── fluxkit itself ──
FROM dependencies AS project
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY fluxkit fluxkit
# Into a folder of its own, so that the last stage gets it as one small layer above the packages.
RUN --mount=type=bind,source=docker,target=/locked \
    --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt,required=false \
    --mount=type=secret,id=pip.conf,target=/etc/pip.conf,required=false \
    python3 -m venv --without-pip /opt/build \
    && python3 -m pip --python /opt/build/bin/python install --quiet --no-deps --require-hashes --only-binary :all: \
        --requirement /locked/requirements-build.txt \
    && /opt/build/bin/python -m hatchling build -t wheel -d /wheel \
    && python3 -m pip --python /opt/venv/bin/python install --quiet --no-compile --no-deps --no-index --root /project /wheel/*.whl \
    && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /project/opt/venv/lib

# ── The image ──
FROM base AS runtime
# Any user works: one without a group gets group 0, and one with both, as a bound folder of results wants it, has a
# cache like /tmp, open to all and each file its owner's.
RUN useradd --uid 10001 --gid 0 --no-create-home --home-dir /tmp fluxkit \
    && install -d -o 10001 -g 0 -m 0775 /bench /bench/runs \
    && install -d -o 10001 -g 0 -m 1777 /cache \
    && install -d /etc/fluxkit
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=dependencies /opt/packages.txt /etc/fluxkit/packages.txt
COPY --from=project /project/opt/venv /opt/venv

# No ~/.local and no bytecode of the host's; HOME for users without an entry in /etc/passwd; every cache in /cache.
# HF_HUB_OFFLINE: a benchmark never downloads by surprise; set it to 0 to fetch weights that a spec asks for.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONNOUSERSITE=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    LANG=C.UTF-8 \
    HOME=/tmp \
    LOGNAME=fluxkit \
    XDG_CACHE_HOME=/cache \
    FLUXKIT_CACHE=/cache/fluxkit \
    HF_HOME=/cache/hf \
    HF_HUB_OFFLINE=1 \
    TORCHINDUCTOR_CACHE_DIR=/cache/inductor \
    TRITON_CACHE_DIR=/cache/triton
# What NVIDIA's container toolkit brings in with --gpus: the driver for computing, and nvidia-smi with NVML.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# What the image is; fluxkit reads build.json and states it in every result (kit.image, kit.commit).
ARG BASE_IMAGE
ARG IMAGE=fluxkit:cuda
ARG VERSION=
ARG REVISION=
ARG CREATED=
LABEL org.opencontainers.image.title="fluxkit" \
      org.opencontainers.image.description="What tuning FLUX.1-schnell costs and gives on this hardware: NVIDIA GPUs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.ref.name="${IMAGE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
RUN printf '{"image": "%s", "version": "%s", "commit": "%s", "created": "%s", "base": "%s"}\n' \
        "${IMAGE}" "${VERSION}" "${REVISION}" "${CREATED}" "${BASE_IMAGE}" > /etc/fluxkit/build.json

WORKDIR /bench
# Writable under --read-only without a further flag, and gone with --rm.
VOLUME ["/tmp", "/cache"]
USER 10001:0
# A command that ends needs no health check; importing torch every 30 seconds would disturb what is measured.
HEALTHCHECK NONE
# -g: a signal reaches fluxkit and what it started, so docker stop leads to a checkpoint.
ENTRYPOINT ["tini", "-g", "--", "fluxkit"]
CMD ["--help"]
