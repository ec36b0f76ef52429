# The image of Parley. docs/kubernetes.md says how to build and run it.
#
# To be sure of the bases, pin them by digest: --build-arg BUILD_IMAGE=…@sha256:… --build-arg RUNTIME_IMAGE=…@sha256:…
ARG BUILD_IMAGE=rust:1.95.0-slim-bookworm
# The same Debian as the build's: the binary links glibc, libm and libgcc_s, and nothing else.
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

# The manifests of the crates alone: the next stage copies them by their content, which changes seldom.
FROM ${BUILD_IMAGE} AS manifests
COPY crates /crates
COPY xtask/Cargo.toml /xtask/Cargo.toml
RUN find /crates -not -type d -not -name Cargo.toml -delete \
    && find /crates -mindepth 2 -type d -empty -delete

FROM ${BUILD_IMAGE} AS build
WORKDIR /build
# The same sources and REVISION give the same bytes: no path of this machine and no time in the binary. CFLAGS are for SQLite, ring and mimalloc.
ARG SOURCE_DATE_EPOCH=0
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} \
    CARGO_INCREMENTAL=0 \
    RUSTFLAGS="--remap-path-prefix=/build=/parley --remap-path-prefix=/usr/local/cargo=/cargo" \
    CFLAGS="-ffile-prefix-map=/build=/parley -ffile-prefix-map=/usr/local/cargo=/cargo"

# The dependencies, with empty sources: this layer is made anew only when they change.
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
# Pages that `parley compat` reads are part of the program.
COPY docs/json-api-coverage.md docs/json-api-differences.md ./docs/
COPY src ./src
# Cargo judges by times, and the sources are often older than the layer above: what was made of the empty ones must go.
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
# The purge delay is what the program would otherwise restart itself with.
ENV PARLEY_CONFIG=/etc/parley/parley.toml \
    MIMALLOC_PURGE_DELAY=100
# By number, so that Kubernetes sees that it is not root.
USER 65532:65532
# Writable also under a read-only root: the SQLite file, and its temporary files, which go to the working directory.
WORKDIR /data
VOLUME ["/data"]
# gRPC, JSON, and the operators' port.
EXPOSE 50051 8080 9464
# The program gives up after 5 seconds by itself.
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 CMD ["/usr/local/bin/parley", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/parley"]
CMD ["serve"]
