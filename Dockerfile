# Two images from one file:
#   docker build --target api .       HTTP only; has no torch
#   docker build --target worker .    trains and inspects

FROM python:3.12.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    STILLHOUSE_HOME=/data \
    STILLHOUSE_LOG_FORMAT=json
RUN useradd --system --uid 10001 --home-dir /data stillhouse \
    && install --directory --owner=stillhouse --group=stillhouse /data
WORKDIR /srv/stillhouse
COPY pyproject.toml README.md ./
COPY migrations migrations
COPY app app

FROM base AS api
RUN pip install "stillhouse[api,otel] @ file:///srv/stillhouse"
USER 10001
VOLUME /data
ENV STILLHOUSE_HOST=0.0.0.0
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
CMD ["python", "-m", "app.asgi"]

FROM base AS worker
# CPU wheels are a tenth of the size; for GPUs build with TORCH_INDEX=https://pypi.org/simple.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --index-url "${TORCH_INDEX}" "torch==2.13.0"
COPY workers workers
RUN pip install "stillhouse[worker,otel] @ file:///srv/stillhouse"
USER 10001
VOLUME /data
HEALTHCHECK --interval=15s --timeout=10s --start-period=40s \
    CMD ["python", "-m", "workers.alive"]
CMD ["celery", "--quiet", "-A", "workers.celery_app", "worker", "-Q", "train.high,train,train.low", \
     "--pool", "threads", "--concurrency", "1", "--loglevel", "INFO", \
     "--without-gossip", "--without-mingle", "--without-heartbeat"]
