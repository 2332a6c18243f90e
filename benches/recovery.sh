#!/bin/bash
# Measures how long rmq-lite takes from exec to ready on a large store: after a stop in order, after `kill -9` under
# load, after a power cut, and when the consume queues are gone; each with a warm and, where it may, a cold page cache.
# Prints a Markdown table. docs/performance.md says what the figures mean.
#
#   benches/recovery.sh
#
# Settings, all from the environment:
#   GIB     size of the commit log in GiB (20); the disk needs a tenth more, and the script leaves 12 GB of it free
#   SIZE    bytes of a message's body (4096)
#   ROUNDS  how often each case is measured (3)
#   PORT    first of five ports (25100)
#   RMQ     the executable to measure (the one built here)
#   WORK    directory for the store, which is deleted at the end (target/recovery)
# Needs bash, awk and, for the cold cases, the right to write to /proc/sys/vm/drop_caches.
set -euo pipefail
cd "$(dirname "$0")/.."

GIB=${GIB:-20} SIZE=${SIZE:-4096} ROUNDS=${ROUNDS:-3} PORT=${PORT:-25100}
RMQ=${RMQ:-${CARGO_TARGET_DIR:-target}/release/rmq-lite}
WORK=${WORK:-$PWD/target/recovery}
LEFT_FREE_KB=12000000
[ -x "$RMQ" ] || { echo "build it first: cargo build --release" >&2; exit 2; }

pid='' load=''
cleanup() {
    trap '' INT TERM
    [ -z "$load" ] || kill -9 "$load" 2> /dev/null || true
    [ -z "$pid" ] || kill -9 "$pid" 2> /dev/null || true
    wait 2> /dev/null || true
    rm -rf "$WORK"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
rm -rf "$WORK"
mkdir -p "$WORK"
free_kb=$(df -Pk "$WORK" | awk 'NR == 2 { print $4 }')
if [ $((free_kb - GIB * 1100000)) -lt $LEFT_FREE_KB ]; then
    echo "$GIB GiB do not fit: $((free_kb / 1000000)) GB are free, and 12 GB stay free" >&2
    exit 2
fi

# Starts the server and sets `took_ms` to the time from exec until it takes messages.
start() {
    rm -f "$WORK/ports.json"
    local began=$EPOCHREALTIME
    "$RMQ" start --data-dir "$WORK/data" --namesrv-port "$PORT" --broker-port $((PORT + 3)) --headless --json \
        --ports-file "$WORK/ports.json" > "$WORK/out.log" 2> "$WORK/err.log" &
    pid=$!
    until [ -e "$WORK/ports.json" ]; do
        kill -0 "$pid" 2> /dev/null || { cat "$WORK/err.log" >&2; exit 1; }
        sleep 0.002
    done
    took_ms=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%d", (b - a) * 1000 }')
}
stop() { kill -TERM "$pid"; wait "$pid" || true; pid=''; }
produce() { "$RMQ" bench producer -n "127.0.0.1:$PORT" -t recovery --size "$SIZE" --quiet "$@"; }
# Kills the server while messages stream in, some of them dispatched and few of them flushed.
kill_under_load() {
    produce --duration 60 > /dev/null 2>&1 &
    load=$!
    sleep 1.5
    kill -9 "$pid"
    wait "$pid" 2> /dev/null || true
    pid=''
    kill "$load" 2> /dev/null || true
    wait "$load" 2> /dev/null || true
    load=''
}
drop_caches() { sync; echo 3 2> /dev/null > /proc/sys/vm/drop_caches; }

messages=$((GIB * 1073741824 / (SIZE + 210)))
start
echo "writing $messages messages of $SIZE bytes" >&2
produce --messages "$messages" >&2
kill_under_load
echo "| how it ended | page cache | exec → ready, ms ($ROUNDS rounds) | checked, bytes |"
echo "|---|---|---|---|"
measure() {
    local name=$1 cache=$2 before=$3 took='' checked=''
    for _ in $(seq "$ROUNDS"); do
        start
        $before
        if [ "$cache" = cold ]; then drop_caches || return 0; fi
        start
        took="$took $took_ms"
        checked=$(sed -n 's/.*checked_from=\([0-9]*\) log_ends=\([0-9]*\).*/\1 \2/p' "$WORK/err.log" | awk '{ printf "%.0f", $2 - $1 }')
        stop
    done
    echo "| $name | $cache |$took | $checked |"
}
power_cut() { kill_under_load; echo "1 another-start-of-the-system" > "$WORK/data/broker/abort"; }
lost_queues() { stop; rm -rf "$WORK/data/broker/consumequeue"; }
for cache in warm cold; do
    measure "stopped in order" $cache stop
    measure "killed (kill -9) under load" $cache kill_under_load
    measure "power cut under load" $cache power_cut
done
ROUNDS=1
measure "stopped, then consumequeue/ deleted" warm lost_queues
du -sh --apparent-size "$WORK/data/broker/commitlog" | awk '{ print "\ncommit log: " $1 }'
