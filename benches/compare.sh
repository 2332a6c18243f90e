#!/bin/bash
# Compares rmq-lite with Apache RocketMQ and with a server that does nothing (the floor), on this machine, under the
# same load, one after the other, several times; prints a Markdown table. docs/performance.md explains the method.
#
#   benches/compare.sh                    everything, about 25 minutes with Apache
#   LOADS="sql ordered" benches/compare.sh  these loads only
#   benches/compare.sh flat               does the cost stay flat: 10,000 topics against 1, a full store against an empty one
#   QUICK=1 benches/compare.sh            a fast look, about 5 minutes: one round, short loads
#
# Settings, all from the environment:
#   ROUNDS       how often each load alternates between the servers (3)
#   LOAD_SECONDS longest time of one load (5)
#   SERVERS      which of "floor written apache rmq"; "written" is the floor with a log
#   LOADS        which of the loads in all_loads below (all)
#   PORTS        range in which servers may listen (20000-29999)
#   APACHE_KIT   directory with start.sh and stop.sh of a real Apache (../shared/apache)
#   RMQ          the executable to measure, such as one of an older version (the one built here)
#   LOADGEN      the command that puts the load on (the one built here); with RMQ and LOADGEN given nothing is built
#   RMQ_ARGS     more arguments for `rmq-lite start`
# Needs bash, awk and cargo. Servers listen on loopback only; everything started here is stopped again, also on Ctrl-C,
# and all data lives and dies below target/bench. A step that fails or takes too long leaves a dash in the table, with the
# reason below it; the others go on.
set -euo pipefail
cd "$(dirname "$0")/.."

mode=${1:-compare}
case $mode in compare | flat) ;; *) echo "usage: [QUICK=1] $0 [flat]" >&2; exit 2 ;; esac
if [ "${QUICK:-0}" = 1 ]; then
    ROUNDS=${ROUNDS:-1} LOAD_SECONDS=${LOAD_SECONDS:-2} scale=5
else
    ROUNDS=${ROUNDS:-3} LOAD_SECONDS=${LOAD_SECONDS:-5} scale=1
fi
# In order: what needs servers with other settings comes last.
all_loads="first memory send-4x32 send-1x1 send-64x1 send-topics send-16k send-delay send-timer send-half send-groups
    send-held due-delay due-timer sql pull ordered latency send-slave catch-up sync-1 sync-8 sync-64 sync-master"
SERVERS=${SERVERS:-floor written apache rmq}
# shellcheck disable=SC2086
LOADS=$(echo ${LOADS:-$all_loads})
PORTS=${PORTS:-20000-29999}
APACHE_KIT=$(cd "${APACHE_KIT:-../shared/apache}" 2> /dev/null && pwd || true)
RMQ_ARGS=${RMQ_ARGS:-}

# Bounds of one load, so that three rounds fit on a disk that others use, too.
messages=$((1500000 / scale))          # of 1 KiB: 1.9 GB of store
messages_16k=$((100000 / scale))       # of 16 KiB: 1.7 GB
backlog=$((500000 / scale))
pulled=$((5000000 / scale))
memory_messages=$((1000000 / scale))
compared=$((500000 / scale))           # of a load that is compared with plain sends in the same rounds
filtered=$((1000000 / scale))          # backlog that a filter looks at, 1.3 GB
groups=10000 held=5000
due=$((100000 / scale)) due_in_ms=10000     # messages that are due together, after delay level 3
predicate="price BETWEEN 10 AND 20 AND region = 'eu' AND kind IN ('refund', 'return')" # its last term is false
idle_connections=1000

target=${CARGO_TARGET_DIR:-target}
rmq=${RMQ:-$target/release/rmq-lite}
floor=$target/release/examples/floor
LOADGEN_GIVEN=${LOADGEN:-}
LOADGEN=${LOADGEN:-$target/release/rmq-lite bench}
work=$PWD/target/bench
results=$work/results.tsv
failures=$work/failures.tsv

say() { echo "$*" >&2; }
has() { case " $1 " in *" $2 "*) return 0 ;; *) return 1 ;; esac; }
without() { echo " $1 " | sed "s/ $2 / /; s/^ *//; s/ *$//"; }

# ---- starting and stopping -------------------------------------------------------------------------------------------

floor_pid='' written_pid='' rmq_pid='' rmq_setting='' slave_pid='' apache_setting=none apache_port='' apache_slave=''
cleanup() {
    trap '' INT TERM
    set +e
    stop_all
    rm -rf "$work/rmq" "$work/apache" "$work/apache-slave"
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
    local p first=${PORTS%-*} last=${PORTS#*-}
    while :; do
        p=$((first + 2 + RANDOM % (last - first - 3)))
        listens $((p - 2)) || listens "$p" || listens $((p + 1)) || { echo "$p"; return; }
    done
}
await_file() { # await_file <file> <pid>: until the process has written it; at most 10 s
    local i
    for i in $(seq 1000); do
        [ ! -s "$1" ] || return 0
        kill -0 "$2" 2> /dev/null || return 1
        sleep 0.01
    done
    return 1
}

start_floor() {
    [ -z "$floor_pid" ] || return 0
    rm -f "$work/floor.out"
    "$floor" 0 > "$work/floor.out" &
    floor_pid=$!
    await_file "$work/floor.out" $floor_pid || return 1
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
    await_file "$work/written.out" $written_pid || return 1
    written_address=$(sed 's/.* //' "$work/written.out")
}
stop_written() {
    [ -n "$written_pid" ] || return 0
    stop_process "$written_pid"
    written_pid=''
    rm -f "$work/written"
}

rmq_flags() { echo "--headless --web-port 0 $RMQ_ARGS"; }
start_rmq() { # start_rmq [setting] [flags]: with a RocketMQ key; an ephemeral store unless flags name a directory
    [ -z "$rmq_pid" ] || [ "$rmq_setting" != "${1:-}" ] || return 0
    stop_rmq
    rm -f "$work/ports.json"
    mkdir -p "$work/rmq/tmp"
    rmq_port=$(free_port) rmq_setting=${1:-}
    # shellcheck disable=SC2046,SC2086
    TMPDIR=$work/rmq/tmp "$rmq" start ${2:---ephemeral} --namesrv-port 0 --broker-port "$rmq_port" \
        --ports-file "$work/ports.json" ${rmq_setting:+--set $rmq_setting} $(rmq_flags) > "$work/rmq.out" 2>&1 &
    rmq_pid=$!
    await_file "$work/ports.json" $rmq_pid || { say "rmq-lite did not start:"; tail -5 "$work/rmq.out" >&2; return 1; }
    rmq_address=$(text "$work/ports.json" broker)
}
stop_rmq() {
    [ -n "$rmq_pid" ] || return 0
    stop_slave
    stop_process "$rmq_pid"
    rmq_pid=''
    rm -rf "$work/rmq/tmp"
}
slave_of_rmq() { # writes the slave's configuration; prints the command that starts it
    mkdir -p "$work/rmq/slave"
    cat > "$work/rmq/slave.conf" << CONF
brokerName=broker-a
brokerId=1
brokerRole=SLAVE
listenPort=$(free_port)
bindAddress=127.0.0.1
brokerIP1=127.0.0.1
namesrvAddr=$(text "$work/ports.json" namesrv)
haMasterAddress=127.0.0.1:$((rmq_port + 1))
storePathRootDir=$work/rmq/slave
CONF
    echo "$rmq broker -c $work/rmq/slave.conf"
}
start_slave() { # of rmq-lite: a process of its own, so that the master's cost can be told apart
    [ -z "$slave_pid" ] || return 0
    # shellcheck disable=SC2046
    $(slave_of_rmq) > "$work/slave.out" 2>&1 &
    slave_pid=$!
    bench catch-up --broker "$rmq_address" --limit 60 > /dev/null
}
stop_slave() {
    [ -n "$slave_pid" ] || return 0
    stop_process "$slave_pid"
    slave_pid=''
    rm -rf "$work/rmq/slave"
}

apache_settings() { # apache_settings [broker.conf lines]: what start.sh and stop.sh read
    export PROXY_MODE=none APACHE_STATE=$work/apache EXTRA_BROKER_CONF=${1:-}
    BROKER_PORT=$(free_port) NAMESRV_PORT=$(free_port)
    export BROKER_PORT NAMESRV_PORT
}
start_apache() { # start_apache [setting]: as it is when it has the setting already; warms it up
    [ "$apache_setting" != "${1:-}" ] || return 0
    stop_apache
    apache_settings "${1:-}"
    apache_port=$BROKER_PORT apache_setting=${1:-}
    say "starting Apache ${1:-}"
    timeout 120 "$APACHE_KIT/start.sh" >&2 || { stop_apache; return 1; }
    apache_pids=$(awk '{ printf "%s%s", sep, $1; sep = "," }' "$work/apache/pids")
    case $apache_setting in *SYNC_MASTER*) ;; *) warm_apache_up ;; esac # without its slave that one takes nothing
}
warm_apache_up() {
    say "warming Apache up"
    load apache producer --topic warm --messages $((300000 / scale)) --duration 30 > /dev/null
}
stop_apache() {
    stop_apache_slave
    [ "$apache_setting" != none ] || return 0
    timeout 120 "$APACHE_KIT/stop.sh" >&2 || true
    apache_setting=none
    rm -rf "$work/apache"
}
slave_of_apache() { # sets `slave_command`; start.sh cannot start one, as it wants to see its broker at its own NameServer
    local port cache heap
    port=$(free_port)
    # shellcheck disable=SC1091
    read -r cache heap <<< "$(. "$APACHE_KIT/env.sh" && echo "$APACHE_CACHE $HEAP")"
    mkdir -p "$work/apache-slave"
    # Its setting haMasterAddress is read too early to work; it learns the address when it registers for the second time.
    { cat "$work/apache/conf/broker.conf" && cat << CONF; } > "$work/apache-slave/broker.conf"
brokerId=1
brokerRole=SLAVE
listenPort=$port
haListenPort=$((port + 1))
storePathRootDir=$work/apache-slave/store
storePathCommitLog=$work/apache-slave/store/commitlog
registerNameServerPeriod=10000
CONF
    # shellcheck disable=SC2206
    slave_command=(env "ROCKETMQ_HOME=$work/apache-slave" java $heap -XX:+UseG1GC -XX:-UsePerfData -XX:MaxDirectMemorySize=1g
        "-Duser.home=$work/apache-slave" "-Drmq.log=$work/apache-slave/broker.log" -Dio.netty.tryReflectionSetAccessible=true
        --add-opens=java.base/java.nio=ALL-UNNAMED --add-opens=java.base/sun.nio.ch=ALL-UNNAMED
        --add-opens=java.base/jdk.internal.misc=ALL-UNNAMED -cp "$work/apache/conf:$cache/*"
        org.apache.rocketmq.broker.BrokerStartup -c "$work/apache-slave/broker.conf")
}
start_apache_slave() {
    [ -z "$apache_slave" ] || return 0
    local slave_command
    slave_of_apache
    say "starting Apache's slave"
    "${slave_command[@]}" > "$work/apache-slave/out" 2>&1 < /dev/null &
    apache_slave=$!
    bench catch-up --broker "127.0.0.1:$apache_port" --limit 90 > /dev/null
}
stop_apache_slave() {
    [ -n "$apache_slave" ] || return 0
    stop_process "$apache_slave"
    apache_slave=''
    rm -rf "$work/apache-slave"
}

start() { "start_$1" "${2:-}"; } # start <server> [setting]
stop_all() { stop_floor; stop_written; stop_rmq; stop_apache; }
server_flags() {
    case $1 in
    floor) echo "--broker $floor_address --server-pid $floor_pid" ;;
    written) echo "--broker $written_address --server-pid $written_pid" ;;
    rmq) echo "--broker $rmq_address --server-pid $rmq_pid" ;;
    apache) echo "--broker 127.0.0.1:$apache_port --server-pid $apache_pids" ;;
    esac
}

# ---- the loads -------------------------------------------------------------------------------------------------------

# What a load asks of the load generator: the array `command`, without the limits in the array `limits`.
command_of() { # command_of <load>
    limits=(--messages "$messages" --duration "$LOAD_SECONDS")
    case $1 in
    send-4x32) command=(producer --topic plain) ;;
    send-1x1) command=(producer --topic single --connections 1 --in-flight 1) ;;
    send-64x1) command=(producer --topic sixty-four --connections 64 --in-flight 1) ;;
    send-topics) command=(producer --topic spread --topics 2000 --queues 8) ;;
    send-16k) command=(producer --topic large --size 16384) limits[1]=$messages_16k ;;
    send-delay) command=(producer --topic delayed --property DELAY=18) limits[1]=$compared ;;
    send-timer) command=(producer --topic timed --property TIMER_DELAY_SEC=7200) limits[1]=$compared ;;
    send-half) command=(producer --topic undecided --property TRAN_MSG=true --property PGROUP=bench) limits[1]=$compared ;;
    send-groups) command=(producer --topic crowded --groups $groups --held $held --held-topic elsewhere) limits[1]=$compared ;;
    send-held) command=(producer --topic listened --held $held) limits[1]=$compared ;;
    send-slave) command=(producer --topic copied) limits[1]=$compared ;;
    *-plain) command=(producer --topic plain) limits[1]=$compared ;;
    sql) command=(consumer --topic filtered --sql "$predicate" --rewind) limits[1]=$((pulled * 2)) ;;
    pull) command=(consumer --topic backlog --topics 4 --queues 8 --rewind) limits[1]=$pulled ;;
    ordered) command=(consumer --topic in-order --queues 8 --ordered --rewind) limits[1]=$pulled ;;
    latency) command=(latency --topic latency --rate 1000) limits=(--duration "$LOAD_SECONDS") ;;
    sync-1 | sync-8 | sync-64) command=(producer --topic synced --connections "${1#*-}" --in-flight 1) ;;
    sync-master) command=(producer --topic single --connections 1 --in-flight 1) ;;
    *) return 1 ;;
    esac
}
setting_of() { # setting_of <load> <server>: the RocketMQ key that its server needs
    case $1/$2 in
    sync-master/apache) printf 'brokerRole=SYNC_MASTER\ninSyncReplicas=2' ;; # by default its SYNC_MASTER waits for nobody
    sync-master/rmq) echo brokerRole=SYNC_MASTER ;;
    sync-*/apache | sync-*/rmq) echo flushDiskType=SYNC_FLUSH ;;
    send-half/rmq) echo transactionTimeOut=7200000 ;; # else it asks producers after 2 s already, Apache after 6 to 36
    esac
}
serves() { # serves <server> <load>: the floor stores and holds nothing
    case $1/$2 in
    apache/send-groups) return 1 ;; # see docs/performance.md
    apache/* | rmq/*) ;;
    floor/pull | written/pull | */send-4x32 | */send-1x1 | */send-64x1 | */send-topics | */send-16k) ;;
    *) return 1 ;;
    esac
}
is_compared() { # is_compared <load>: with plain sends in the same rounds
    case $1 in send-delay | send-timer | send-half | send-groups | send-held | send-slave) ;; *) return 1 ;; esac
}
prepare() { # prepare <load> <server>: what the load needs to find
    local backlog_of=() command limits
    command_of "$1"
    case $1 in
    send-topics) # Apache refuses some of many creations at once
        load "$2" "${command[@]}" --in-flight 1 --messages 16000 > /dev/null
        return ;;
    pull) backlog_of=(--topic backlog --topics 4 --queues 8 --messages "$backlog") ;;
    ordered) backlog_of=(--topic in-order --queues 8 --messages "$backlog") ;;
    sql)
        backlog_of=(--topic filtered --messages "$filtered" --property price=17 --property region=eu --property kind=order)
        ;;
    esac
    if [ ${#backlog_of[@]} -gt 0 ] && [ "$2" != floor ] && [ "$2" != written ]; then load "$2" producer "${backlog_of[@]}" > /dev/null || return; fi
    load "$2" "${command[@]}" --duration 1 > /dev/null
}

# ---- measuring -------------------------------------------------------------------------------------------------------

text() { sed -n "s/.*\"$2\": *\"\([^\"]*\)\".*/\1/p" "$1" | head -1; }
bench() { # the load generator; it gets two minutes more than a load takes
    local status=0
    # shellcheck disable=SC2086
    timeout -k 5 $((LOAD_SECONDS + 120)) $LOADGEN "$@" 2> "$work/loadgen.err" || status=$?
    [ $status != 124 ] || echo "it took more than $((LOAD_SECONDS + 120)) s" > "$work/loadgen.err"
    return $status
}
load() { # load <server> <bench subcommand and flags>: prints the JSON result
    local out
    # shellcheck disable=SC2046
    out=$(bench "$2" $(server_flags "$1") "${@:3}" --json --quiet) || true
    case $out in
    '{'*) echo "$out" ;;
    *) say "  the load generator failed on $1: ${*:2}: $(head -1 "$work/loadgen.err")"; return 1 ;;
    esac
    case $out in *'"errors":0,'* | *'"connections":'*) ;; *) say "  errors on $1: $out" ;; esac
}
record() { printf '%s\t%s\t%s\n' "$1" "$2" "$3" >> "$results"; } # record <load> <server> <json>
fail() { # fail <load> <server> <what was tried>: the reason is shown below the table
    printf '%s\t%s\t%s\n' "$1" "$2" "$3: $(head -1 "$work/loadgen.err" 2> /dev/null)" >> "$failures"
    say "  $1 $2: $3 failed"
}
measure() { # measure <load> <server> <bench subcommand and flags>
    local name=$1 server=$2 json
    shift 2
    json=$(load "$server" "$@") || { fail "$name" "$server" "the load"; return 0; }
    record "$name" "$server" "$json"
    say "  $name $server: $(echo "$json" | cut -c1-200)"
}
measure_load() { # measure_load <load> <server>
    local command limits
    command_of "$1"
    measure "$1" "$2" "${command[@]}" "${limits[@]}"
}
cpu_ticks() { # of the processes in a comma separated list
    local pid sum=0
    for pid in ${1//,/ }; do sum=$((sum + $(sed 's/.*) //' "/proc/$pid/stat" | awk '{ print $12 + $13 }'))); done
    echo "$sum"
}
await_quiet() { # await_quiet <server>: until it has done what earlier requests left it to do; at most 1 minute
    local pids before now i
    pids=$(server_flags "$1" | sed 's/.*--server-pid //')
    before=$(cpu_ticks "$pids")
    for i in $(seq 60); do
        sleep 1
        now=$(cpu_ticks "$pids")
        [ $((now - before)) -gt 10 ] || return 0
        before=$now
    done
    say "  $1 is still busy, $i s after the last request"
}

first() { # first <broker port> <command>: exec to first acknowledged message; the server's log is shown when it fails
    local port=$1
    shift
    bench first --json --broker "127.0.0.1:$port" -- "$@" || { cat "$work/loadgen.err" >&2; return 1; }
}
measure_first() {
    local server port json
    for server in $(without "$(without "$SERVERS" floor)" written); do
        port=$(free_port)
        if [ "$server" = rmq ]; then
            mkdir -p "$work/rmq/tmp"
            # shellcheck disable=SC2046
            json=$(TMPDIR=$work/rmq/tmp first "$port" "$rmq" start --ephemeral --namesrv-port 0 --broker-port "$port" \
                $(rmq_flags)) || { fail first rmq "the start"; continue; }
        else
            stop_apache
            apache_settings
            apache_setting=first
            json=$(first "$BROKER_PORT" "$APACHE_KIT/start.sh") || { fail first apache "the start"; continue; }
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
        start "$server" || { fail memory-idle "$server" "the start"; continue; }
        sleep 3
        pids=$(server_flags "$server" | sed 's/.*--server-pid //')
        record memory-idle "$server" "{\"kib\":$(anonymous_kib "$pids")}"
        measure memory-sent "$server" producer --topic memory --messages "$memory_messages" --duration 60
        measure memory-connections "$server" idle --topic memory --connections $idle_connections
        [ "$server" = apache ] || stop_rmq # Apache goes on, warmed up by what it has done
    done
}
measure_in_turn() { # measure_in_turn <load>: on all servers, ROUNDS times
    local name=$1 server round ready=''
    for server in $SERVERS; do
        serves "$server" "$name" || continue
        # shellcheck disable=SC2015
        start "$server" "$(setting_of "$name" "$server")" && start_slave_for "$name" "$server" &&
            prepare "$name" "$server" || { fail "$name" "$server" "the preparation"; continue; }
        await_quiet "$server"
        ready="$ready $server"
    done
    for round in $(seq "$ROUNDS"); do
        for server in $ready; do
            if is_compared "$name" && [ "$server" = rmq ]; then measure_load "$name-plain" rmq; fi
            measure_load "$name" "$server"
        done
    done
    stop_apache_slave
    stop_rmq # a fresh store for the next load keeps the disk small
    stop_floor
    stop_written
}
start_slave_for() { # start_slave_for <load> <server>
    case $1/$2 in
    sync-master/rmq) start_slave ;;
    sync-master/apache) start_apache_slave && warm_apache_up ;;
    esac
}
measure_send_slave() { # the plain sends are those without a slave
    local round
    for round in $(seq "$ROUNDS"); do
        if has "$SERVERS" rmq; then
            { start_rmq && prepare send-slave rmq; } || { fail send-slave rmq "the preparation"; continue; }
            await_quiet rmq
            measure_load send-slave-plain rmq
            start_slave || { fail send-slave rmq "the start of the slave"; continue; }
            measure_load send-slave rmq
            stop_slave
        fi
        if has "$SERVERS" apache; then
            start_apache || { fail send-slave apache "the preparation"; continue; }
            [ -n "$apache_slave" ] || measure_load send-slave-plain apache
            start_apache_slave || { fail send-slave apache "the start of the slave"; continue; }
            measure_load send-slave apache
        fi
    done
    stop_rmq
    stop_apache_slave
}
measure_due() { # measure_due <load>: from when all of many messages are due until a consumer has the last one
    local round server topic at_ms how late_ms
    for round in $(seq "$ROUNDS"); do
        for server in $(without "$(without "$SERVERS" floor)" written); do
            start "$server" || { fail "$1" "$server" "the start"; continue; }
            topic=$1-$round
            load "$server" producer --topic "$topic" --messages 1 > /dev/null || continue
            at_ms=$(($(date +%s%3N) + due_in_ms))
            how=TIMER_DELIVER_MS=$at_ms
            [ "$1" = due-timer ] || how=DELAY=3
            load "$server" producer --topic "$topic" --messages "$due" --property "$how" > /dev/null ||
                { fail "$1" "$server" "the sends"; continue; }
            # With a level the last one is due that long after it was sent.
            [ "$1" = due-timer ] || at_ms=$(($(date +%s%3N) + due_in_ms))
            load "$server" consumer --topic "$topic" --messages $((due + 1)) --duration 60 > /dev/null ||
                { fail "$1" "$server" "the consumer"; continue; }
            late_ms=$(($(date +%s%3N) - at_ms))
            record "$1" "$server" "{\"late_ms\":$late_ms}"
            say "  $1 $server: $late_ms ms"
        done
    done
    stop_rmq
}
measure_catch_up() { # an empty slave beside a full master
    local round json
    if has "$SERVERS" rmq; then
        { start_rmq && load rmq producer --topic copied --messages "$messages" > /dev/null; } ||
            { fail catch-up rmq "the preparation"; return; }
        await_quiet rmq
        for round in $(seq "$ROUNDS"); do
            # shellcheck disable=SC2046
            if json=$(bench catch-up --json $(server_flags rmq) -- $(slave_of_rmq)); then
                record catch-up rmq "$json"
                say "  catch-up rmq: $json"
            else
                fail catch-up rmq "the load"
            fi
            rm -rf "$work/rmq/slave"
        done
        stop_rmq
    fi
    if has "$SERVERS" apache; then
        start_apache || { fail catch-up apache "the preparation"; return; }
        local slave_command
        slave_of_apache
        # Once only: it takes most of a minute to begin.
        # shellcheck disable=SC2046
        if ! json=$(bench catch-up --json $(server_flags apache) -- "${slave_command[@]}"); then
            fail catch-up apache "the load"
        elif [[ $json == *'"bytes":0,'* ]]; then
            fail catch-up apache "nothing was left to copy when its slave began"
        else
            record catch-up apache "$json"
            say "  catch-up apache: $json"
        fi
        rm -rf "$work/apache-slave"
    fi
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
send-delay|server_cpu_us|send, delay level 18 (2 h): server CPU µs/message|2|
send-delay÷send-delay-plain|server_cpu_us|… ÷ plain sends|2|≤ 2.5
send-timer|server_cpu_us|send, timer in 2 h: server CPU µs/message|2|
send-timer÷send-timer-plain|server_cpu_us|… ÷ plain sends|2|≤ 2.5
send-half|server_cpu_us|send, half messages of transactions: server CPU µs/message|2|
send-half÷send-half-plain|server_cpu_us|… ÷ plain sends|2|≤ 2.5
send-groups|server_cpu_us|send to a topic of GROUPS online groups, HELD pulls held elsewhere: server CPU µs/message|2|
send-groups÷send-groups-plain|server_cpu_us|… ÷ plain sends|2|≤ 1.5
send-held|server_cpu_us|send to a topic with HELD pulls held for other tags: server CPU µs/message|2|
send-held÷send-held-plain|server_cpu_us|… ÷ plain sends|2|≤ 1.5
due-delay|late_ms|DUE messages of delay level 3 (10 s): ms from when the last is due until a consumer has all|0|≤ 2,000
due-timer|late_ms|DUE timers of one moment: ms from then until a consumer has all|0|≤ 2,000
sql|per_second|SQL92 filter with 3 terms over a backlog, none match: messages/s|0|
sql|server_cpu_us|… server CPU µs/message|2|≤ 0.5
pull|per_second|pull of a backlog: messages/s|0|≥ 1,500,000
pull|server_cpu_us|… server CPU µs/message|2|≤ 1.5 × floor
ordered|per_second|ordered consumption of a backlog, 4 clients, a commit per 32: messages/s|0|
ordered|server_cpu_us|… server CPU µs/message|2|≤ Apache ÷ 20
latency|p50_us|send → held pull receives, 1,000/s: p50 µs|0|≤ 100
latency|p99_us|… p99 µs|0|≤ 1,000
sync-1|per_second|send with SYNC_FLUSH, 1 connection: messages/s|0|
sync-8|per_second|… 8 connections|0|
sync-64|per_second|… 64 connections|0|
sync-64÷sync-1|per_second|… 64 connections ÷ 1|1|≥ 20
sync-64|server_cpu_us|… 64 connections, server CPU µs/message|2|
send-slave|server_cpu_us|send with an asynchronous slave, 4 × 32: the master's CPU µs/message|2|
send-slave÷send-slave-plain|server_cpu_us|… ÷ sends without a slave|2|≤ 1.25
send-slave|per_second|… messages/s|0|
sync-master|p50_us|send with SYNC_MASTER, one at a time: p50 µs|1|≤ 150
sync-master|server_cpu_us|… the master's CPU µs/message|2|
catch-up|mb_per_second|an empty slave catches up: MB/s|0|≥ 500
catch-up|slave_cpu_us_per_mb|… its CPU µs/MB|0|
catch-up|master_cpu_us_per_mb|… the master's CPU µs/MB|0|
first|first_ms|exec → first acknowledged message: ms|1|≤ 50
memory-idle|kib|anonymous memory, idle: KiB|0|≤ 15,360
memory-sent|server_anonymous_kib|… after MEMORY messages: KiB|0|≤ 40,960
memory-connections|silent_kib_each|… per silent connection: KiB|1|≤ 16
memory-connections|used_kib_each|… per idle connection that has sent a message: KiB|1|≤ 16
ROWS
}
values() { # values <load> <server> <key>: one per line; of <load>÷<load> the ratio of the medians
    case $1 in
    *÷*)
        awk -v a="$(values "${1%÷*}" "$2" "$3" | middle)" -v b="$(values "${1#*÷}" "$2" "$3" | middle)" \
            'BEGIN { if (a != "" && b + 0 > 0) print a / b }'
        return ;;
    esac
    awk -F'\t' -v load="$1" -v server="$2" '$1 == load && $2 == server { print $3 }' "$results" |
        while read -r json; do echo "$json" | { grep -o "\"$3\":-\?[0-9.]*" || true; } | head -1 | cut -d: -f2; done
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
        BEGIN { if (m == "") print "–"; else if (lo == hi || lo == "") print show(m); else print show(m) " (" show(lo) "–" show(hi) ")" }'
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
    local name key what decimals reach server against_apache
    describe_machine
    echo
    echo "| load | Apache 5.3.3 | floor | floor with a log | rmq-lite | rmq-lite ÷ Apache | ÷ floor | ÷ floor with a log | to reach |"
    echo "|---|---|---|---|---|---|---|---|---|"
    rows | while IFS='|' read -r name key what decimals reach; do
        declare -A m=([floor]='' [written]='' [apache]='' [rmq]='')
        for server in floor written apache rmq; do m[$server]=$(values "$name" $server "$key" | middle); done
        [ -n "${m[floor]}${m[written]}${m[apache]}${m[rmq]}" ] || continue
        what=${what/MEMORY/$(cell 0 $memory_messages)} what=${what/GROUPS/$(cell 0 $groups)} what=${what/HELD/$(cell 0 $held)} what=${what/DUE/$(cell 0 $due)}
        against_apache=$(ratio "${m[rmq]%% *}" "${m[apache]%% *}")
        case $name in *÷*) against_apache=– ;; esac
        # shellcheck disable=SC2086
        echo "| $what | $(cell "$decimals" ${m[apache]}) | $(cell "$decimals" ${m[floor]}) | $(cell "$decimals" ${m[written]}) | $(cell "$decimals" ${m[rmq]})" \
            "| $against_apache | $(ratio "${m[rmq]%% *}" "${m[floor]%% *}") | $(ratio "${m[rmq]%% *}" "${m[written]%% *}") | $reach |"
    done
    echo
    echo "Medians (least–greatest). The load generator's own CPU µs/message against the floor:" \
        "$(for name in send-4x32 send-1x1 send-64x1 send-topics send-16k pull; do
            value=$(values $name floor client_cpu_us | middle)
            [ -z "$value" ] || echo "$name ${value%% *},"
        done | tr '\n' ' ' | sed 's/, $/./')"
    [ -s "$failures" ] || return 0
    echo
    echo "Not measured:"
    sort "$failures" | uniq -c | while read -r count name server why; do echo "- $name on $server, $count ×: $why"; done
}

# ---- the modes -------------------------------------------------------------------------------------------------------

compare() {
    local name round
    say "loads: $LOADS; $ROUNDS rounds of at most $LOAD_SECONDS s each on: $SERVERS"
    for name in $LOADS; do
        say "$name ($(date -u +%H:%M:%S))"
        case $name in
        first) for round in $(seq "$ROUNDS"); do measure_first; done ;;
        memory) measure_memory ;;
        send-slave) measure_send_slave ;;
        due-*) measure_due "$name" ;;
        catch-up) measure_catch_up ;;
        *) measure_in_turn "$name" ;;
        esac
    done
    stop_all
    print_table | tee "$work/table.md"
}

sparse_log() { # sparse_log <directory>: a log of 50 files of 1 GiB, in each only the record that says it is blank
    local number file
    mkdir -p "$1"
    for number in $(seq 0 49); do
        file=$1/$(printf %020d $((number << 30)))
        printf '\x40\x00\x00\x00\xcb\xd4\x31\x94' > "$file"
        truncate -s 1G "$file"
    done
}
flat() {
    local round topics what
    has "$SERVERS" rmq || { say "rmq-lite does not start yet: nothing to measure"; exit 1; }
    for round in $(seq "$ROUNDS"); do
        for topics in 1 10000; do
            start_rmq
            # Creating the topics is not what is measured: every queue gets a message first.
            load rmq producer --topic flat --topics $topics --queues 8 --in-flight 1 \
                --messages $((topics * 8)) > /dev/null
            await_quiet rmq
            measure "topics-$topics" rmq producer --topic flat --topics $topics --queues 8 \
                --messages "$messages" --duration "$LOAD_SECONDS"
            stop_rmq
        done
        rm -rf "$work/rmq/data"
        first_on_data "start-empty"
        start_rmq "" "--data-dir $work/rmq/data"
        load rmq producer --topic flat --messages "$messages" > /dev/null
        stop_rmq
        first_on_data "start-full"
        for what in log-empty log-50; do
            rm -rf "$work/rmq/data"
            [ $what = log-empty ] || sparse_log "$work/rmq/data/broker/commitlog"
            start_rmq "" "--data-dir $work/rmq/data"
            load rmq producer --topic flat --duration 1 > /dev/null
            await_quiet rmq
            measure $what rmq producer --topic flat --messages "$messages" --duration "$LOAD_SECONDS"
            stop_rmq
        done
        rm -rf "$work/rmq/data"
    done
    {
        describe_machine
        echo
        echo "| what | small | large | ratio | to reach |"
        echo "|---|---|---|---|---|"
        flat_row "send: server CPU µs/message, 1 topic against 10,000 × 8 queues" topics-1 topics-10000 server_cpu_us 2
        flat_row "send: server CPU µs/message, empty store against a sparse log of 50 GiB" log-empty log-50 server_cpu_us 2
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

if [ -z "${RMQ:-}" ] || [ -z "${LOADGEN_GIVEN:-}" ]; then cargo build --release --bin rmq-lite --example floor >&2; fi
mkdir -p "$work"
: > "$results"
: > "$failures"
for name in $LOADS; do
    # shellcheck disable=SC2086
    has "$(echo $all_loads)" "$name" || { echo "$name is no load; there are: "$all_loads >&2; exit 2; }
done
if has "$SERVERS" apache && [ ! -x "$APACHE_KIT/start.sh" ]; then
    say "no Apache: ${APACHE_KIT:-../shared/apache}/start.sh is missing, its columns stay empty"
    SERVERS=$(without "$SERVERS" apache)
fi
if has "$SERVERS" rmq && ! "$rmq" start --help 2> /dev/null | grep -q -- --ports-file; then
    say "this rmq-lite has no working start command: its columns stay empty"
    SERVERS=$(without "$SERVERS" rmq)
fi
"$mode"
