#!/usr/bin/env bash
# Installs what the tests need and is not there yet. Safe to run again; with everything in place it does nothing.
#
#   tests/setup.sh
#
# Debian packages come through apt-get (with sudo when we are not root), cargo's tools through `cargo install`.
# prometheus and promtool are taken out of Debian's package without installing it: installing would start a server.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly TOOLS=target/tools/bin
readonly CARGO_DENY=0.20.2
readonly CARGO_FUZZ=0.13.2
readonly NODE=22
export PATH="$PWD/$TOOLS:$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"

main() {
    install_debian_packages
    require_rust
    install_prometheus
    install_cargo_tool cargo-deny "$CARGO_DENY"
    install_cargo_tool cargo-fuzz "$CARGO_FUZZ"
    install_node
    install_node_modules tests/identity
    install_node_modules tests/webhooks
    install_node_modules tests/browsers
    install_node_modules tests/siblings/express
    install_node_modules clients
    install_python target/tools/venv tests/clients/python/requirements.txt
    install_python target/tools/siblings tests/siblings/requirements.txt --require-hashes
    install_apache
    install_h2spec
    install_cassandra
}

# The commands the build and the tests call, each with the Debian package that has it.
install_debian_packages() {
    local missing=() pair
    for pair in cc:build-essential c++:build-essential make:make git:git curl:curl sqlite3:sqlite3 python3:python3 \
        node:nodejs npm:npm chromium:chromium firefox-esr:firefox-esr openssl:openssl java:openjdk-17-jre-headless mvn:maven; do
        has "${pair%%:*}" || missing+=("${pair#*:}")
    done
    [ ${#missing[@]} -eq 0 ] && return
    readarray -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
    apt_install "${missing[@]}"
}

apt_install() {
    has apt-get || die "these are missing and there is no apt-get to install them with: $*"
    say "installing $*"
    update_lists
    # A fresh machine may still be busy with its own updates: wait for the lock.
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 \
        install --no-install-recommends "$@"
}

# Apache with mod_auth_openidc. The package `apache2` would start a server; these have programs and modules alone.
install_apache() {
    [ -x /usr/sbin/apache2 ] && [ -e /usr/lib/apache2/modules/mod_auth_openidc.so ] && return
    apt_install apache2-bin libapache2-mod-auth-openidc
}

require_rust() {
    has cargo || die "cargo is missing: install Rust with rustup (https://rustup.rs), then run this again"
    # With rustup, the first call in this directory installs the toolchain that rust-toolchain.toml names.
    cargo clippy --version >/dev/null || die "cargo clippy is missing: rustup component add clippy"
    cargo fmt --version >/dev/null || die "cargo fmt is missing: rustup component add rustfmt"
}

install_prometheus() {
    has promtool && has prometheus && return
    has apt-get || die "prometheus or promtool is missing: install Prometheus"
    say "fetching prometheus and promtool"
    local unpacked
    unpacked=$(mktemp -d)
    # shellcheck disable=SC2064 # the path of now is meant
    trap "rm -rf '$unpacked'" EXIT
    if ! (cd "$unpacked" && download prometheus); then
        say "asking apt-get for newer package lists"
        update_lists
        (cd "$unpacked" && download prometheus) || die "apt-get download prometheus failed"
    fi
    dpkg -x "$unpacked"/prometheus_*.deb "$unpacked/root"
    mkdir -p "$TOOLS"
    local tool
    for tool in prometheus promtool; do
        install -m 755 "$unpacked/root/usr/bin/$tool" "$TOOLS/$tool"
        "$TOOLS/$tool" --version >/dev/null || die "$tool does not run on this machine"
    done
}

update_lists() { as_root apt-get -q -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 update; }

# As root, apt hands downloads to a user of its own, who may not write here.
download() {
    if [ "$(id -u)" -eq 0 ]; then
        apt-get -q -o APT::Sandbox::User=root download "$1"
    else
        apt-get -q download "$1"
    fi
}

# The CQL server of the tests: jars, and nothing that starts by itself.
install_cassandra() {
    local wanted=tests/support/cassandra/pom.xml jars=target/tools/cassandra
    cmp -s "$wanted" "$jars/complete" && return
    say "fetching the CQL server"
    rm -rf "$jars"
    mvn --batch-mode --quiet --file "$wanted" dependency:copy-dependencies -DincludeScope=runtime \
        -DoutputDirectory="$PWD/$jars"
    # Last: what is half fetched is fetched again.
    cp "$wanted" "$jars/complete"
}

# install_python ENVIRONMENT REQUIREMENTS [OPTION...]: foreign clients of the tests, in an environment of their own.
install_python() {
    local venv=$1 wanted=$2
    shift 2
    cmp -s "$wanted" "$venv/requirements.txt" && return
    say "installing the Python packages of $wanted"
    python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps "$@" --requirement "$wanted"
    # Last: what is half installed is installed again.
    cp "$wanted" "$venv/requirements.txt"
}

# Speaks HTTP/2 with all its mistakes. Versions that Debian's Go can build are pinned in tests/h2spec.
install_h2spec() {
    has h2spec && return
    say "building h2spec"
    has go || apt_install golang-go
    (cd tests/h2spec && go build -mod=readonly -o "../../$TOOLS/h2spec" github.com/summerwind/h2spec/cmd/h2spec)
}

# Unoptimised: these run for seconds, and their release builds take minutes.
install_cargo_tool() {
    has "$1" && return
    say "building $1 $2"
    CARGO_PROFILE_DEV_DEBUG=0 cargo install --locked --debug --version "$2" "$1"
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif has sudo; then
        sudo "$@"
    else
        die "this needs root and there is no sudo: $*"
    fi
}

# Debian 12 has Node.js 18, which is too old for the modules. npm has newer ones.
install_node() {
    [ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ] && return
    say "fetching Node.js $NODE"
    npm install --prefix target/tools/node --no-audit --no-fund --loglevel error "node@$NODE"
    mkdir -p "$TOOLS"
    ln -sf ../node/node_modules/node/bin/node "$TOOLS/node"
    hash -r
    node --version >/dev/null || die "Node.js $NODE does not run on this machine"
}

# The modules that package-lock.json names, and no others. The lock is copied to where they are, to know them by.
install_node_modules() {
    cmp -s "$1/package-lock.json" "$1/node_modules/.installed-lock.json" && return
    say "installing the Node modules of $1"
    (cd "$1" && npm ci --no-audit --no-fund --loglevel error)
    cp "$1/package-lock.json" "$1/node_modules/.installed-lock.json"
}

has() { command -v "$1" >/dev/null 2>&1; }
say() { printf 'setup: %s\n' "$*"; }
die() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

main "$@"
