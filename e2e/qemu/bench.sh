#!/usr/bin/env bash
# bench.sh compares bin/bench's agent and client with those of the commit BASE, over
# AF_VSOCK in a guest of QEMU with two CPUs. BENCH_FLAGS are bench's. `make bench-qemu` runs
# it. It needs Debian's archive, cpio and qemu-system-x86, and no KVM.
set -euo pipefail

cd "$(dirname "$0")/../.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/$BASE" "$dir/programs"
git archive "$BASE" | tar -x -C "$dir/$BASE"
bin/bench -against "$dir/$BASE" -build "$dir/programs"
cp bin/bench bin/bench-peer bin/bench-host "$dir"
cp bin/cocoon-agent "$dir/head"

export GUEST=$PWD/bin/qemu/bench
e2e/qemu/image.sh amd64 e2e/qemu/start.sh /usr/local/bin/start "$GUEST" \
	bash coreutils dash libc-bin usr-is-merged util-linux
rm -r "${dir:?}/$BASE"
read -ra flags <<<"${BENCH_FLAGS:-}"
FILES=$dir e2e/qemu/exec.sh bin/bench -vsock -agent "$dir/head" -peer "$dir/bench-peer" -host "$dir/bench-host" \
	-against "$dir/programs" "${flags[@]}"
