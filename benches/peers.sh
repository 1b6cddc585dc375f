#!/usr/bin/env bash
# Gets the foreign servers of the side-by-side benchmark: nginx, redis-server, freeradius.
#
# What is installed is used. What is not is fetched from Debian and unpacked under target/bench/peers: nothing is installed,
# and no service is started. Without apt-get, or without a mirror, the rows that need them are left out.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly PEERS=target/bench/peers
export PATH="$PATH:/usr/sbin:/usr/local/sbin"

main() {
    local missing=() name
    for name in nginx redis-server freeradius; do
        has "$name" || missing+=("$name")
    done
    [ ${#missing[@]} -eq 0 ] && return
    has apt-get || give_up "there is no apt-get"
    say "fetching ${missing[*]}"
    mkdir -p "$PEERS/packages"
    fetch "${missing[@]}" || { update_lists && fetch "${missing[@]}"; } || give_up "they cannot be fetched"
    local package
    for package in "$PEERS"/packages/*.deb; do
        dpkg -x "$package" "$PEERS/root"
    done
    rm -r "$PEERS/packages"
}

# The packages and what they need that this machine has not.
fetch() {
    local packages
    packages=$(apt-get -q -s install --no-install-recommends "$@" | awk '/^Inst /{ print $2 }') || return 1
    # As root, apt hands downloads to a user of its own, who may not write here.
    # shellcheck disable=SC2086 # one word each
    (cd "$PEERS/packages" && apt-get -q -o APT::Sandbox::User=root -o Acquire::Retries=3 download $packages)
}

update_lists() {
    local root=()
    [ "$(id -u)" -eq 0 ] || root=(sudo)
    "${root[@]}" apt-get -q -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 update
}

has() { command -v "$1" >/dev/null 2>&1 || [ -x "$PEERS/root/usr/sbin/$1" ] || [ -x "$PEERS/root/usr/bin/$1" ]; }
say() { printf 'bench: %s\n' "$*"; }
give_up() {
    say "$1: rows that need what is missing are left out"
    exit 0
}

main
