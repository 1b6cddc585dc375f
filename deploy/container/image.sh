#!/usr/bin/env bash
# Makes an OCI image from a built program, without a container engine:
#
#   deploy/container/image.sh [PROGRAM] [LAYOUT]      target/dist/gastank, target/package/image
#
# The layout can be pushed: skopeo copy oci:target/package/image:VERSION docker://registry.example/gastank:VERSION
# Needs umoci (apt-get install umoci). The image has the program, the libraries that it is linked to and the certificates
# of this machine, and runs as user 65532.
set -euo pipefail
cd "$(dirname "$0")/../.."
program=${1:-target/dist/gastank} layout=${2:-target/package/image}
version=$("$program" --version | cut -d' ' -f2)
command -v umoci >/dev/null || { echo "umoci is missing: apt-get install umoci" >&2; exit 1; }

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
install -D -m 755 "$program" "$root/usr/bin/gastank"
strip "$root/usr/bin/gastank"
ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
    install -D -m 755 "$(realpath "$library")" "$root$library"
done
install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
printf 'nonroot:x:65532:65532::/data:/sbin/nologin\n' >"$root/etc/passwd"
printf 'nonroot:x:65532:\n' >"$root/etc/group"
install -d -m 700 "$root/data"
install -d -m 1777 "$root/tmp"
[ "$(id -u)" -ne 0 ] || chown 65532:65532 "$root/data"

rm -rf "$layout"
mkdir -p "$(dirname "$layout")"
umoci init --layout "$layout"
umoci new --image "$layout:$version"
umoci insert --image "$layout:$version" "$root" /
umoci config --image "$layout:$version" --config.user 65532:65532 --config.entrypoint /usr/bin/gastank --config.cmd serve \
    --config.volume /data --config.exposedports 7080/tcp --config.exposedports 7080/udp --config.exposedports 7443/udp \
    --config.exposedports 7090/tcp --config.env GASTANK_DATA_DIR=/data --config.env GASTANK_HTTP_ADDR=0.0.0.0:7080 \
    --config.env GASTANK_UDP_ADDR=0.0.0.0:7080 --config.env GASTANK_QUIC_ADDR=0.0.0.0:7443 \
    --config.env GASTANK_ADMIN_ADDR=0.0.0.0:7090 --config.env GASTANK_LOG_FORMAT=json \
    --config.label org.opencontainers.image.title=gastank --config.label "org.opencontainers.image.version=$version"
umoci gc --layout "$layout"
printf '%s: gastank %s, %s\n' "$layout" "$version" "$(du -sh "$layout" | cut -f1)"
