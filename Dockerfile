# Images of fsync, one target each: server, agent, controller, loadtest.
#
#   docker build --target server -t fsync-server .
#   docker buildx build --target agent --platform linux/amd64,linux/arm64 -t fsync-agent .
#
# Each is FROM scratch: the program, the libraries it is linked to, certificates and an SBOM (/usr/share/sbom). There is no
# shell and no package manager; it runs as 65532 with a read-only root, where only a volume at /var/lib/fsync (and /tmp)
# is written.
#
# Build arguments:
#   RUST_IMAGE, DEBIAN_IMAGE   base images of the stages; both of one Debian release, so that libraries fit
#   VERSION, REVISION          for the labels
# Programs that are built already, with their SBOMs (see .ci/image/build), take the place of the compilation:
#   --build-context binaries=DIRECTORY

ARG RUST_IMAGE=docker.io/library/rust:1.95-slim-bookworm
ARG DEBIAN_IMAGE=docker.io/library/debian:bookworm-slim

# Compiles on the builder's own architecture, for the target's: emulation would take an hour.
FROM --platform=$BUILDPLATFORM ${RUST_IMAGE} AS build
ARG TARGETARCH
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/target \
    .ci/image/build "${TARGETARCH}" /target /out

FROM scratch AS binaries
COPY --from=build /out/ /

# Runs on the target's architecture: it asks the linker there.
FROM ${DEBIAN_IMAGE} AS roots
COPY .ci/image/root /root/
COPY --from=binaries / /binaries/
RUN /root/root /binaries /roots fsync-server fsync-agent fsync-controller loadtest

# Not every builder keeps owners when it copies: the one directory that is not root's is copied once more.
FROM scratch AS server
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fsync-server" \
      org.opencontainers.image.description="Keeps folders in step across machines: the service that agents connect to" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=roots /roots/fsync-server/ /
COPY --from=roots --chown=65532:65532 /roots/fsync-server/var/lib/fsync/ /var/lib/fsync/
ENV HOME=/var/lib/fsync
WORKDIR /var/lib/fsync
USER 65532:65532
# Data, and health; the second is answered only if --admin-listen says so.
EXPOSE 8484 9090
ENTRYPOINT ["/usr/bin/fsync-server"]

FROM scratch AS agent
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fsync-agent" \
      org.opencontainers.image.description="Keeps a folder in step with a tree of an fsync service" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=roots /roots/fsync-agent/ /
COPY --from=roots --chown=65532:65532 /roots/fsync-agent/var/lib/fsync/ /var/lib/fsync/
ENV HOME=/var/lib/fsync
WORKDIR /var/lib/fsync
USER 65532:65532
ENTRYPOINT ["/usr/bin/fsync-agent"]

FROM scratch AS controller
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fsync-controller" \
      org.opencontainers.image.description="Makes an fsync service do what objects of Kubernetes say" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=roots /roots/fsync-controller/ /
COPY --from=roots --chown=65532:65532 /roots/fsync-controller/var/lib/fsync/ /var/lib/fsync/
ENV HOME=/var/lib/fsync
WORKDIR /var/lib/fsync
USER 65532:65532
# Health and metrics, if --admin-listen says so.
EXPOSE 9090
ENTRYPOINT ["/usr/bin/fsync-controller"]

FROM scratch AS loadtest
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fsync-loadtest" \
      org.opencontainers.image.description="Measures an fsync service" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Of its verbs, those that measure a service elsewhere: `bench` starts programs that are not in here.
COPY --from=roots /roots/loadtest/ /
COPY --from=roots --chown=65532:65532 /roots/loadtest/var/lib/fsync/ /var/lib/fsync/
ENV HOME=/var/lib/fsync
WORKDIR /var/lib/fsync
USER 65532:65532
ENTRYPOINT ["/usr/bin/loadtest"]
