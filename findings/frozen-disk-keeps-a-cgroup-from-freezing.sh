#!/usr/bin/env bash
# Guess:  cgroup.freeze stops a process wherever it is. One that sleeps in the kernel is as good as stopped:
#         it runs no instruction until it is woken.
# Seen:   a process that waits for a frozen file system is not frozen, and so the cgroup is not: cgroup.events
#         says "frozen 0" as long as the file system is frozen. Whoever freezes both, and waits for each, must
#         freeze the cgroup first, or waits for ever.
# With:   Linux 6.18, ext4, util-linux 2.38.
# Needs:  root, loop devices, mkfs.ext4, and a cgroup v2 that may be written to.
set -euo pipefail

dir=$(mktemp -d)
cgroups=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
[ -n "$cgroups" ] || { echo 'no cgroup v2 is mounted' >&2; exit 1; }
group=$cgroups/finding-$$
mkdir "$group"
trap 'rmdir "$group"; rm -rf "$dir"' EXIT
truncate -s 16M "$dir/image"
mkfs.ext4 -q "$dir/image"
mkdir "$dir/disk"
cat >"$dir/steps" <<'STEPS'
mount -o loop "$1/image" "$1/disk"
end() {
	fsfreeze --unfreeze "$1/disk" 2>/dev/null || true
	echo 1 >"$2/cgroup.kill"
	wait 2>/dev/null || true
	umount "$1/disk"
}
trap 'end "$@"' EXIT
sh -c 'echo $$ >"$0/cgroup.procs"; while echo x; do :; done >"$1/disk/file"' "$2" "$1" &
until [ -s "$1/disk/file" ]; do :; done
state() { # is the cgroup frozen within 2 s?
	echo 1 >"$2/cgroup.freeze"
	for _ in $(seq 200); do
		if grep -q 'frozen 1' "$2/cgroup.events"; then break; fi
		read -rt 0.01 <> <(:) || true
	done
	echo "$1: $(grep frozen "$2/cgroup.events")"
	echo 0 >"$2/cgroup.freeze"
}
state 'a writer                      ' "$2"
fsfreeze --freeze "$1/disk"
size=-1
until [ "$size" = "$(stat -c %s "$1/disk/file")" ]; do size=$(stat -c %s "$1/disk/file"); read -rt 0.1 <> <(:) || true; done
state 'the same, its disk frozen     ' "$2"
fsfreeze --unfreeze "$1/disk"
state 'the same, its disk thawed     ' "$2"
STEPS
unshare --mount bash -e "$dir/steps" "$dir" "$group" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
a writer                      : frozen 1
the same, its disk frozen     : frozen 0
the same, its disk thawed     : frozen 1
SEEN
echo "as before: a frozen disk keeps a cgroup from freezing (Linux $(uname -r))"
