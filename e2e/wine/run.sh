#!/usr/bin/env bash
# run.sh tests the programs of the host's side under Wine, for Windows hosts. Needs what
# root.sh needs, and keeps its downloads in bin/wine.
set -euo pipefail

cd "$(dirname "$0")/../.."
go=${GO:-go}
export WINE=$PWD/bin/wine GOOS=windows CGO_ENABLED=0
e2e/wine/root.sh "$WINE"

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
"$go" build -o "$dir/" ./cmd/cocoon-agent

# check STATUS TEXT ARGUMENT… runs the program, and wants its status and its output.
check() {
	local want=$1 text=$2 said status=0
	shift 2
	said=$(e2e/wine/exec "$dir/cocoon-agent.exe" "$@") || status=$?
	if [ "$status" -ne "$want" ] || ! grep -q -F "$text" <<<"$said"; then
		printf 'cocoon-agent.exe %s: status %d, want %d and "%s":\n%s\n' "$*" "$status" "$want" "$text" "$said" >&2
		exit 1
	fi
	printf 'cocoon-agent.exe %s: %s\n' "$*" "$(head -n 1 <<<"$said")"
}
check 0 'windows/amd64' version
check 0 'Usage: cocoon-agent' --help
check 1 'vsock:// needs Linux' ping --target vsock://3
check 255 'vsock:// needs Linux' client --target vsock://3 -- true
check 1 'serve runs on Linux only' serve

"$go" test -count=1 -exec "$PWD/e2e/wine/exec" ./internal/wire ./internal/mux ./internal/transport ./internal/local ./internal/guest ./internal/ttymode ./client ./cmd/cocoon-agent
