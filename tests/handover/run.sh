#!/bin/bash
# Hands one directory from rmq-lite to a real Apache RocketMQ 5.3.3 and back, after clean stops and after kill -9: HandOver.java.
#   RMQ_LITE_BIN=target/debug/rmq-lite tests/handover/run.sh
# Needs mvn (for the jars) and a JDK, 11 or newer; what is missing is named, with STRICT=1 as a failure.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bin=${RMQ_LITE_BIN:?set RMQ_LITE_BIN to the rmq-lite executable}
[ -x "$bin" ] || { echo "RMQ_LITE_BIN=$bin cannot be executed" >&2; exit 2; }
bin=$(readlink -f "$bin")
for tool in mvn javac; do
    if ! command -v $tool > /dev/null; then
        echo "skipped: the hand-over with Apache, because $tool is missing"
        [ "${STRICT:-0}" != 1 ] || exit 1
        exit 0
    fi
done

jars=$here/target/jars
if [ ! -e "$jars/.complete" ] || [ "$here/pom.xml" -nt "$jars/.complete" ]; then
    rm -rf "$jars"
    mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$jars"
    touch "$jars/.complete"
fi
# Not left to the first start of a server: two may start at once.
javac -cp "$jars/*" -d "$here/target/oracle-classes" "$here/../clients/oracle/ApacheServer.java"
javac -Xlint:none -cp "$jars/*" -d "$here/target/classes" "$here/HandOver.java"
# Found first, so that the client logs nothing.
echo '<configuration><root level="OFF"/></configuration>' > "$here/target/classes/rmq.logback.xml"
export APACHE_LIB=$jars APACHE_HEAP=${APACHE_HEAP:--Xms128m -Xmx400m}
# Nothing of the environment may change what the servers are started with.
unset "${!RMQ_LITE_@}"
exec timeout 600 java -Xmx300m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData \
    -cp "$here/target/classes:$jars/*" HandOver "$bin" "$here/../clients/oracle/apache"
