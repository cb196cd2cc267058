#!/usr/bin/env bash
# run.sh [RELEASE…] has whole Debian guests, of each RELEASE, made machines of their own. Needs
# what image.sh needs, and keeps its downloads in bin/debian.
set -euo pipefail

cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- bookworm trixie
go=${GO:-go}

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export CGO_ENABLED=0
"$go" build -o "$dir/cocoon-agent" ./cmd/cocoon-agent
(cd e2e/instruments && "$go" build -o "$dir/" ./hybridvsock ./umlguest)
for release; do
	e2e/debian/image.sh "$release" "$dir/cocoon-agent" bin/debian
done
COCOON_AGENT=$dir/cocoon-agent HYBRIDVSOCK=$dir DEBIAN_IMAGES=$PWD/bin/debian DEBIAN_RELEASES="$*" \
	"$go" test -tags e2e -count=1 -v -run Debian ./e2e/hybrid
