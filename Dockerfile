# Imagegate as an image: no root, nothing to write to but its data folder and /tmp.
#
#   docker build --tag imagegate .
#   docker run --read-only --tmpfs /tmp --volume imagegate:/var/lib/imagegate \
#     --volume ./imagegate.toml:/etc/imagegate/imagegate.toml:ro --env OPENAI_API_KEY --publish 8080:8080 imagegate
#
# The base is named by three build arguments. A tag moves; to build the same image again, pin what it means today:
#
#   docker buildx imagetools inspect docker.io/library/python:3.13-slim-bookworm   # prints "Digest: sha256:…"
#   docker build --build-arg BASE_DIGEST=@sha256:… .
#
# With traces (OpenTelemetry):
#
#   docker build --build-arg REQUIREMENTS=otel.txt --tag imagegate .
#
# Packages come from wherever pip is configured to look. For a mirror, hand its configuration to the build; it leaves no
# trace in the image:
#
#   docker build --secret id=pip,src=pip.conf .
ARG BASE_IMAGE=docker.io/library/python
ARG BASE_TAG=3.13-slim-bookworm
ARG BASE_DIGEST=

FROM ${BASE_IMAGE}:${BASE_TAG}${BASE_DIGEST} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python3 -m venv /opt/imagegate
# What changes rarely comes first: a change of the code does not install the libraries again.
COPY requirements/run.txt requirements/otel.txt requirements/
ARG REQUIREMENTS=run.txt
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    /opt/imagegate/bin/python -m pip install --quiet --require-hashes --requirement requirements/${REQUIREMENTS}
COPY pyproject.toml README.md CHANGELOG.md ./
COPY config config
COPY gateway gateway
# Nothing is built or installed here once it is there: what does that goes too.
RUN /opt/imagegate/bin/python -m pip install --quiet --no-deps --no-build-isolation --no-index . \
    && /opt/imagegate/bin/python -m pip uninstall --quiet --yes hatchling editables setuptools pip

FROM ${BASE_IMAGE}:${BASE_TAG}${BASE_DIGEST}
LABEL org.opencontainers.image.title="imagegate" \
      org.opencontainers.image.description="An OpenAI-compatible caching proxy gateway for image generation"
RUN groupadd --gid 10001 imagegate \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/imagegate --shell /usr/sbin/nologin imagegate \
    && install -d -o 10001 -g 10001 -m 0750 /var/lib/imagegate \
    && install -d /etc/imagegate
COPY --from=build /opt/imagegate /opt/imagegate
# In a container every interface is the container's own: who may reach it is decided outside.
ENV PATH=/opt/imagegate/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    IMAGEGATE_CONFIG=/etc/imagegate/imagegate.toml \
    IMAGEGATE_SERVER__HOST=0.0.0.0 \
    IMAGEGATE_OPS__HOST=0.0.0.0 \
    IMAGEGATE_STORE__URL=sqlite:////var/lib/imagegate
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
WORKDIR /var/lib/imagegate
VOLUME /var/lib/imagegate
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
# Whether it lives, not whether it is ready: who restarts a gateway because its store is away loses what it has under way.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request; urllib.request.urlopen(f\"http://127.0.0.1:{os.environ.get('IMAGEGATE_OPS__PORT', '8081')}/livez\", timeout=2)"]
ENTRYPOINT ["imagegate"]
CMD ["serve"]
