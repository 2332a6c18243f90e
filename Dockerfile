# A static binary in an empty image. Build: docker build -t rmq-lite .
FROM rust:1.95-bookworm AS build
# Under this one name the C compiler for musl is there on every architecture.
ENV TARGET_CC=musl-gcc
RUN apt-get update && apt-get install -y --no-install-recommends musl-tools && rm -rf /var/lib/apt/lists/* \
 && rustup target add "$(uname -m)-unknown-linux-musl"
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs ./
COPY examples examples
COPY src src
COPY tests tests
COPY ui ui
RUN target="$(uname -m)-unknown-linux-musl" \
 && cargo build --release --locked --bin rmq-lite --target "$target" \
 && mkdir -p /image/data && mkdir -m 1777 /image/tmp \
 && cp "target/$target/release/rmq-lite" /image/rmq-lite

FROM scratch
COPY --from=build /image/rmq-lite /rmq-lite
COPY --from=build --chown=65532:65532 /image/data /data
COPY --from=build /image/tmp /tmp
USER 65532:65532
# start keeps its data in /data/rmq-lite, and every server its sign for ready; namesrv and broker keep theirs in HOME.
ENV HOME=/data XDG_DATA_HOME=/data
VOLUME /data
EXPOSE 9876 10909 10911 8082
HEALTHCHECK --interval=5s --timeout=3s --start-period=2s CMD ["/rmq-lite", "ready", "--any"]
ENTRYPOINT ["/rmq-lite"]
CMD ["start", "--bind", "0.0.0.0"]
