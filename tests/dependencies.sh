#!/bin/bash
# What the project depends on: licences, doubles and sources (deny.toml, by cargo-deny), and whether all of it is used (by cargo-machete).
#   cargo install --locked cargo-deny cargo-machete
# The tools are looked for in PATH and in target/tools. And whether the fuzz targets, which nobody else builds, still fit the
# code and its dependencies. STRICT=1: what is missing is a failure, otherwise it is named.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
PATH=$PWD/target/tools/bin:$PATH
failed=

# with <tool> <arguments>: runs `cargo <tool>`
with() {
    if ! command -v "cargo-$1" > /dev/null; then
        echo "skipped: cargo-$1 is missing"
        [ "${STRICT:-0}" != 1 ] || failed="$failed $1(missing)"
    elif cargo "$@" > target/dependencies.log 2>&1; then
        echo "dependencies: $1 ok"
    else
        cat target/dependencies.log
        failed="$failed $1"
    fi
}

mkdir -p target
with deny --offline check bans licenses sources
with machete

# Fuzzing needs a nightly compiler and libFuzzer; to look whether the targets compile needs neither, for nothing is linked.
fuzz() {
    local fetched=0
    cargo fetch --quiet --locked --manifest-path fuzz/Cargo.toml > target/dependencies.log 2>&1 || fetched=$?
    if grep -q 'lock file' target/dependencies.log; then
        echo "fuzz/Cargo.lock does not fit Cargo.toml any more: cargo metadata --manifest-path fuzz/Cargo.toml > /dev/null"
        failed="$failed fuzz"
    elif [ "$fetched" != 0 ]; then
        echo "skipped: the fuzz targets, because their crates cannot be had: $(grep -m 1 ^error target/dependencies.log)"
        [ "${STRICT:-0}" != 1 ] || failed="$failed fuzz(missing)"
    elif CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target} CUSTOM_LIBFUZZER_PATH=/none/libfuzzer.a \
        cargo check --quiet --locked --offline --manifest-path fuzz/Cargo.toml > target/dependencies.log 2>&1; then
        echo "dependencies: fuzz targets ok"
    else
        cat target/dependencies.log
        failed="$failed fuzz"
    fi
}
fuzz
[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
