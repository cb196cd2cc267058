#!/usr/bin/env bash
# Guess:  writing 1 to cgroup.kill kills what is in the cgroup at that moment. A cgroup that was empty
#         then is as good as new.
# Seen:   every process that clone3 puts into such a cgroup later, by CLONE_INTO_CGROUP, is killed before
#         its first instruction, however long ago the write was. A process that is moved in by
#         cgroup.procs lives. A pool of cgroups must not reuse one that somebody may have killed, and any
#         process of root's in the cgroup may.
# With:   Linux 6.18, Go 1.26.
# Needs:  Go, root, and a cgroup v2 that may be written to.
set -euo pipefail

dir=$(mktemp -d)
mount=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
[ -n "$mount" ] || { echo 'no cgroup v2 is mounted' >&2; exit 1; }
group=$mount/finding-$$
mkdir "$group"
trap 'rmdir "$group"; rm -rf "$dir"' EXIT

cat >"$dir/main.go" <<'GO'
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// cloned starts true in the cgroup by clone3.
func cloned(group *os.File) error {
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
	return cmd.Run()
}

// moved starts a shell elsewhere, which goes into the cgroup and then becomes true.
func moved(group *os.File) error {
	return exec.Command("sh", "-c", `echo $$ >"$0" && exec true`, filepath.Join(group.Name(), "cgroup.procs")).Run()
}

func main() {
	group, err := os.Open(os.Args[1])
	if err != nil {
		panic(err)
	}
	fmt.Println("cloned, before:", cloned(group))
	if err := os.WriteFile(filepath.Join(group.Name(), "cgroup.kill"), []byte("1"), 0); err != nil {
		panic(err)
	}
	for range 3 {
		fmt.Println("cloned, after: ", cloned(group))
	}
	fmt.Println("moved, after:  ", moved(group))
}
GO
go run "$dir/main.go" "$group" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
cloned, before: <nil>
cloned, after:  signal: killed
cloned, after:  signal: killed
cloned, after:  signal: killed
moved, after:   <nil>
SEEN
echo "as before: a cgroup that was killed kills what is cloned into it later (Linux $(uname -r))"
