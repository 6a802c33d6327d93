# One image for all processes: `convolog api`, `convolog projector`, `convolog migrate`, and the tools.

FROM rust:1.94-bookworm AS build
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/build/target \
    cargo build --release --locked --package convolog --bin convolog \
    && strip --strip-debug --output-file=/convolog target/release/convolog

FROM debian:bookworm-slim
# Certificates for PostgreSQL and NATS over TLS; curl for health checks.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /convolog /usr/local/bin/convolog
# Needs no file of its own and no right to write any.
USER nobody
WORKDIR /tmp
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
ENTRYPOINT ["convolog"]
