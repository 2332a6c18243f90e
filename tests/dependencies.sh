#!/bin/bash
# What the project depends on: licences, doubles and sources (deny.toml, by cargo-deny), and whether all of it is used (by cargo-machete).
#   cargo install --locked cargo-deny cargo-machete
# The tools are looked for in PATH and in target/tools. STRICT=1: one that is missing is a failure, otherwise it is named.
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
[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
