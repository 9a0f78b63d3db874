# One image for all stages. compose.yaml builds it; by hand: docker build -t v2t-stream:0.1.0 .
# For NVIDIA cards, half a gigabyte more: docker build --build-arg EXTRA=cuda -t v2t-stream:0.1.0-cuda .

FROM ghcr.io/astral-sh/uv:0.13.9 AS uv

FROM python:3.13-slim-trixie AS python
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never \
    VIRTUAL_ENV=/opt/v2t


# The dependencies weigh most and change seldom: a layer of their own, in the versions that pyproject.toml names.
FROM python AS dependencies
COPY --from=uv /uv /usr/local/bin/uv
WORKDIR /src
COPY pyproject.toml ./
RUN --mount=type=cache,target=/root/.cache/uv \
    uv venv --python /usr/local/bin/python3 /opt/v2t \
    && uv pip install --only-binary :all: --requirements pyproject.toml
# `cuda` brings cuBLAS, the one library that CTranslate2 needs beside the driver, which comes from the host.
ARG EXTRA=""
RUN --mount=type=cache,target=/root/.cache/uv \
    if [ -n "$EXTRA" ]; then uv pip install --only-binary :all: --requirements pyproject.toml --extra "$EXTRA"; fi


FROM dependencies AS wheel
COPY LICENSE README.md ./
COPY schemas schemas
COPY v2t_stream v2t_stream
COPY stages stages
COPY tui tui
RUN --mount=type=cache,target=/root/.cache/uv \
    uv build --wheel --out-dir /wheel


FROM python
# A new volume begins with the owner that its folder has here.
RUN useradd --uid 1000 --user-group --home-dir /data --no-create-home --shell /usr/sbin/nologin v2t \
    && install --directory --owner v2t --group v2t /data /data/models
COPY --from=dependencies /opt/v2t /opt/v2t
RUN --mount=type=bind,from=uv,source=/uv,target=/usr/local/bin/uv \
    --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    uv pip install --no-cache --no-deps /wheel/*.whl
ENV PATH=/opt/v2t/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    V2T_DATA_DIR=/data \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000:1000
WORKDIR /data
VOLUME ["/data", "/data/models"]
ENTRYPOINT ["v2t"]
CMD ["node"]
