#!/usr/bin/env bash
# packages.sh [RELEASE…] installs, upgrades and removes the deb in whole Debian guests of each
# RELEASE. Needs what image.sh and packages.sh need, and keeps its downloads in bin/debian.
set -euo pipefail

cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- bookworm trixie
go=${GO:-go}

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
for version in 0.3.0 0.3.1; do PLATFORMS=linux/amd64 packaging/packages.sh "$version" "$dir/$version"; done
export CGO_ENABLED=0
"$go" build -o "$dir/cocoon-agent" ./cmd/cocoon-agent
(cd e2e/instruments && "$go" build -o "$dir/" ./hybridvsock ./umlguest)
for release; do
	e2e/debian/image.sh "$release" "$dir"/0.3.0/*.deb bin/debian "$dir"/0.3.1/*.deb
done
COCOON_AGENT=$dir/cocoon-agent HYBRIDVSOCK=$dir DEBIAN_IMAGES=$PWD/bin/debian DEBIAN_PACKAGES="$*" \
	"$go" test -tags e2e -count=1 -v -run '^TestPackage' ./e2e/hybrid
