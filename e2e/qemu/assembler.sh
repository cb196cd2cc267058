#!/usr/bin/env bash
# assembler.sh tests the assembler of internal/proc/clone for the other architectures, by
# qemu-user: it carries out tables, but knows no clone3.
set -euo pipefail

cd "$(dirname "$0")/../.."
go=${GO:-go}
mkdir -p bin/qemu
for pair in amd64:x86_64 arm64:aarch64 riscv64:riscv64; do
	arch=${pair%:*} emulator=qemu-${pair#*:}
	if ! command -v "$emulator" >/dev/null; then
		echo "assembler: no $emulator here: apt-get install qemu-user, on Debian" >&2
		if [ -n "${CI:-}" ]; then exit 1; fi
		echo "assembler: SKIPPED: nothing was tested on $arch" >&2
		continue
	fi
	CGO_ENABLED=0 GOOS=linux GOARCH=$arch "$go" test -c -o "bin/qemu/clone-$arch" ./internal/proc/clone
	CLONE_TEST_BINARY="$emulator $PWD/bin/qemu/clone-$arch" "$go" test -count=1 -run TestTableIsCarriedOutAsWritten ./internal/proc/clone
done
