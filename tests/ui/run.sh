#!/bin/bash
# Tests of the console: types of its modules, and its behaviour in a browser against a real server.
#   RMQ_LITE_BIN=target/debug/rmq-lite tests/ui/run.sh
# Needs Node 20 or newer with npm, and Chromium (CHROMIUM=/path/to/it when it has another name).
# STRICT=1: a missing tool is a failure; otherwise it is named and its tests are left out.
# KEEP_SHOTS=DIR keeps the pictures that the browser took.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
failed=

missing() {
    echo "skipped: $1 is missing"
    [ "${STRICT:-0}" != 1 ] || failed="$failed $1(missing)"
}

finish() {
    [ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
    exit 0
}

command -v node > /dev/null || { missing node; finish; }
command -v npm > /dev/null || { missing npm; finish; }
cd "$here" || exit 2
# The lockfile names no registry: npm asks the one it is configured for.
if ! cmp -s package-lock.json node_modules/.installed-lock 2> /dev/null; then
    if npm ci --no-audit --no-fund --ignore-scripts --omit-lockfile-registry-resolved --loglevel=error; then
        cp package-lock.json node_modules/.installed-lock
    else
        missing "what npm downloads (npm ci)"; finish
    fi
fi

npx --no-install tsc -p . && echo "types: ok" || failed="$failed types"

bin=${RMQ_LITE_BIN:-}
[ -n "$bin" ] || bin=$(ls -t "$here"/../../target/{release,debug}/rmq-lite 2> /dev/null | head -1)
browser=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}
if [ -z "$bin" ] || [ ! -x "$bin" ]; then
    missing "the rmq-lite executable (make build)"
elif [ -z "$browser" ]; then
    missing chromium
else
    RMQ_LITE_BIN=$(readlink -f "$bin") CHROMIUM=$browser node --test --test-reporter=spec page.test.js || failed="$failed page"
fi
finish
