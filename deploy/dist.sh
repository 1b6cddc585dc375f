#!/usr/bin/env bash
# Everything for a release, from a built program, into target/package: the stripped program in a tarball, the image, the chart, the bill of
# materials, and SHA256SUMS over all of them:
#
#   deploy/dist.sh [PROGRAM]      target/dist/gastank
set -euo pipefail
cd "$(dirname "$0")/.."
program=${1:-target/dist/gastank}
out=target/package
version=$("$program" --version | cut -d' ' -f2)
target=$(rustc -vV | sed -n 's/^host: //p')

rm -rf "$out"
mkdir -p "$out"

name=gastank-$version-$target
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
install -D -m 755 "$program" "$work/$name/gastank"
strip "$work/$name/gastank"
install -m 644 LICENSE README.md CHANGELOG.md deploy/systemd/gastank.service deploy/systemd/tls.conf "$work/$name/"
tarball() { tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$(git log -1 --format=%ct)" -C "$1" -czf "$out/$2.tar.gz" "$3"; }
tarball "$work" "$name" "$name"
tarball deploy/kubernetes "gastank-chart-$version" gastank

deploy/sbom.py >"$out/gastank-$version.cdx.json"
if command -v umoci >/dev/null; then
    deploy/container/image.sh "$program" "$work/image"
    tarball "$work" "gastank-image-$version" image
else
    echo "no image: umoci is missing (apt-get install umoci)" >&2
fi
(cd "$out" && sha256sum -- *.* >SHA256SUMS && cat SHA256SUMS)
size=$(stat -c %s "$work/$name/gastank")
printf 'the program is %d MB\n' "$((size / 1000000))"
[ "$size" -lt 25000000 ] || { echo "that is too much: 25 MB is the limit" >&2; exit 1; }
