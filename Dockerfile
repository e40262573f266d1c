# Everything in one image. On a machine without an NVIDIA card:
#
#     docker build -t radl-bench .
#     docker run --rm -v "$PWD:/work" radl-bench demo
#
# With one (needs the NVIDIA container toolkit):
#
#     docker build -t radl-bench:cuda --build-arg DEVICE=cuda .
#     docker run --rm --gpus all -v "$PWD:/work" -v radl-bench:/data radl-bench:cuda generate coco-mig --device cuda
#
# Runs and reports lie in /work, weights that `radl-bench fetch` brings in /data.
ARG PYTHON=3.11
FROM python:${PYTHON}-slim-bookworm

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# What opencv-python links and slim images lack; Debian keeps one version of each, so none is named.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 libxcb1 \
    && rm -rf /var/lib/apt/lists/*

# pip's own torch for Linux is the one for NVIDIA cards; the one for the CPU is a tenth of its size.
ARG DEVICE=cpu
ARG CPU_INDEX=https://download.pytorch.org/whl/cpu
RUN case "$DEVICE" in \
        cpu) pip install --no-cache-dir --index-url "$CPU_INDEX" "torch>=2.4" "torchvision>=0.19" ;; \
        cuda) pip install --no-cache-dir "torch>=2.4" "torchvision>=0.19" ;; \
        *) echo "DEVICE is cpu or cuda, not $DEVICE." >&2; exit 2 ;; \
    esac

WORKDIR /source
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY benchmarks benchmarks
COPY reports/reported.json reports/reported.json
COPY radl_model radl_model
COPY radl_bench radl_bench
RUN pip install --no-cache-dir . && install --directory --mode 1777 /work /data

# Not root, so that no file on the host belongs to root; `docker run --user "$(id -u)"` makes them yours.
USER 1000
WORKDIR /work
ENV HOME=/tmp RADL_BENCH_HOME=/data HF_HOME=/data/huggingface
ENTRYPOINT ["radl-bench"]
CMD ["--help"]
