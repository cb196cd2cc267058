#!/usr/bin/env bash
# The client of an earlier commit against this tree's agent, and the other way
# round, on a Unix socket. BASE is the commit.
#
# Each side is tested by the checks and the client package of its own tree.
set -euo pipefail

cd "$(dirname "$0")/../.."
go=${GO:-go} base=${BASE:?}

git cat-file -e "$base^{commit}" 2>/dev/null || {
	echo "compat: this clone does not have commit $base: git fetch --unshallow" >&2
	if [ -n "${CI:-}" ]; then exit 1; fi
	echo 'compat: SKIPPED: nothing was tested against another version' >&2
	exit 0
}

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir"
mkdir "$dir/base"
git archive "$base" | tar -x -C "$dir/base"
mkdir -p "$dir/base/e2e/compat"
cp e2e/compat/compat_test.go "$dir/base/e2e/compat"

export CGO_ENABLED=0
"$go" build -o "$dir/new" ./cmd/cocoon-agent
(cd "$dir/base" && "$go" build -o "$dir/old" ./cmd/cocoon-agent)

echo "compat: this tree's client, agent of $base"
COMPAT_CLIENT=$dir/new COCOON_AGENT=$dir/old "$go" test -tags e2e -count=1 -v ./e2e/compat
echo "compat: client of $base, this tree's agent"
cd "$dir/base"
COMPAT_CLIENT=$dir/old COCOON_AGENT=$dir/new "$go" test -tags e2e -count=1 -v ./e2e/compat
