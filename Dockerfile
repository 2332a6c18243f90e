# A static binary in an empty image. Build: docker build -t rmq-lite .
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends musl-tools && rm -rf /var/lib/apt/lists/* \
 && rustup target add x86_64-unknown-linux-musl
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs ./
COPY examples examples
COPY src src
COPY tests tests
COPY ui ui
RUN cargo build --release --locked --bin rmq-lite --target x86_64-unknown-linux-musl \
 && mkdir -p /image/data /image/tmp \
 && cp target/x86_64-unknown-linux-musl/release/rmq-lite /image/rmq-lite

FROM scratch
COPY --from=build /image/rmq-lite /rmq-lite
COPY --from=build --chown=65532:65532 /image/data /data
COPY --from=build --chown=65532:65532 /image/tmp /tmp
USER 65532:65532
ENV XDG_DATA_HOME=/data
VOLUME /data
EXPOSE 9876 10909 10911 8082
HEALTHCHECK --interval=5s --timeout=3s --start-period=2s CMD ["/rmq-lite", "ready"]
ENTRYPOINT ["/rmq-lite"]
CMD ["start", "--bind", "0.0.0.0"]
