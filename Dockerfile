# The image of Parley. docs/kubernetes.md describes how to build and run it.
#
# For reproducible base images, pin them by digest: --build-arg BUILD_IMAGE=…@sha256:… --build-arg RUNTIME_IMAGE=…@sha256:…
ARG BUILD_IMAGE=rust:1.95.0-slim-bookworm
# The same Debian release as the build image: the binary links only glibc, libm and libgcc_s.
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

# Only the manifests of the crates: the next stage copies them, so its cached layer is rebuilt only when they change.
FROM ${BUILD_IMAGE} AS manifests
COPY crates /crates
COPY xtask/Cargo.toml /xtask/Cargo.toml
RUN find /crates -not -type d -not -name Cargo.toml -delete \
    && find /crates -mindepth 2 -type d -empty -delete

FROM ${BUILD_IMAGE} AS build
WORKDIR /build
# Reproducible build: the same sources and REVISION produce the same bytes, without local paths or times in the binary. CFLAGS apply to SQLite, ring and mimalloc.
ARG SOURCE_DATE_EPOCH=0
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} \
    CARGO_INCREMENTAL=0 \
    RUSTFLAGS="--remap-path-prefix=/build=/parley --remap-path-prefix=/usr/local/cargo=/cargo" \
    CFLAGS="-ffile-prefix-map=/build=/parley -ffile-prefix-map=/usr/local/cargo=/cargo"

# Build the dependencies with empty sources: this layer is rebuilt only when they change.
COPY Cargo.toml Cargo.lock ./
COPY --from=manifests /crates ./crates
# A member of the workspace, so Cargo reads its manifest; it is not built.
COPY --from=manifests /xtask ./xtask
RUN mkdir -p src xtask/src \
    && touch src/lib.rs \
    && echo 'fn main() {}' >build.rs \
    && cp build.rs src/main.rs \
    && cp build.rs xtask/src/main.rs \
    && cp build.rs crates/proto/build.rs \
    && for crate in crates/*; do mkdir -p "$crate/src" && touch "$crate/src/lib.rs"; done \
    && cargo build --locked --profile dist --package parley

COPY build.rs ./
COPY proto ./proto
COPY crates ./crates
# `parley compat` embeds these pages in the program.
COPY docs/json-api-coverage.md docs/json-api-differences.md ./docs/
COPY src ./src
# Cargo compares timestamps, and the sources are often older than the layer above, so the artefacts of the empty sources must be removed.
ARG REVISION=
RUN cargo clean --locked --profile dist --workspace \
    && BUILD_REVISION="${REVISION}" cargo build --locked --profile dist --package parley \
    && mkdir -p /image/usr/local/bin /image/data \
    && cp target/dist/parley /image/usr/local/bin/parley \
    && find /image -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH}" {} +

FROM ${RUNTIME_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="Parley" \
      org.opencontainers.image.description="Customer conversations as a gRPC service, with a durable, ordered, resumable event stream" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=build /image/usr/local/bin/parley /usr/local/bin/parley
COPY --from=build --chown=65532:65532 /image/data /data
COPY docker/parley.toml /etc/parley/parley.toml
# The program would otherwise restart itself once to set the purge delay.
ENV PARLEY_CONFIG=/etc/parley/parley.toml \
    MIMALLOC_PURGE_DELAY=100
# Numeric, so that Kubernetes can verify that it is not root.
USER 65532:65532
# Writable even with a read-only root: contains the SQLite file and its temporary files, which are created in the working directory.
WORKDIR /data
VOLUME ["/data"]
# gRPC, REST and admin.
EXPOSE 50051 8080 9464
# The command itself times out after 5 seconds.
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 CMD ["/usr/local/bin/parley", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/parley"]
CMD ["serve"]
