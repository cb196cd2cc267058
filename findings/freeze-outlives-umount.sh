#!/usr/bin/env bash
# Guess:  a file system that is unmounted is not frozen any more: there is nothing left that could be.
# Seen:   umount(2) of a frozen file system succeeds, and the freeze stays with the block device. The
#         next mount of it is frozen from the beginning, though nobody has frozen that one: FIFREEZE says
#         EBUSY and FITHAW of the new mount succeeds. A program that unmounts
#         what it has frozen, or dies, leaves a disk on which whatever comes next hangs.
# With:   Linux 6.18, ext4, util-linux 2.38.
# Needs:  root, loop devices and mkfs.ext4. All mounts are in a mount namespace of its own.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
truncate -s 16M "$dir/image"
mkfs.ext4 -q "$dir/image"
mkdir "$dir/disk"
cat >"$dir/steps" <<'STEPS'
try() { "$@" 2>/dev/null && echo yes || echo no; }
loop=$(losetup --find --show "$1/image")
trap 'fsfreeze --unfreeze "$1/disk" 2>/dev/null; umount "$1/disk" 2>/dev/null; losetup --detach "$loop"' EXIT
mount "$loop" "$1/disk"
echo "frozen:             $(try fsfreeze --freeze "$1/disk")"
echo "unmounted:          $(try umount "$1/disk")"
echo "mounted again:      $(try mount "$loop" "$1/disk")"
echo "can be frozen:      $(try fsfreeze --freeze "$1/disk")"
echo "can be thawed:      $(try fsfreeze --unfreeze "$1/disk")"
echo "can be frozen now:  $(try fsfreeze --freeze "$1/disk")"
STEPS
unshare --mount bash "$dir/steps" "$dir" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
frozen:             yes
unmounted:          yes
mounted again:      yes
can be frozen:      no
can be thawed:      yes
can be frozen now:  yes
SEEN
echo "as before: a new mount of a frozen disk is frozen (Linux $(uname -r))"
