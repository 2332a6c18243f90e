#!/bin/bash
# What the container image promises, without a container engine: the static binary alone in a root directory laid out as the
# Dockerfile says, run with its user, environment and command line, serves a message, is found by its health check, and
# stops clean; the health check also fits the other servers that the image may be told to be.
#   tests/image/run.sh        builds for the musl target first; IMAGE_PROFILE=dev builds faster, for a look
# Needs that target (rustup target add x86_64-unknown-linux-musl), musl-gcc, and chroot as root or in a user namespace.
# STRICT=1: what is missing is a failure; otherwise it is named and the test is left out. Only `docker build` is left out
# and named either way where no docker daemon answers.
set -euo pipefail
cd "$(dirname "$0")/../.."

missing() {
    echo "skipped: the image's test, because $1"
    [ "${STRICT:-0}" != 1 ] || exit 1
    exit 0
}

# The last stage of the Dockerfile, a line each; of words in brackets and quotes the words.
stage=$(sed -e ':a' -e '/\\$/{N;s/\\\n//;ba}' Dockerfile | sed -n '/^FROM scratch/,$p')
said() { # said <instruction>: what stands behind it
    local text
    text=$(sed -n "s/^$1 //p" <<< "$stage")
    [ -n "$text" ] || { echo "the Dockerfile says nothing about $1" >&2; exit 1; }
    echo "$text"
}
words() { sed -e 's/^.*\[//' -e 's/\].*$//' -e 's/[",]/ /g'; }
user=$(said USER)
read -r -a entrypoint <<< "$(said ENTRYPOINT | words)"
read -r -a command <<< "$(said CMD | words)"
read -r -a health <<< "$(said HEALTHCHECK | words)"
read -r -a variables <<< "$(said ENV | tr '\n' ' ')"

target=$(uname -m)-unknown-linux-musl
[ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] || missing "the Rust target $target is not installed"
command -v musl-gcc > /dev/null || missing "musl-gcc is missing (musl-tools)"
if [ "$(id -u)" = 0 ]; then
    as_user=(chroot "--userspec=$user")
elif unshare -r true 2> /dev/null; then
    as_user=(unshare -r chroot)
else
    missing "only root may change the root directory here"
fi
profile=${IMAGE_PROFILE:-release}
TARGET_CC=musl-gcc cargo build --quiet --profile "$profile" --locked --bin rmq-lite --target "$target"
binary=${CARGO_TARGET_DIR:-target}/$target/${profile/#dev/debug}/rmq-lite

root=$(mktemp -d)
server=
cleanup() {
    [ -z "$server" ] || kill -9 "$server" 2> /dev/null || true
    rm -rf "$root" "$root.log"
}
trap cleanup EXIT
chmod 755 "$root"
fail() {
    echo "the image's test failed: $1" >&2
    cat "$root.log" >&2
    exit 1
}

# COPY --from=build [--chown=OWNER] SOURCE DESTINATION: the executable, or a directory that the build stage made.
while read -r words; do
    source=$(awk '{ print $(NF - 1) }' <<< "$words") destination=$root$(awk '{ print $NF }' <<< "$words")
    owner=$(sed -n 's/.*--chown=\([^ ]*\) .*/\1/p' <<< "$words")
    if [ "$source" = /image/rmq-lite ]; then
        cp "$binary" "$destination"
    else
        mkdir "$destination"
        chmod "$(sed -n "s|.*mkdir -m \([0-7]*\) $source\b.*|\1|p" Dockerfile | grep . || echo 755)" "$destination"
    fi
    [ "$(id -u)" != 0 ] || chown "${owner:-0:0}" "$destination"
done < <(said COPY)

inside=(env -i "PATH=$PATH" "${variables[@]}" "${as_user[@]}" "$root")
rmq_lite() { "${inside[@]}" "${entrypoint[@]}" "$@"; }

# What EXPOSE promises is what the server listens on: the broker also two below its port.
ports=$(rmq_lite start --help | tr -d '\n' | grep -o -E '\-\-(namesrv|broker|web)-port [^[]*\[default: [0-9]+' | grep -o '[0-9]*$')
ports=$(awk 'NR == 2 { print $1 - 2 } { print }' <<< "$ports")
[ "$(sort -n <<< "$ports")" = "$(said EXPOSE | tr ' ' '\n' | sort -n)" ] || fail "EXPOSE $(said EXPOSE), and the ports are ${ports//$'\n'/ }"

"${inside[@]}" "${health[@]}" > "$root.log" 2>&1 && fail "it is ready before it was started"
begin() { # begin <arguments>: in the background, until the health check finds it ready
    "${inside[@]}" "${entrypoint[@]}" "$@" > "$root.log" 2>&1 &
    server=$!
    "${inside[@]}" "${health[@]}" --wait 20 > /dev/null 2>> "$root.log" || fail "its health check does not find $*"
    kill -0 "$server" || fail "$* has ended"
}
end() {
    kill "$server"
    wait "$server" || fail "it ends with $?"
    server=
    ! "${inside[@]}" "${health[@]}" > /dev/null 2>&1 || fail "it is ready when it has ended"
}
free=(--namesrv-port 0 --broker-port 0 --web-port 0)
# The Dockerfile's command, with free ports instead of its own.
begin "${command[@]}" "${free[@]}"
namesrv=$(rmq_lite env | sed -n 's/^export NAMESRV_ADDR=//p')
rmq_lite bench producer -n "$namesrv" --messages 1000 --quiet --json | grep -q '"errors":0' || fail "messages are refused"
[ -n "$(ls "$root$(said VOLUME)"/rmq-lite/default/broker/commitlog)" ] || fail "nothing is stored below $(said VOLUME)"
end
begin start --ephemeral "${free[@]}"
end
begin start --data-dir /data/elsewhere --name other "${free[@]}"
end
begin namesrv --port 0
end
printf 'brokerName=b\nlistenPort=0\n' > "$root/broker.conf"
begin broker -c /broker.conf
end
echo "image: $(stat -c %s "$root/rmq-lite" | numfmt --to=iec) static binary, works alone as an ordinary user"

if ! docker info > /dev/null 2>&1; then
    echo "skipped: docker build, because no docker daemon answers; the Dockerfile's last stage was tested without one"
    exit 0
fi
image=rmq-lite-test-$$
docker build --quiet --tag "$image" . > /dev/null || fail "docker build"
container=$(docker run --detach "$image")
healthy=$(docker exec "$container" "${health[@]}" --wait 20 2>&1) || true
docker rm --force "$container" > /dev/null
docker rmi --force "$image" > /dev/null
grep -q '^ready' <<< "$healthy" || fail "docker run: $healthy"
echo "image: docker build and run work"
