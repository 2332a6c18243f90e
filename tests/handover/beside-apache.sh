# Sourced by the tests that run beside a real Apache RocketMQ 5.3.3, this one's and ../mixed; takes the executable from RMQ_LITE_BIN.
# Needs mvn (for the jars) and a JDK, 11 or newer; what is missing is named, with STRICT=1 as a failure.
set -euo pipefail
handover=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
jars=$handover/target/jars
classes=$handover/target/classes
bin=${RMQ_LITE_BIN:?set RMQ_LITE_BIN to the rmq-lite executable}
[ -x "$bin" ] || { echo "RMQ_LITE_BIN=$bin cannot be executed" >&2; exit 2; }
bin=$(readlink -f "$bin")

prepare() { # prepare <name of the test> <sources>...: fetches Apache's jars and compiles
    local tool
    for tool in mvn javac; do
        command -v $tool > /dev/null && continue
        echo "skipped: $1, because $tool is missing"
        [ "${STRICT:-0}" != 1 ] || exit 1
        exit 0
    done
    if [ ! -e "$jars/.complete" ] || [ "$handover/pom.xml" -nt "$jars/.complete" ]; then
        rm -rf "$jars"
        mvn -q -B -f "$handover/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$jars"
        touch "$jars/.complete"
    fi
    javac -Xlint:none -cp "$jars/*" -d "$classes" "$handover/Scene.java" "${@:2}"
    # Found first, so that the client logs nothing.
    echo '<configuration><root level="OFF"/></configuration>' > "$classes/rmq.logback.xml"
}

run() { # run <class> <arguments>...
    # Nothing of the environment may change what the servers are started with.
    unset "${!RMQ_LITE_@}"
    exec timeout 600 java -Xmx300m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData -cp "$classes:$jars/*" "$@"
}
