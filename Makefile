# make start   builds and starts a server on 127.0.0.1:9876
# make test    everything: format, lints, unit, property and integration tests, real Java and Go clients, hand-over
#              of the data to a real Apache RocketMQ and back, replication with one, the static binary of the container image
# make check   the same without the real clients, the hand-over and the image
# make bench   the same load on rmq-lite, on Apache RocketMQ and on a do-nothing server

CARGO ?= cargo
BIN := target/release/rmq-lite

CHECKS := format lints rust ui dependencies
TESTS := $(CHECKS) clients handover mixed image

.PHONY: start build test check steps $(TESTS) bench docker clean

start: build
	@exec $(BIN) start

build:
	@command -v $(CARGO) > /dev/null || { echo "cargo is missing: install Rust 1.95 or newer (rustup, or your system's package)"; exit 1; }
	@command -v cc > /dev/null || { echo "a C compiler is missing: install gcc or clang; Rust links with it, and TLS has parts in C"; exit 1; }
	$(CARGO) build --release --bin rmq-lite

test: $(TESTS)

check: $(CHECKS)

# The names of what `make test` makes, in order.
steps:
	@echo $(TESTS)

format:
	$(CARGO) fmt --check

lints:
	$(CARGO) clippy --all-targets --quiet -- -D warnings

rust:
	$(CARGO) test --quiet

ui:
	./tests/ui/run.sh

dependencies:
	./tests/dependencies.sh

clients: build
	RMQ_LITE_BIN=$(CURDIR)/$(BIN) ./tests/clients/run.sh java-5.3.3 java-4.9.8 go kill-loop

handover: build
	RMQ_LITE_BIN=$(CURDIR)/$(BIN) ./tests/handover/run.sh

mixed: build
	RMQ_LITE_BIN=$(CURDIR)/$(BIN) ./tests/mixed/run.sh

image:
	./tests/image/run.sh

bench: build
	./benches/compare.sh

docker:
	docker build -t rmq-lite .

clean:
	$(CARGO) clean
