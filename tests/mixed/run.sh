#!/bin/bash
# A master and its slave of which one is rmq-lite and the other a real Apache RocketMQ 5.3.3, both ways round: Mixed.java.
#   RMQ_LITE_BIN=target/debug/rmq-lite tests/mixed/run.sh
# Needs mvn (for the jars, which are the hand-over's) and a JDK, 11 or newer; what is missing is named, with STRICT=1 as a failure.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
handover=$here/../handover
bin=${RMQ_LITE_BIN:?set RMQ_LITE_BIN to the rmq-lite executable}
[ -x "$bin" ] || { echo "RMQ_LITE_BIN=$bin cannot be executed" >&2; exit 2; }
bin=$(readlink -f "$bin")
for tool in mvn javac; do
    if ! command -v $tool > /dev/null; then
        echo "skipped: replication with Apache, because $tool is missing"
        [ "${STRICT:-0}" != 1 ] || exit 1
        exit 0
    fi
done

jars=$handover/target/jars
if [ ! -e "$jars/.complete" ] || [ "$handover/pom.xml" -nt "$jars/.complete" ]; then
    rm -rf "$jars"
    mvn -q -B -f "$handover/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$jars"
    touch "$jars/.complete"
fi
javac -Xlint:none -cp "$jars/*" -d "$here/target/classes" "$handover/HandOver.java" "$here/Mixed.java"
# Found first, so that the client logs nothing.
echo '<configuration><root level="OFF"/></configuration>' > "$here/target/classes/rmq.logback.xml"
# Nothing of the environment may change what the servers are started with.
unset "${!RMQ_LITE_@}"
exec timeout 600 java -Xmx300m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData \
    -cp "$here/target/classes:$jars/*" Mixed "$bin" "$jars"
