#!/usr/bin/env bash
# Guess:  a program that re-executes itself on SIGHUP survives a SIGHUP in between if it blocks that signal
#         before execve(2): a blocked signal stays blocked and pending in the next program, until that
#         asks for it by signal.Notify.
# Seen:   Go's runtime unblocks SIGHUP, SIGINT and SIGTERM in every program before main runs. A SIGHUP that is
#         pending then ends the program, whose main has not begun. Only an ignored signal is safe: the
#         runtime leaves SIG_IGN as it finds it.
# With:   Go 1.26, Linux 6.18.
# Needs:  Go and python3, which starts the program with a signal that is pending.
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat >"$dir/main.go" <<'GO'
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	fmt.Println("main runs")
}
GO
go build -o "$dir/program" "$dir/main.go"
cat >"$dir/start.py" <<'PY'
import os, signal, subprocess, sys

def pending():
    if sys.argv[2] == "ignored":
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    os.kill(os.getpid(), signal.SIGHUP)

ended = subprocess.run([sys.argv[1]], preexec_fn=pending, capture_output=True, text=True)
print(f"{sys.argv[2]}: status {ended.returncode}, {ended.stdout.strip() or 'main does not run'}")
PY
for way in blocked ignored; do python3 "$dir/start.py" "$dir/program" "$way"; done | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
blocked: status -1, main does not run
ignored: status 0, main runs
SEEN
echo "as before: Go unblocks SIGHUP before main ($(go version))"
