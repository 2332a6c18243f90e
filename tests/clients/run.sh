#!/bin/bash
# Tests of rmq-lite with unmodified Apache clients: Java 5.3.3 and 4.9.8 (Maven, JDK 11 or newer), Go.
#   RMQ_LITE_BIN=target/debug/rmq-lite tests/clients/run.sh [java-5.3.3|java-4.9.8|go|kill-loop]...
# Without arguments the three kinds of clients. kill-loop, which `make test` runs as well, kills the server ROUNDS times (50) under load.
# STRICT=1: a missing tool is a failure, and so is a test that leaves itself out, unless its client lacks what it is about;
# otherwise either is named and left out.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [ -n "${RMQ_LITE_BIN:-}" ]; then
    [ -x "$RMQ_LITE_BIN" ] || { echo "RMQ_LITE_BIN=$RMQ_LITE_BIN cannot be executed" >&2; exit 2; }
    export RMQ_LITE_BIN=$(readlink -f "$RMQ_LITE_BIN")
elif [ -z "${NAMESRV_ADDR:-}" ]; then
    echo "set RMQ_LITE_BIN to the rmq-lite executable, or NAMESRV_ADDR to a running server" >&2; exit 2
fi
[ $# -gt 0 ] || set -- java-5.3.3 java-4.9.8 go
failed=
# What passed, for the table in docs/compatibility.md.
results=$(mktemp)
trap 'rm -f "$results" "$results.go"' EXIT

java_results() { # java_results <part>: from surefire's reports
    local report
    for report in "$here/java/target/${1#java-}"/surefire-reports/TEST-*.xml; do
        awk -v part="$1" '
            function value(name) { return match($0, " " name "=\"[^\"]*\"") ? substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 4) : "" }
            /<testcase / { name = value("name"); class = value("classname"); outcome = "passed"; reason = ""; sub(/\(.*/, "", name); sub(/.*\./, "", class) }
            /<skipped/ { outcome = "skipped"; reason = $0; sub(/.*TestAbortedException: (Assumption failed: )?/, "", reason) }
            /<failure|<error/ { outcome = "failed" }
            /<testcase .*\/>/ || /<\/testcase>/ { print part "\t" class "\t" name "\t" outcome (reason == "" ? "" : "\t" reason) }' "$report"
    done >> "$results"
}

left_out() { # left_out <part>: names tests that did not run although their client could
    local tests
    tests=$(awk -F '\t' -v part="$1" '$1 == part && $4 == "skipped" && $5 !~ /^this client has no / { print "skipped: " $2 " " $3 ": " $5 }' "$results")
    [ -n "$tests" ] || return 0
    echo "$tests"
    [ "${STRICT:-0}" != 1 ] || failed="$failed $1(skipped)"
}

needs() { # needs <tool>: true when it is there
    command -v "$1" > /dev/null && return 0
    echo "skipped: $1 is missing"
    [ "${STRICT:-0}" != 1 ] || failed="$failed $1(missing)"
    return 1
}

for part; do
    began=$SECONDS
    case $part in
    kill-loop)
        { needs mvn && needs javac; } || continue
        (cd "$here/java" && mvn -q -B test -Dtest=KillLoop -Dkill.rounds="${ROUNDS:-50}") || failed="$failed $part" ;;
    java-*)
        { needs mvn && needs javac; } || continue
        rm -rf "$here/java/target/${part#java-}/surefire-reports"
        (cd "$here/java" && mvn -q -B test -Drocketmq.version="${part#java-}") || failed="$failed $part"
        java_results "$part"
        left_out "$part" ;;
    go)
        needs go || continue
        (cd "$here/go" && go vet ./... && go test -count=1 -v ./... > "$results.go" 2>&1) || {
            cat "$results.go" >&2
            failed="$failed $part"
        }
        # What a test says of its skipping stands in the line before.
        awk -v OFS='\t' '
            /^--- PASS: / { print "go", $3, "", "passed" }
            /^--- SKIP: / { sub(/^ *[^ ]*: /, "", before); print "go", $3, "", "skipped", before }
            { before = $0 }' "$results.go" >> "$results"
        left_out "$part" ;;
    *)
        echo "unknown part: $part" >&2; exit 2 ;;
    esac
    echo "$part: $((SECONDS - began)) s"
done
# Only a run of all clients can tell what is proved.
if [ -z "$failed" ] && [ "$(cut -f 1 "$results" | sort -u | wc -l)" = 3 ]; then
    "$here/table.sh" "$results" || failed=" table"
fi
[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
