#!/usr/bin/env bash
# exec.sh BINARY ARG… runs a command in a guest of QEMU. It is made for go test -exec,
# as ../uml is. GUEST names the directory of the guest that image.sh made.
#
# The guest has, at their own places, the binary, the files of the module that the
# working directory is in, and the directory FILES if that is set. It has the caller's
# environment and working directory. Its standard output and error are the caller's
# standard output. The exit status is the command's, or 125 if the guest ended
# without one.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cwd=$PWD module=$(dirname "$(go env GOMOD)") binary=$(realpath "$1")
shift

root=$dir/root
mkdir -p "$root$module" "$root$(dirname "$binary")"
cp "$binary" "$root$binary"
tar -C "$module" --exclude=./.git --exclude=./bin -c . | tar -C "$root$module" -x
[ -z "${FILES:-}" ] || { mkdir -p "$root$FILES" && cp -a "$FILES/." "$root$FILES"; }
unset TMPDIR # which the guest does not have
{
	export -p
	printf 'cd %q\nexec' "$cwd"
	printf ' %q' "$binary" "$@"
} >"$root/command"

# The kernel unpacks one archive after the other.
(cd "$root" && find . | cpio --quiet -o -H newc -R 0:0 | gzip -1) | cat "$GUEST/initrd" - >"$dir/initrd"

mapfile -t qemu <"$GUEST/qemu"
qemu+=(-initrd "$dir/initrd" -serial "file:$dir/console" -device virtio-serial-pci
	-chardev 'file,id=output,path=/dev/stdout,append=on' -device 'virtserialport,chardev=output,nr=1'
	-chardev "file,id=status,path=$dir/status" -device 'virtserialport,chardev=status,nr=2')
# The command has a limit of its own, -test.timeout; this is for a guest that hangs.
timeout --foreground 20m "${qemu[@]}" </dev/null || echo "exec.sh: QEMU ended with status $?" >&2
[ -s "$dir/status" ] || {
	echo "exec.sh: the guest ended before its command did; its kernel said:"
	cat "$dir/console"
	exit 125
} >&2
exit "$(cat "$dir/status")"
