#!/usr/bin/env bash
# run.sh has guests whose agent is started by other init systems than systemd. Needs what image.sh
# and packages.sh need, and keeps its downloads in bin/inits.
set -euo pipefail

cd "$(dirname "$0")/../.."
go=${GO:-go}

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export CGO_ENABLED=0
"$go" build -o "$dir/cocoon-agent" ./cmd/cocoon-agent
(cd e2e/instruments && "$go" build -o "$dir/" ./hybridvsock ./umlguest)
PLATFORMS=linux/amd64 packaging/packages.sh 0.3.0 "$dir/packages"
e2e/inits/image.sh "$dir/cocoon-agent" bin/inits "$dir"/packages/*.apk
COCOON_AGENT=$dir/cocoon-agent HYBRIDVSOCK=$dir INITS_IMAGE=$PWD/bin/inits/inits.ext4 \
	"$go" test -tags e2e -count=1 -v -timeout 30m -run '^TestInit' ./e2e/hybrid
