#!/usr/bin/env bash
# run.sh tests the program for Windows under Wine: the host's commands, the agent with clients on
# Linux, the service, and the MSI. Needs what root.sh and msi.sh need, and keeps its downloads in
# bin/wine.
set -euo pipefail

cd "$(dirname "$0")/../.."
go=${GO:-go}
base=${BASE:-$(sed -n 's/^BASE[[:space:]]*?= *//p' Makefile)}
export WINE=$PWD/bin/wine CGO_ENABLED=0
e2e/wine/root.sh "$WINE"

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir"
GOOS=windows "$go" build -o "$dir/" ./cmd/cocoon-agent
GOOS=windows "$go" build -tags loopback -o "$dir/agent.exe" ./cmd/cocoon-agent
GOOS=windows "$go" test -c -o "$dir/tool.exe" ./internal/proc
"$go" build -o "$dir/client" ./cmd/cocoon-agent
mkdir "$dir/base"
git archive "$base" | tar -x -C "$dir/base"
(cd "$dir/base" && "$go" build -o "$dir/old" ./cmd/cocoon-agent)

# check STATUS TEXT ARGUMENT… runs the program, and wants its status and its output.
check() {
	local want=$1 text=$2 said status=0
	shift 2
	said=$(e2e/wine/exec "$dir/cocoon-agent.exe" "$@") || status=$?
	if [ "$status" -ne "$want" ] || ! grep -q -F -e "$text" <<<"$said"; then
		printf 'cocoon-agent.exe %s: status %d, want %d and "%s":\n%s\n' "$*" "$status" "$want" "$text" "$said" >&2
		exit 1
	fi
	printf 'cocoon-agent.exe %s: %s\n' "$*" "$(head -n 1 <<<"$said")"
}
check 0 'windows/amd64' version
check 0 'Usage: cocoon-agent' --help
check 1 'vsock:// needs Linux' ping --target vsock://3
check 255 'vsock:// needs Linux' client --target vsock://3 -- true
check 2 '--user' serve --user somebody
check 4 'not installed' service status

GOOS=windows "$go" test -p 1 -count=1 -exec "$PWD/e2e/wine/exec" ./internal/wire ./internal/mux ./internal/v1 ./internal/transport ./internal/proc ./internal/job ./internal/session ./internal/local ./internal/files ./internal/guest ./internal/ttymode ./client ./cmd/cocoon-agent

e2e/wine/msi.sh

WINE_AGENT=$dir/agent.exe WINE_TOOL=$dir/tool.exe WINE_OLD_CLIENT=$dir/old COCOON_AGENT=$dir/client \
	"$go" test -tags e2e -count=1 -v ./e2e/wine
