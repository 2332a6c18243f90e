#!/bin/bash
# Compares rmq-lite with Apache RocketMQ and with a server that does nothing (the floor), on this machine, under the
# same load, one after the other, several times; prints a Markdown table. docs/performance.md explains the method.
#
#   benches/compare.sh          the whole comparison
#   benches/compare.sh flat     does the cost stay flat: 10,000 topics against 1, a full store against an empty one
#   QUICK=1 benches/compare.sh  a fast look: one round, short loads
#
# Settings, all from the environment:
#   ROUNDS       how often each load alternates between the servers (3)
#   LOAD_SECONDS longest time of one load (5)
#   SERVERS      which of "floor written apache rmq"; "written" is a floor that also writes a file
#   LOADS        which of "first memory send-4x32 send-1x1 send-64x1 send-topics send-16k send-delay send-half pull latency"
#   APACHE_KIT   directory with start.sh and stop.sh of a real Apache (../shared/apache)
#   RMQ          the executable to measure, such as one of an older version (the one built here)
#   RMQ_ARGS     more arguments for `rmq-lite start`
# Needs bash, awk and cargo. Servers listen on loopback only; everything started here is stopped again, also on Ctrl-C,
# and all data lives and dies below target/bench.
set -euo pipefail
cd "$(dirname "$0")/.."

mode=${1:-compare}
case $mode in compare | flat) ;; *) echo "usage: [QUICK=1] $0 [flat]" >&2; exit 2 ;; esac
if [ "${QUICK:-0}" = 1 ]; then
    ROUNDS=${ROUNDS:-1} LOAD_SECONDS=${LOAD_SECONDS:-2} scale=5
else
    ROUNDS=${ROUNDS:-3} LOAD_SECONDS=${LOAD_SECONDS:-5} scale=1
fi
SERVERS=${SERVERS:-floor written apache rmq}
LOADS=${LOADS:-first memory send-4x32 send-1x1 send-64x1 send-topics send-16k send-delay send-half pull latency}
APACHE_KIT=$(cd "${APACHE_KIT:-../shared/apache}" 2> /dev/null && pwd || true)
RMQ_ARGS=${RMQ_ARGS:-}

# Bounds of one load, so that three rounds fit on a disk that others use, too.
messages=$((1500000 / scale))          # of 1 KiB: 1.9 GB of store
messages_16k=$((100000 / scale))       # of 16 KiB: 1.7 GB
backlog=$((500000 / scale))
pulled=$((5000000 / scale))
memory_messages=$((1000000 / scale))
idle_connections=1000

target=${CARGO_TARGET_DIR:-target}
rmq=${RMQ:-$target/release/rmq-lite}
floor=$target/release/examples/floor
LOADGEN=${LOADGEN:-$target/release/rmq-lite bench}
work=$PWD/target/bench
results=$work/results.tsv

say() { echo "$*" >&2; }
has() { case " $1 " in *" $2 "*) return 0 ;; *) return 1 ;; esac; }
without() { echo " $1 " | sed "s/ $2 / /; s/^ *//; s/ *$//"; }

# ---- starting and stopping -------------------------------------------------------------------------------------------

floor_pid='' written_pid='' rmq_pid='' apache_up='' apache_port=''
cleanup() {
    trap '' INT TERM
    set +e
    stop_floor
    stop_written
    stop_rmq
    stop_apache
    rm -rf "$work/rmq" "$work/apache"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

stop_process() { # stop_process <pid>: one of ours; at most 10 s, then the hard way
    local i
    kill "$1" 2> /dev/null || return 0
    for i in $(seq 500); do
        kill -0 "$1" 2> /dev/null || break
        sleep 0.02
    done
    if kill -9 "$1" 2> /dev/null; then say "process $1 had to be killed"; fi
    wait "$1" 2> /dev/null || true
}
listens() { (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null; }
free_port() { # a port p for which p-2 (fast port) and p+1 (HA) are free, too
    local p
    while :; do
        p=$((20000 + RANDOM % 10000))
        listens $((p - 2)) || listens "$p" || listens $((p + 1)) || { echo "$p"; return; }
    done
}

start_floor() {
    [ -z "$floor_pid" ] || return 0
    rm -f "$work/floor.out"
    "$floor" 0 > "$work/floor.out" &
    floor_pid=$!
    until [ -s "$work/floor.out" ]; do kill -0 $floor_pid; sleep 0.01; done
    floor_address=$(sed 's/.* //' "$work/floor.out")
}
stop_floor() {
    [ -n "$floor_pid" ] || return 0
    stop_process "$floor_pid"
    floor_pid=''
}

start_written() {
    [ -z "$written_pid" ] || return 0
    rm -f "$work/written.out"
    "$floor" 0 1024 "$work/written" > "$work/written.out" &
    written_pid=$!
    until [ -s "$work/written.out" ]; do kill -0 $written_pid; sleep 0.01; done
    written_address=$(sed 's/.* //' "$work/written.out")
}
stop_written() {
    [ -n "$written_pid" ] || return 0
    stop_process "$written_pid"
    written_pid=''
    rm -f "$work/written"
}

rmq_flags() { echo "--headless --web-port 0 $RMQ_ARGS"; }
start_rmq() { # start_rmq [flags]: an ephemeral store unless flags name a directory
    rm -f "$work/ports.json"
    mkdir -p "$work/rmq/tmp"
    # shellcheck disable=SC2046,SC2086
    TMPDIR=$work/rmq/tmp "$rmq" start ${1:---ephemeral} --namesrv-port 0 --broker-port 0 --ports-file "$work/ports.json" \
        $(rmq_flags) > "$work/rmq.out" 2>&1 &
    rmq_pid=$!
    for _ in $(seq 1000); do
        [ -s "$work/ports.json" ] && break
        kill -0 $rmq_pid 2> /dev/null || break
        sleep 0.01
    done
    [ -s "$work/ports.json" ] || { say "rmq-lite did not start:"; tail -5 "$work/rmq.out" >&2; exit 1; }
    rmq_address=$(text "$work/ports.json" broker)
}
stop_rmq() {
    [ -n "$rmq_pid" ] || return 0
    stop_process "$rmq_pid"
    rmq_pid=''
    rm -rf "$work/rmq/tmp"
}

apache_settings() {
    export PROXY_MODE=none APACHE_STATE=$work/apache
    BROKER_PORT=$(free_port) NAMESRV_PORT=$(free_port)
    export BROKER_PORT NAMESRV_PORT
    apache_up=1 apache_port=$BROKER_PORT
}
start_apache() {
    [ -z "$apache_up" ] || return 0
    apache_settings
    say "starting Apache"
    "$APACHE_KIT/start.sh" >&2
    apache_pids=$(awk '{ printf "%s%s", sep, $1; sep = "," }' "$work/apache/pids")
}
stop_apache() {
    [ -n "$apache_up" ] || return 0
    "$APACHE_KIT/stop.sh" >&2 || true
    apache_up=''
    rm -rf "$work/apache"
}

start() { "start_$1"; }
stop_all() { stop_floor; stop_written; stop_rmq; stop_apache; }
server_flags() {
    case $1 in
    floor) echo "--broker $floor_address --server-pid $floor_pid" ;;
    written) echo "--broker $written_address --server-pid $written_pid" ;;
    rmq) echo "--broker $rmq_address --server-pid $rmq_pid" ;;
    apache) echo "--broker 127.0.0.1:$apache_port --server-pid $apache_pids" ;;
    esac
}

# ---- measuring -------------------------------------------------------------------------------------------------------

text() { sed -n "s/.*\"$2\": *\"\([^\"]*\)\".*/\1/p" "$1" | head -1; }
load() { # load <server> <bench subcommand and flags>: prints the JSON result
    local server=$1 out
    shift
    # shellcheck disable=SC2046,SC2086
    out=$($LOADGEN "$1" $(server_flags "$server") "${@:2}" --json --quiet) || true
    case $out in
    '{'*) echo "$out" ;;
    *) say "the load generator failed on $server: $* $out"; return 1 ;;
    esac
    case $out in *'"errors":0,'* | *'"connections":'*) ;; *) say "  errors on $server: $out" ;; esac
}
record() { printf '%s\t%s\t%s\n' "$1" "$2" "$3" >> "$results"; } # record <load> <server> <json>
measure() { # measure <load> <server> <bench subcommand and flags>
    local name=$1 server=$2 json
    shift 2
    json=$(load "$server" "$@")
    record "$name" "$server" "$json"
    say "  $name $server: $(echo "$json" | cut -c1-200)"
}
both_limits() { echo "--messages $1 --duration $LOAD_SECONDS"; }
loads_of() { # loads_of <load>: the flags of a load that is one command
    case $1 in
    send-4x32) echo "producer --topic plain $(both_limits "$messages")" ;;
    send-1x1) echo "producer --topic single --connections 1 --in-flight 1 $(both_limits "$messages")" ;;
    send-64x1) echo "producer --topic sixty-four --connections 64 --in-flight 1 $(both_limits "$messages")" ;;
    send-topics) echo "producer --topic spread --topics 2000 --queues 8 $(both_limits "$messages")" ;;
    send-16k) echo "producer --topic large --size 16384 $(both_limits "$messages_16k")" ;;
    send-delay) echo "producer --topic delayed --property DELAY=18 $(both_limits "$messages")" ;;
    send-half) echo "producer --topic undecided --property TRAN_MSG=true --property PGROUP=bench $(both_limits "$messages")" ;;
    pull) echo "consumer --topic backlog --topics 4 --queues 8 --rewind $(both_limits "$pulled")" ;;
    latency) echo "latency --topic latency --rate 1000 --duration $LOAD_SECONDS" ;;
    esac
}
cpu_ticks() { # of the processes in a comma separated list
    local pid sum=0
    for pid in ${1//,/ }; do sum=$((sum + $(sed 's/.*) //' "/proc/$pid/stat" | awk '{ print $12 + $13 }'))); done
    echo "$sum"
}
await_quiet() { # await_quiet <server>: until it has done what earlier requests left it to do; at most 2 minutes
    local pids before now i
    pids=$(server_flags "$1" | sed 's/.*--server-pid //')
    before=$(cpu_ticks "$pids")
    for i in $(seq 120); do
        sleep 1
        now=$(cpu_ticks "$pids")
        [ $((now - before)) -gt 10 ] || return 0
        before=$now
    done
    say "  $1 is still busy, $i s after the last request"
}
prepare() { # what a load needs to find: topics that exist, a backlog
    case $1 in
    send-topics) # Apache refuses some of many creations at once
        load "$2" producer --topic spread --topics 2000 --queues 8 --in-flight 1 --messages 16000 > /dev/null ;;
    pull)
        [ "$2" = floor ] ||
            load "$2" producer --topic backlog --topics 4 --queues 8 --messages "$backlog" > /dev/null
        load "$2" consumer --topic backlog --topics 4 --queues 8 --rewind --messages 200000 > /dev/null
        ;;
    *)
        # shellcheck disable=SC2046
        load "$2" $(loads_of "$1" | sed 's/--messages [0-9]*//; s/--duration [0-9]*//') --duration 1 > /dev/null
        ;;
    esac
}

first() { # first <broker port> <command>: exec to first acknowledged message; the server's log is shown when it fails
    local port=$1
    shift
    $LOADGEN first --json --broker "127.0.0.1:$port" -- "$@" 2> "$work/first.log" || { cat "$work/first.log" >&2; return 1; }
}
measure_first() {
    local server port json
    for server in $(without "$(without "$SERVERS" floor)" written); do
        port=$(free_port)
        if [ "$server" = rmq ]; then
            mkdir -p "$work/rmq/tmp"
            # shellcheck disable=SC2046
            json=$(TMPDIR=$work/rmq/tmp first "$port" "$rmq" start --ephemeral --namesrv-port 0 --broker-port "$port" \
                $(rmq_flags))
        else
            stop_apache
            apache_settings
            json=$(first "$apache_port" "$APACHE_KIT/start.sh")
            stop_apache
        fi
        record first "$server" "$json"
        say "  first $server: $json"
    done
}
anonymous_kib() { # of the processes in a comma separated list
    local pid sum=0
    for pid in ${1//,/ }; do sum=$((sum + $(awk '/^RssAnon:/ { print $2 }' "/proc/$pid/status"))); done
    echo "$sum"
}
measure_memory() {
    local server pids
    for server in $(without "$(without "$SERVERS" floor)" written); do
        start "$server"
        sleep 3
        pids=$(server_flags "$server" | sed 's/.*--server-pid //')
        record memory-idle "$server" "{\"kib\":$(anonymous_kib "$pids")}"
        measure memory-sent "$server" producer --topic memory --messages "$memory_messages"
        measure memory-connections "$server" idle --topic memory --connections $idle_connections
        [ "$server" = apache ] || stop_rmq # Apache goes on, warmed up by what it has done
    done
}
warm_up_apache() {
    has "$SERVERS" apache || return 0
    [ -z "$apache_up" ] || return 0
    start_apache
    say "warming Apache up"
    load apache producer --topic warm --messages $((300000 / scale)) > /dev/null
}

# ---- the table -------------------------------------------------------------------------------------------------------

# Rows: load, key in the JSON, what it is, decimals, which ratio is better, and what the project wants to reach.
rows() {
    cat << 'ROWS'
send-4x32|per_second|send, 4 connections × 32 in flight: messages/s|0|≥ 300,000
send-4x32|server_cpu_us|… server CPU µs/message|2|≤ 2, ≤ 3 × floor
send-1x1|p50_us|send, one at a time: p50 µs|1|≤ 1.5 × floor
send-1x1|server_cpu_us|… server CPU µs/message|2|≤ 1.5 × floor
send-64x1|per_second|send, 64 connections × 1: messages/s|0|≥ 60,000
send-64x1|server_cpu_us|… server CPU µs/message|2|≤ 1.3 × floor
send-topics|per_second|send, 4 × 32 over 2,000 topics × 8 queues: messages/s|0|≥ plain send ÷ 1.5
send-topics|server_cpu_us|… server CPU µs/message|2|≤ 1.5 × plain send
send-16k|mib_per_second|send, 16 KiB messages: MiB/s|0|≥ 954 (1 GB/s)
send-16k|server_cpu_us|… server CPU µs/message|2|
send-delay|server_cpu_us|send, delay level 18 (2 h): server CPU µs/message|2|≤ 2.5 × plain send
send-half|server_cpu_us|send, half messages of transactions: server CPU µs/message|2|≤ 2.5 × plain send
pull|per_second|pull of a backlog: messages/s|0|≥ 1,500,000
pull|server_cpu_us|… server CPU µs/message|2|≤ 1.5 × floor
latency|p50_us|send → held pull receives, 1,000/s: p50 µs|0|≤ 100
latency|p99_us|… p99 µs|0|≤ 1,000
first|first_ms|exec → first acknowledged message: ms|1|≤ 50
memory-idle|kib|anonymous memory, idle: KiB|0|≤ 15,360
memory-sent|server_anonymous_kib|… after MEMORY messages: KiB|0|≤ 40,960
memory-connections|silent_kib_each|… per silent connection: KiB|1|≤ 16
memory-connections|used_kib_each|… per idle connection that has sent a message: KiB|1|≤ 16
ROWS
}
values() { # values <load> <server> <key>: one per line
    awk -F'\t' -v load="$1" -v server="$2" '$1 == load && $2 == server { print $3 }' "$results" |
        while read -r json; do echo "$json" | grep -o "\"$3\":-\?[0-9.]*" | head -1 | cut -d: -f2; done
}
middle() { # median, least and greatest of the lines on stdin
    sort -g | awk '{ v[NR] = $1 } END { if (NR) print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2, v[1], v[NR] }'
}
cell() { # cell <decimals> <median> <least> <greatest>
    awk -v d="$1" -v m="${2:-}" -v lo="${3:-}" -v hi="${4:-}" '
        function show(v,  s, head) {
            s = sprintf("%.*f", d, v)
            head = s; sub(/\..*/, "", head); s = substr(s, length(head) + 1)
            while (match(head, /[0-9][0-9][0-9][0-9]($|,)/)) head = substr(head, 1, RSTART) "," substr(head, RSTART + 1)
            return head s
        }
        BEGIN { if (m == "") print "–"; else if (lo == hi) print show(m); else print show(m) " (" show(lo) "–" show(hi) ")" }'
}
ratio() { awk -v a="${1:-}" -v b="${2:-}" 'BEGIN { if (a == "" || b == "" || b <= 0) print "–"; else printf "%.2f ×\n", a / b }'; }
describe_machine() {
    local memory
    memory=$(awk '/^MemTotal:/ { printf "%.0f GB", $2 / 1e6 }' /proc/meminfo)
    echo "$(date -u +%Y-%m-%d), $(nproc) × $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $memory," \
        "Linux $(uname -r), load average $(cut -d' ' -f1-3 /proc/loadavg); $ROUNDS rounds of at most $LOAD_SECONDS s;" \
        "rmq-lite $(git describe --always --dirty 2> /dev/null || echo unknown)"
}
print_table() {
    local name key what decimals reach server
    describe_machine
    echo
    echo "| load | Apache 5.3.3 | floor | floor that writes | rmq-lite | rmq-lite ÷ Apache | rmq-lite ÷ floor | to reach |"
    echo "|---|---|---|---|---|---|---|---|"
    rows | while IFS='|' read -r name key what decimals reach; do
        declare -A m=([floor]='' [written]='' [apache]='' [rmq]='')
        for server in floor written apache rmq; do m[$server]=$(values "$name" $server "$key" | middle); done
        [ -n "${m[floor]}${m[written]}${m[apache]}${m[rmq]}" ] || continue
        what=${what/MEMORY/$(cell 0 $memory_messages 1 1 | cut -d' ' -f1)}
        # shellcheck disable=SC2086
        echo "| $what | $(cell "$decimals" ${m[apache]}) | $(cell "$decimals" ${m[floor]}) | $(cell "$decimals" ${m[written]}) | $(cell "$decimals" ${m[rmq]})" \
            "| $(ratio "${m[rmq]%% *}" "${m[apache]%% *}") | $(ratio "${m[rmq]%% *}" "${m[floor]%% *}") | $reach |"
    done
    echo
    echo "Medians (least–greatest). The load generator's own CPU µs/message against the floor:" \
        "$(for name in send-4x32 send-1x1 send-64x1 send-topics send-16k pull; do
            value=$(values $name floor client_cpu_us | middle)
            [ -z "$value" ] || echo "$name ${value%% *},"
        done | tr '\n' ' ' | sed 's/, $/./')"
}

# ---- the modes -------------------------------------------------------------------------------------------------------

floor_serves() { # floor_serves <server> <load>: the floor holds no pulls, and reads nothing that it wrote
    case $1/$2 in floor/latency | floor/send-delay | floor/send-half | written/latency | written/send-delay | written/send-half | written/pull) return 1 ;; esac
}
compare() {
    local name server round
    if has "$LOADS" first; then
        say "exec → first acknowledged message"
        for round in $(seq "$ROUNDS"); do measure_first; done
    fi
    if has "$LOADS" memory; then
        say "memory"
        measure_memory
    fi
    for name in $(without "$(without "$LOADS" first)" memory); do
        say "$name"
        warm_up_apache
        for server in $SERVERS; do
            floor_serves "$server" "$name" || continue
            [ "$server" = apache ] || start "$server"
            prepare "$name" "$server"
            await_quiet "$server"
        done
        for round in $(seq "$ROUNDS"); do
            for server in $SERVERS; do
                # shellcheck disable=SC2046
                ! floor_serves "$server" "$name" || measure "$name" "$server" $(loads_of "$name")
            done
        done
        stop_rmq # a fresh store for the next load keeps the disk small
        stop_floor
        stop_written
    done
    stop_all
    print_table | tee "$work/table.md"
}

flat() {
    local round topics
    has "$SERVERS" rmq || { say "rmq-lite does not start yet: nothing to measure"; exit 1; }
    for round in $(seq "$ROUNDS"); do
        for topics in 1 10000; do
            start_rmq
            # Creating the topics is not what is measured: every queue gets a message first.
            load rmq producer --topic flat --topics $topics --queues 8 --in-flight 1 \
                --messages $((topics * 8)) > /dev/null
            await_quiet rmq
            # shellcheck disable=SC2046
            measure "topics-$topics" rmq producer --topic flat --topics $topics --queues 8 $(both_limits "$messages")
            stop_rmq
        done
        rm -rf "$work/rmq/data"
        first_on_data "start-empty"
        start_rmq "--data-dir $work/rmq/data"
        load rmq producer --topic flat --messages "$messages" > /dev/null
        stop_rmq
        first_on_data "start-full"
        rm -rf "$work/rmq/data"
    done
    {
        describe_machine
        echo
        echo "| what | small | large | ratio | to reach |"
        echo "|---|---|---|---|---|"
        flat_row "send: server CPU µs/message, 1 topic against 10,000 × 8 queues" topics-1 topics-10000 server_cpu_us 2
        flat_row "exec → first acknowledged message: ms, empty store against $messages messages" \
            start-empty start-full first_ms 1
    } | tee "$work/flat.md"
}
first_on_data() { # first_on_data <name>: exec to first acknowledged message on the data directory as it is
    local port json
    port=$(free_port)
    # shellcheck disable=SC2046
    json=$(first "$port" "$rmq" start --data-dir "$work/rmq/data" --namesrv-port 0 --broker-port "$port" $(rmq_flags))
    record "$1" rmq "$json"
    say "  $1: $json"
}
flat_row() {
    local small large
    small=$(values "$2" rmq "$4" | middle) large=$(values "$3" rmq "$4" | middle)
    # shellcheck disable=SC2086
    echo "| $1 | $(cell "$5" $small) | $(cell "$5" $large) | $(ratio "${large%% *}" "${small%% *}") | ≤ 1.5 × |"
}

cargo build --release --bin rmq-lite --example floor >&2
mkdir -p "$work"
: > "$results"
if has "$SERVERS" apache && [ ! -x "$APACHE_KIT/start.sh" ]; then
    say "no Apache: ${APACHE_KIT:-../shared/apache}/start.sh is missing, its columns stay empty"
    SERVERS=$(without "$SERVERS" apache)
fi
if has "$SERVERS" rmq && ! "$rmq" start --help 2> /dev/null | grep -q -- --ports-file; then
    say "this rmq-lite has no working start command: its columns stay empty"
    SERVERS=$(without "$SERVERS" rmq)
fi
"$mode"
