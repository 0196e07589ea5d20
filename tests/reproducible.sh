#!/usr/bin/env bash
# Two packs of one commit give the same bytes.
#
#   reproducible.sh ARCH      out/ARCH is there from `make image`; it is packed once more elsewhere and compared
set -euo pipefail
cd "$(dirname "$0")/.."
arch=$1
again=$(mktemp -d)
trap 'rm -rf "$again"' EXIT
mkdir -p "$again/$arch"
cp "out/$arch/coracle" "out/$arch/coracle-early" "$again/$arch/"
CORACLE_OUT=$again image/build.sh "$arch"
for file in "$again/$arch"/*; do
	cmp "$file" "out/$arch/$(basename "$file")"
	echo "identical: $(basename "$file")"
done
