#!/usr/bin/env bash
# The tests over vsock, in a User-Mode-Linux guest. See e2e/README.md.
#
# HYBRIDVSOCK=FOLDER, of the built programs hybridvsock and umlguest, adds the
# tests from host to guest over a virtio-vsock device.
set -euo pipefail

cd "$(dirname "$0")/.."
go=${GO:-go}

if [ ! -x /usr/bin/linux.uml ] || [ ! -d /usr/lib/uml/modules ]; then
	echo 'e2e: no User-Mode Linux here: apt-get install user-mode-linux' >&2
	if [ -n "${CI:-}" ]; then exit 1; fi
	echo 'e2e: SKIPPED: nothing was tested over vsock' >&2
	exit 0
fi

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir" # other users run the program, too

export CGO_ENABLED=0
"$go" build -o "$dir/cocoon-agent" ./cmd/cocoon-agent
"$go" build -o "$dir/uml" ./e2e/uml
export COCOON_AGENT=$dir/cocoon-agent

"$go" test -tags e2e -count=1 -v -exec "$dir/uml" ./e2e/loopback
"$go" test -tags e2e -count=1 -v -exec "$dir/uml" ./e2e/limits
"$go" test -tags e2e -count=1 -v -exec "$dir/uml" ./e2e/systemd
"$go" test -tags e2e -count=1 -v -exec "$dir/uml" ./e2e/reseed
"$go" test -count=1 -v -run Limits -exec "$dir/uml" ./internal/proc
"$go" test -tags e2e -count=1 -v ./e2e/hybrid
