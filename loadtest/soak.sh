#!/usr/bin/env bash
# A service of its own under the scenario `soak`, for as long as is said: soak.sh DIRECTORY_OF_PROGRAMS TIME (50s, 30m).
# Ends with 1 if anything was lost or answered badly, or if the service's memory grew. The report is target/soak.html.
set -euo pipefail
cd "$(dirname "$0")/.."
built=$1 time=$2
work=$(mktemp -d)
service=
cleanup() {
    if [ -n "$service" ]; then
        kill "$service" 2>/dev/null || true
        wait "$service" || true
    fi
    rm -rf "$work"
}
trap cleanup EXIT

GASTANK_LIMITS_ACTS_PER_ADDRESS_PER_S=0 "$built/gastank" serve --data-dir "$work/data" --http 127.0.0.1:0 --udp 127.0.0.1:0 \
    --quic 127.0.0.1:0 --admin 127.0.0.1:0 >"$work/out" 2>"$work/log" &
service=$!
for _ in $(seq 300); do
    grep -q '^ready ' "$work/out" && break
    kill -0 "$service" 2>/dev/null || break
    sleep 0.1
done
ready=$(grep '^ready ' "$work/out") || {
    echo "the service did not get ready:" >&2
    cat "$work/log" >&2
    exit 1
}
of() { sed -n "s/.* $1=\([^ ]*\).*/\1/p" <<<"$ready"; }
mkdir -p target
"$built/loadtest" run soak --set "phase.soak.for=$time" --http "http://$(of http)" --admin-url "http://$(of admin)" \
    --admin-token-file "$work/data/admin.token" --pid "$service" --max-time 24h --abandon --html target/soak.html
