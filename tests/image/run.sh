#!/bin/bash
# What the container image promises, without a container engine: the static binary alone in an empty root directory, run
# as an ordinary user with the Dockerfile's command line, serves a message, reports itself ready, and stops clean.
#   tests/image/run.sh        builds for the musl target first
# Needs that target (rustup target add x86_64-unknown-linux-musl), musl-gcc, and chroot as root or in a user namespace.
# STRICT=1: what is missing is a failure; otherwise it is named and the test is left out.
set -euo pipefail
cd "$(dirname "$0")/../.."

missing() {
    echo "skipped: the image's test, because $1"
    [ "${STRICT:-0}" != 1 ] || exit 1
    exit 0
}
target=$(uname -m)-unknown-linux-musl
[ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] || missing "the Rust target $target is not installed"
command -v musl-gcc > /dev/null || missing "musl-gcc is missing (musl-tools)"
if [ "$(id -u)" = 0 ]; then
    as_user=(chroot --userspec=65532:65532)
elif unshare -r true 2> /dev/null; then
    as_user=(unshare -r chroot)
else
    missing "only root may change the root directory here"
fi
cargo build --quiet --release --locked --bin rmq-lite --target "$target"

root=$(mktemp -d)
server=
cleanup() {
    [ -z "$server" ] || kill -9 "$server" 2> /dev/null || true
    rm -rf "$root" "$root.log"
}
trap cleanup EXIT
mkdir "$root/data" "$root/tmp"
cp "${CARGO_TARGET_DIR:-target}/$target/release/rmq-lite" "$root/rmq-lite"
[ "$(id -u)" != 0 ] || chown 65532:65532 "$root/data" "$root/tmp"
chmod 755 "$root"

rmq_lite=(env -i PATH="$PATH" XDG_DATA_HOME=/data "${as_user[@]}" "$root" /rmq-lite)
fail() {
    echo "the image's test failed: $1" >&2
    cat "$root.log" >&2
    exit 1
}
# The Dockerfile's command, with free ports instead of its own.
"${rmq_lite[@]}" start --bind 0.0.0.0 --namesrv-port 0 --broker-port 0 --web-port 0 > "$root.log" 2>&1 &
server=$!
"${rmq_lite[@]}" ready --wait 20 > /dev/null || fail "it is not ready"
namesrv=$("${rmq_lite[@]}" env | sed -n 's/^export NAMESRV_ADDR=//p')
"${rmq_lite[@]}" bench producer -n "$namesrv" --messages 1000 --quiet --json | grep -q '"errors":0' || fail "messages are refused"
[ -n "$(ls "$root"/data/rmq-lite/default/broker/commitlog)" ] || fail "nothing is stored below /data"
"${rmq_lite[@]}" stop > /dev/null || fail "it does not stop"
wait "$server" || fail "it ends with $?"
server=
echo "image: $(stat -c %s "$root/rmq-lite" | numfmt --to=iec) static binary, works alone as an ordinary user"
