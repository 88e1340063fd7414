# docker build --tag imager .
#
# Build arguments:
#   ASSETS_IMAGE   image whose /usr/install has the boot assets to use instead of the default ones:
#                  with an imager or installer image of Talos, outputs boot Talos
#   ASSETS_ARCHES  architectures whose default boot assets are put in; default: the image's own
#   BASE_IMAGE     Debian 12 image that everything is built on; pin it by digest where that matters:
#                  debian:bookworm-slim@sha256:...
#   VERSION        version, commit and web address for the image's labels
#   REVISION
#   SOURCE

ARG ASSETS_IMAGE=default-assets
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${BASE_IMAGE} AS base
RUN apt-get update \
 && apt-get install --yes --no-install-recommends bubblewrap ca-certificates e2fsprogs kmod python3 squashfs-tools xfsprogs \
 && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*

FROM base AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3-pip python3-venv
WORKDIR /src
RUN python3 -m venv --without-pip /opt/imager
ENV PATH=/opt/imager/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# The dependencies first, so that a change of the code does not fetch them again.
COPY requirements ./requirements
RUN /usr/bin/pip --python /opt/imager/bin/python install --no-compile --require-hashes --requirement requirements/run.lock \
 && python3 -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes --requirement requirements/build.lock
COPY . ./
# Bytecode that is never checked against its source: a read-only image starts as quickly.
RUN /opt/build/bin/hatchling build -t wheel -d dist \
 && /usr/bin/pip --python /opt/imager/bin/python install --no-compile --no-deps dist/*.whl \
 && /usr/bin/python3 -m compileall -q --invalidation-mode unchecked-hash /opt/imager

FROM build AS default-assets
ARG ASSETS_ARCHES
RUN for arch in ${ASSETS_ARCHES:-$(dpkg --print-architecture)}; do \
      imager assets fetch --arch "$arch" --folder /usr/install || exit; \
    done \
 && mkdir /usr/lib/grub && cp -R /usr/install/*/grub/* /usr/lib/grub/

FROM ${ASSETS_IMAGE:-default-assets} AS assets

FROM base
ARG BASE_IMAGE
ARG VERSION
ARG REVISION
ARG SOURCE
LABEL org.opencontainers.image.title="imager" \
      org.opencontainers.image.description="Builds bootable ISO and disk images for Talos Linux that carry a container image cache" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE_IMAGE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
ENV PATH=/opt/imager/bin:$PATH PYTHONDONTWRITEBYTECODE=1
COPY --from=build /opt/imager /opt/imager
COPY --from=assets /usr/install /usr/install
# GRUB fits any kernel, so other boot assets may come without it.
COPY --from=default-assets /usr/lib/grub /usr/lib/grub
# Where outputs go; mount a folder here.
RUN mkdir /out
ENTRYPOINT ["imager"]
CMD ["--help"]
