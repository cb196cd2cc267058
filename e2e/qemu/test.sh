#!/usr/bin/env bash
# test.sh [PACKAGE…] runs the short tests of these packages, or of all that can run
# there, in guests of arm64 that QEMU emulates, one for each package.
set -euo pipefail

cd "$(dirname "$0")/../.."
for command in apt-get cpio dpkg-deb qemu-system-aarch64; do
	command -v "$command" >/dev/null && continue
	echo "test-arm64: no $command here: apt-get install cpio qemu-system-arm, on Debian" >&2
	if [ -n "${CI:-}" ]; then exit 1; fi
	echo 'test-arm64: SKIPPED: nothing was tested on arm64' >&2
	exit 0
done

export GUEST=$PWD/bin/qemu/arm64-tests
# Debian's small system: usr-is-merged stands for the perl that would merge it.
MODULES='llc stp bridge veth macvlan' e2e/qemu/image.sh arm64 e2e/qemu/start.sh /usr/local/bin/start "$GUEST" \
	bash coreutils dash diffutils findutils grep hostname iproute2 libc-bin mount procps rsync sed tar usr-is-merged util-linux

go=${GO:-go}
# arrows and docs need the go tool, which the guest does not have.
packages=("$@")
[ $# -gt 0 ] || mapfile -t packages < <("$go" list ./client ./cmd/... ./internal/... | grep -v -e internal/arrows -e internal/docs)
# The skipped test limits how long a command may take beside 20 agents: an emulator takes longer.
CGO_ENABLED=0 GOOS=linux GOARCH=arm64 "$go" test -short -count=1 -timeout 30m -p 1 -skip TestPoolUnderAgentsThatDie -exec "$PWD/e2e/qemu/exec.sh" "${packages[@]}"
