#!/usr/bin/env bash
# A service of its own under the scenario `soak` (or `siege`), for as long as is said: soak.sh DIRECTORY_OF_PROGRAMS TIME
# (50s, 30m) [SCENARIO].
# Ends with 1 if anything was lost or answered badly, or if the service's memory grew. The report is target/SCENARIO.html.
set -euo pipefail
cd "$(dirname "$0")/.."
built=$1 time=$2 scenario=${3:-soak}
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

acts=0
if [ "$scenario" = siege ]; then
    # Limits are on, as they are for everybody, but wide enough for the many clients that are set up from one address. A
    # key to hold forged webhooks against, and a provider whose events are taken and whose keys cannot be had.
    acts=2000
    mkdir -m 700 "$work/data"
    (umask 077 && printf 'whpk_%s\n' "$({ printf X; printf 'f%.0s' {1..31}; } | base64)" >"$work/data/hooks.secrets")
    export GASTANK_LIMITS_ACTS_PER_ADDRESS_BURST=20000 GASTANK_IDENTITY_ISSUER=http://127.0.0.1:9 \
        GASTANK_IDENTITY_JWKS_URI=http://127.0.0.1:9/keys GASTANK_IDENTITY_EVENT_CLIENT_ID=siege \
        GASTANK_IDENTITY_AUDIENCE=siege
fi
GASTANK_LIMITS_ACTS_PER_ADDRESS_PER_S=$acts "$built/gastank" serve --data-dir "$work/data" --http 127.0.0.1:0 --https 127.0.0.1:0 \
    --udp 127.0.0.1:0 --quic 127.0.0.1:0 --admin 127.0.0.1:0 >"$work/out" 2>"$work/log" &
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
"$built/loadtest" run "$scenario" --set "phase.$scenario.for=$time" --https "$(of https)" --http "http://$(of http)" --admin-url "http://$(of admin)" \
    --admin-token-file "$work/data/admin.token" --pid "$service" --max-time 24h --abandon --html "target/$scenario.html"
