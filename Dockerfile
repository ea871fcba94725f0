# Two images from one file: `web` is light, `worker` carries torch.
FROM python:3.11-slim AS base
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --create-home --uid 10001 vitrine && mkdir -p /data /weights && chown vitrine /data /weights
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE vitrine.py ./
COPY backend backend
COPY frontend frontend
COPY workers workers
COPY models models

FROM base AS web
RUN pip install -c constraints.txt ".[web]"
USER vitrine
ENV VITRINE_DATA_DIR=/data VITRINE_HOST=0.0.0.0
EXPOSE 8050
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD python -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8050/api/v1/health', timeout=2)"
CMD ["vitrine", "web"]

FROM base AS worker
RUN pip install -c constraints.txt ".[worker,captions]"
USER vitrine
ENV VITRINE_DATA_DIR=/data VITRINE_MODELS_DIR=/weights/models HF_HOME=/weights/hub
CMD ["vitrine", "worker"]
