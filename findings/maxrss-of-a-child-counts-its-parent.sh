#!/usr/bin/env bash
# Guess:  ru_maxrss of wait4(2), and so os.ProcessState's SysUsage, is the largest memory of the command.
# Seen:   Go starts a command by vfork, and until its execve(2) the child runs in the memory of its
#         parent. The kernel counts that for the child: "true" from a program that has used 300 MiB has
#         used 300 MiB, too. A server that bills commands by ru_maxrss bills its own size.
# With:   Go 1.26, Linux 6.18.
# Needs:  Go.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat >"$dir/main.go" <<'GO'
package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// maxRSS is what a command has used at most, in MiB.
func maxRSS(name string) int64 {
	cmd := exec.Command(name)
	if err := cmd.Run(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	return cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss >> 10
}

func main() {
	before := maxRSS("true")
	used := make([]byte, 300<<20)
	for i := 0; i < len(used); i += 4096 {
		used[i] = 1
	}
	after := maxRSS("true")
	fmt.Printf("true, from a small program: under 50 MiB: %t; from one with 300 MiB: %t at least\n", before < 50, after >= 300)
	_ = used[0]
}
GO
go build -o "$dir/program" "$dir/main.go"
"$dir/program" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
true, from a small program: under 50 MiB: true; from one with 300 MiB: true at least
SEEN
echo "as before: ru_maxrss of a child counts its parent's memory ($(go version), $(uname -r))"
