# syntax=docker/dockerfile:1
# The agent and the hub in one small image. Build: docker build -t huitong .
# Air-gapped: fill ./wheelhouse first (pip download --require-hashes -r requirements/runtime.txt -d wheelhouse) and build with
#   --build-arg PIP_NO_INDEX=1 --build-arg PIP_FIND_LINKS=/src/wheelhouse
FROM python:3.11-slim-bookworm AS build
ARG PIP_NO_INDEX=
ARG PIP_FIND_LINKS=
ENV PIP_NO_INDEX=$PIP_NO_INDEX PIP_FIND_LINKS=$PIP_FIND_LINKS PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY . .
RUN python -m venv /opt/huitong \
 && /opt/huitong/bin/pip install --require-hashes --only-binary=:all: -r requirements/runtime.txt \
 && /opt/huitong/bin/pip install --require-hashes --only-binary=:all: --target /tmp/build -r requirements/build.txt \
 && PYTHONPATH=/tmp/build /opt/huitong/bin/pip install --no-deps --no-build-isolation . \
 && find /opt/huitong -name '__pycache__' -prune -exec rm -rf {} +

FROM python:3.11-slim-bookworm
RUN groupadd --gid 10710 huitong \
 && useradd --uid 10710 --no-create-home --gid huitong --home-dir /var/lib/huitong --shell /usr/sbin/nologin huitong \
 && install -d -o huitong -g huitong -m 0750 /var/lib/huitong /run/huitong \
 && install -d -m 0755 /etc/huitong /etc/huitong/conf.d
COPY --from=build /opt/huitong /opt/huitong
ENV PATH=/opt/huitong/bin:$PATH PYTHONUNBUFFERED=1 LANG=C.UTF-8
USER 10710:10710
VOLUME ["/var/lib/huitong"]
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s --retries=3 CMD ["huitong", "--config", "/etc/huitong/agent.yaml", "status", "--quiet"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["huitong"]
CMD ["--config", "/etc/huitong/agent.yaml", "run"]
