#!/usr/bin/env bash
# Guess:  when the last process of a terminal's foreground group has gone, tcgetpgrp(3) on the master
#         gives a number that no process group has, as POSIX asks for.
# Seen:   Linux goes on giving the number of the dead group. The kernel may give that number to another
#         process, which leads a group in a session of its own. Then tcgetpgrp names that group: a
#         stranger to the terminal. A kill(-tcgetpgrp(master), sig) hits the stranger. The ioctl TIOCSIG
#         does not, because the kernel looks the group up itself.
# With:   Linux 6.18, golang.org/x/sys v0.49.0, github.com/creack/pty v1.1.24, Go 1.26.
# Needs:  Go, and root or CAP_CHECKPOINT_RESTORE (it chooses a pid by /proc/sys/kernel/ns_last_pid).
set -euo pipefail

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module finding

go 1.26

require (
	github.com/creack/pty v1.1.24
	golang.org/x/sys v0.49.0
)
MOD
cat >main.go <<'GO'
package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "finding:", err)
		os.Exit(2)
	}
}

// lead runs as the leader of the terminal's session: it has a job run in the
// foreground, reaps it, says its pid, and stays.
func lead() {
	job := exec.Command("true")
	job.Stdin = os.Stdin
	job.SysProcAttr = &syscall.SysProcAttr{Foreground: true, Ctty: 0}
	must(job.Run())
	fmt.Println(job.Process.Pid)
	time.Sleep(time.Minute)
}

// stranger starts a process with a pid of the caller's choice, as the leader of
// a session and a group.
func stranger(pid int) *exec.Cmd {
	for range 1000 {
		must(os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0))
		cmd := exec.Command("sleep", "60")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		must(cmd.Start())
		if cmd.Process.Pid == pid {
			return cmd
		}
		must(cmd.Process.Kill()) // another process was faster
		_ = cmd.Wait()
	}
	must(fmt.Errorf("pid %d was not to be had", pid))
	return nil
}

func foreground(master *os.File) int {
	group, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPGRP)
	must(err)
	return group
}

func main() {
	if len(os.Args) > 1 {
		lead()
		return
	}
	master, slave, err := pty.Open()
	must(err)
	leader := exec.Command("/proc/self/exe", "lead")
	leader.Stdin = slave
	leader.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	out, err := leader.StdoutPipe()
	must(err)
	must(leader.Start())
	defer func() { _ = leader.Process.Kill(); _ = leader.Wait() }()
	line, err := bufio.NewReader(out).ReadString('\n')
	must(err)
	job, err := strconv.Atoi(strings.TrimSpace(line))
	must(err)

	none := unix.Kill(-job, 0)
	fmt.Printf("the job has gone: its number: %t; a group of that number: %v\n", foreground(master) == job, none)
	other := stranger(job)
	session, err := unix.Getsid(job)
	must(err)
	fmt.Printf("the number is a stranger's: tcgetpgrp gives it: %t; its session is the terminal's: %t\n",
		foreground(master) == job, session == leader.Process.Pid)
	must(unix.IoctlSetInt(int(master.Fd()), unix.TIOCSIG, int(unix.SIGQUIT)))
	must(unix.Kill(-foreground(master), unix.SIGINT))
	err = other.Wait()
	fmt.Printf("TIOCSIG sent it SIGQUIT, kill(-tcgetpgrp) sent it SIGINT; what ended it: %v\n", err)
}
GO
go mod tidy >/dev/null 2>&1
CGO_ENABLED=0 go build -o finding .
./finding | tee seen

diff seen - <<'EXPECTED'
the job has gone: its number: true; a group of that number: no such process
the number is a stranger's: tcgetpgrp gives it: true; its session is the terminal's: false
TIOCSIG sent it SIGQUIT, kill(-tcgetpgrp) sent it SIGINT; what ended it: signal: interrupt
EXPECTED
