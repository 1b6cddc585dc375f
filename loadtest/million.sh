#!/usr/bin/env bash
# A service of its own with very many open sessions under the scenario `udp-1m`: million.sh DIRECTORY_OF_PROGRAMS TIME
# [SESSIONS]. Ends with 1 if a beat was lost, the service took more than its share of a core, or somebody timed out. The
# report is target/million.html.
set -euo pipefail
cd "$(dirname "$0")/.."
built=$1 time=$2 sessions=${3:-1000000}
work=$(mktemp -d)
service=
stop() {
    if [ -n "$service" ]; then
        kill "$service" 2>/dev/null || true
        wait "$service" || true
        service=
    fi
}
trap 'stop; rm -rf "$work"' EXIT

start() {
    "$built/gastank" serve --data-dir "$work/data" --http 127.0.0.1:0 --udp 127.0.0.1:0 --quic off --admin 127.0.0.1:0 \
        >"$work/out" 2>>"$work/log" &
    service=$!
    for _ in $(seq 600); do
        ! grep -q '^ready ' "$work/out" || return 0
        kill -0 "$service" 2>/dev/null || break
        sleep 0.1
    done
    echo "the service did not get ready:" >&2
    cat "$work/log" >&2
    exit 1
}
of() { sed -n "s/^ready .*$1=\([^ ]*\).*/\1/p" "$work/out"; }
timed_out() {
    curl -fsS "http://$(of admin)/metrics" | awk '/^gastank_sessions_ended_total.*reason="timed_out"/ { n += $2 } END { print n + 0 }'
}

start
stop
"$built/floors" fill --data-dir "$work/data" --sessions "$sessions" --sessions-file "$work/sessions.jsonl"
start
mkdir -p target
held=0
# The load generator opens one more, to be told how to beat.
"$built/loadtest" run udp-1m --set "phase.steady.for=$time" --set "fleet.beats.sessions=$((sessions + 1))" \
    --set "fleet.beats.rate=$((sessions / 30))" --sessions-file "$work/sessions.jsonl" --believe --http "http://$(of http)" \
    --udp "$(of udp)" --admin-url "http://$(of admin)" --admin-token-file "$work/data/admin.token" --pid "$service" \
    --max-time 24h --html target/million.html || held=$?
gone=$(timed_out)
echo "sessions that timed out: $gone"
[ "$gone" = 0 ] || held=1
exit "$held"
