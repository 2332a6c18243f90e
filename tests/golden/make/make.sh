#!/bin/bash
# Makes the files of tests/golden anew: a real Apache 5.3.3 with small files, real clients, a recorder between them.
# Needs mvn, JDK 11+, go, python3. JARS may name a directory that keeps the jars for the next time. NAMESRV_PORT and BROKER_PORT must be free on 127.0.0.1 to 127.0.0.3.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
golden=$(dirname "$here")
namesrv=${NAMESRV_PORT:-17876}
broker=${BROKER_PORT:-17911}
work=$(mktemp -d)
pids=
finish() { for pid in $pids; do kill "$pid" 2> /dev/null || true; done; wait; rm -rf "$work"; }
trap finish EXIT

echo "resolving jars"
jars=${JARS:-$work}
server=$jars/server
[ -e "$server" ] || mvn -q -B -f "$golden/../handover/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$server"
for version in 5.3.3 4.9.8; do
    [ -e "$jars/client-$version" ] || mvn -q -B -f "$here/pom.xml" -Drocketmq.version=$version \
        dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$jars/client-$version"
    javac -nowarn -cp "$jars/client-$version/*" -d "$work/classes-$version" "$here/Traffic.java" -Xlint:none
done
javac -cp "$server/*" -d "$work/classes" "$here/Expected.java"
(cd "$here/go" && go build -o "$work/traffic" .)

echo "starting"
mkdir "$work/recorded"
echo nobody > "$work/label"
# Clients reach the NameServer at 127.0.0.2, where the recorder is, and are led to the broker at 127.0.0.2.
python3 "$here/record.py" run "$work/recorded" "127.0.0.2:$namesrv=127.0.0.1:$namesrv=@$work/label" \
    "127.0.0.2:$broker=127.0.0.1:$broker=@$work/label" "127.0.0.3:$namesrv=127.0.0.1:$namesrv=broker" > "$work/recorder.out" &
pids="$pids $!"
APACHE_LIB=$server APACHE_HEAP='-Xms128m -Xmx400m' "$golden/../clients/oracle/apache" start --namesrv-port "$namesrv" \
    --broker-port "$broker" --data-dir "$work/data" --ports-file "$work/ports" \
    --set brokerIP1=127.0.0.2 --set "namesrvAddr=127.0.0.3:$namesrv" --set mappedFileSizeCommitLog=1048576 \
    --set mappedFileSizeConsumeQueue=2000 --set maxHashSlotNum=100 --set maxIndexNum=200 --set timerWheelEnable=false \
    --set transactionCheckInterval=10000 --set transactionTimeOut=1000 --set defaultTopicQueueNums=4 > "$work/apache.out" 2>&1 &
apache=$!
pids="$pids $apache"
for _ in $(seq 900); do [ -e "$work/ports" ] && break; kill -0 $apache; sleep 0.1; done

client() { # client <version> <label> <full|brief> <java options...>
    echo "$2" > "$work/label"
    java -Xmx200m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Drocketmq.client.logLevel=ERROR -Duser.home="$work" "${@:4}" \
        -cp "$work/classes-$1:$jars/client-$1/*" Traffic "127.0.0.2:$namesrv" "$2" "$3"
}
client 5.3.3 java-5.3.3 full
client 4.9.8 java-4.9.8 brief
client 5.3.3 java-5.3.3-binary brief -Drocketmq.serialize.type=ROCKETMQ
echo go-2.1.2 > "$work/label"
HOME=$work "$work/traffic" "127.0.0.2:$namesrv"
kill $apache
wait $apache || true

echo "keeping"
rm -rf "$golden/store" "$golden/frames"
mkdir -p "$golden/store" "$golden/frames"
for label in java-5.3.3 java-4.9.8 java-5.3.3-binary go-2.1.2 broker; do
    python3 "$here/record.py" pick "$work/recorded" $label "$golden/frames/$label.bin"
    java -Xmx100m -cp "$work/classes:$server/*" Expected frames "$golden/frames/$label.bin" > "$golden/frames/$label.tsv"
done
java -Xmx100m -cp "$work/classes:$server/*" Expected store "$work/data/broker/commitlog" > "$golden/store.tsv"
cd "$work/data/broker"
find . -type f ! -name lock ! -name 'timer*' ! -path './compaction/*' ! -name 'abort*' ! -name '*.bak' | while read -r file; do
    mkdir -p "$golden/store/$(dirname "$file")"
    case $file in
    ./config/*) cp "$file" "$golden/store/$file" ;;
    *) gzip -9 -n -c "$file" > "$golden/store/$file.gz" ;;
    esac
done
du -sh "$golden"
