#!/usr/bin/env bash
# Guess:  a syscall.Exec that fails changes nothing: the program goes on as it was.
# Seen:   Go's runtime raises the soft limit of open files at its start, and Exec sets it back before
#         execve(2), for the next program. If execve fails, the limit stays low. A server with more
#         descriptors than that cannot open, accept or connect any more (EMFILE). Raising it by
#         syscall.Setrlimit has Go forget the first limit, and every child gets the high one then, so that
#         programs which use select(2), or close all descriptors up to the limit, suffer.
# With:   Go 1.26, Linux 6.18.
# Needs:  Go.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat >"$dir/main.go" <<'GO'
package main

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
)

func report(when string) {
	var own syscall.Rlimit
	_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &own)
	child, _ := exec.Command("sh", "-c", "ulimit -Sn").Output()
	fmt.Printf("%s own %d, a child's %s\n", when, own.Cur, strings.TrimSpace(string(child)))
}

func main() {
	report("at first:            ")
	_ = syscall.Exec("/nonexistent", []string{"x"}, nil)
	report("after a failed Exec: ")
	var own syscall.Rlimit
	_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &own)
	own.Cur = own.Max
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &own)
	report("raised again:        ")
}
GO
go build -o "$dir/program" "$dir/main.go"
bash -c 'ulimit -Sn 256; ulimit -Hn 4096; exec "$1"' - "$dir/program" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
at first:             own 4095, a child's 256
after a failed Exec:  own 256, a child's 256
raised again:         own 4096, a child's 4096
SEEN
echo "as before: a failed syscall.Exec lowers the limit of open files ($(go version))"
