# The image: the program, its inference engine and a model, and nothing else: no shell, no package manager.
#
#   make image                             both images, and their size by part
#   docker build .                         the program with the example model
#   docker build --target engine .         without a model: models come from a volume at /models
#
# `podman build` and `buildah bud` take it as it is; nothing here needs BuildKit.

# The digest is the one under which public build logs and projects have recorded this tag. `make image` and
# every builder refuse other bytes; to move on, ask a registry:
#   skopeo inspect --format '{{.Digest}}' docker://docker.io/library/rust:1.95-bookworm
ARG BUILD_IMAGE=docker.io/library/rust:1.95-bookworm@sha256:6258907abe69656e41cd992e0b705cdcfabcbbe3db374f92ed2d47121282d4a1

FROM ${BUILD_IMAGE} AS build
ARG MODELS=efficientnet-lite0-int8
WORKDIR /src
COPY . .
RUN image/build.sh

# The final images start from nothing: what they need of Debian (libc, libstdc++, certificates) comes from the build
# image, so that the program runs on the very libraries it was linked with.
FROM scratch AS engine
COPY --from=build /out/base/ /
COPY --from=build /out/engine/ /
COPY --from=build /out/program/ /
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="modelfn" \
      org.opencontainers.image.description="Machine-learning models as sandboxed WebAssembly functions" \
      org.opencontainers.image.source="https://github.com/modelfn/modelfn" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
# The root file system can be read-only: compiled code is in the image (for processors with AVX2; others compile it
# at each start, unless MODELFN_CODE_CACHE is a folder that can be written).
ENV MODELFN_APP=/app/spin.toml \
    MODELFN_MODELS=/models \
    MODELFN_CODE_CACHE=/app/code \
    MODELFN_LISTEN=0.0.0.0:8080 \
    MODELFN_ADMIN_LISTEN=0.0.0.0:8081
WORKDIR /app
USER 65532:65532
# Clients; and /livez, /readyz and /metrics. There is no HEALTHCHECK, since that would be a program in the image:
# whoever runs it asks the admin port.
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/modelfn"]
CMD ["serve"]

FROM engine AS full
COPY --from=build /out/models/ /
