#!/usr/bin/env bash
# The tests over vsock, in guests of User-Mode Linux and QEMU. See e2e/README.md.
#
# HYBRIDVSOCK names a directory with other programs hybridvsock and umlguest than
# those of e2e/instruments, for the tests from host to guest. E2E_LONG has quiesce tested
# with more file systems and copies.
set -euo pipefail

cd "$(dirname "$0")/.."
go=${GO:-go}
PATH=$PATH:/usr/sbin:/sbin # mkfs

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
if [ -z "${HYBRIDVSOCK:-}" ]; then
	HYBRIDVSOCK=$dir
	(cd e2e/instruments && "$go" build -o "$dir/" ./hybridvsock ./umlguest)
fi
export HYBRIDVSOCK

# unless NAME COMMAND… says that NAME is not tested if a command is missing.
unless() {
	local name=$1 command
	shift
	for command; do
		command -v "$command" >/dev/null && continue
		echo "e2e: no $command: $name is SKIPPED" >&2
		[ -z "${CI:-}" ] || exit 1
		return 1
	done
}

if unless QEMU apt-get cpio dpkg-deb qemu-system-x86_64 qemu-system-aarch64; then
	export QEMU_IMAGES=$PWD/bin/qemu
	for arch in amd64 arm64; do
		GOARCH=$arch "$go" build -o "$dir/$arch" ./cmd/cocoon-agent
		e2e/qemu/image.sh "$arch" "$dir/$arch" "$COCOON_AGENT" "$QEMU_IMAGES/$arch"
	done
fi

"$go" test -tags e2e -count=1 -v -exec "$dir/uml" ./e2e/loopback
"$go" test -tags e2e -count=1 -v -exec "$dir/uml" ./e2e/limits
"$go" test -tags e2e -count=1 -v -exec "$dir/uml" ./e2e/systemd
"$go" test -tags e2e -count=1 -v -exec "$dir/uml" ./e2e/reseed
"$go" test -tags e2e -count=1 -v -exec "$dir/uml" ./e2e/quiesce
"$go" test -count=1 -v -run 'Limits|OOMKiller' -exec "$dir/uml" ./internal/proc
"$go" test -count=1 -v -run 'ClockJumps' -exec "$dir/uml" ./cmd/cocoon-agent
"$go" test -tags e2e -count=1 -v ./e2e/hybrid
