//go:build e2e && linux

package limits_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/e2e/checks"
)

// nobody is a user other than the agent's.
const nobody = 65534

// A child that has become another user and is not the command yet has the agent's memory.
// That user may not get at it, whatever fs.suid_dumpable says, then or later.
func TestUserOfAHeldStartDoesNotReachTheAgent(t *testing.T) {
	suidDumpable(t, "0")
	wantOwnProcessReached(t)
	m := mount(t)
	a := serve(t, root, "")
	m.Stop()
	for _, dumpable := range []string{"0", "1", "2"} {
		t.Run("fs.suid_dumpable="+dumpable, func(t *testing.T) {
			suidDumpable(t, dumpable)
			ctx, kill := context.WithTimeout(t.Context(), checks.Patience)
			defer kill()
			cmd := a.CommandContext(ctx, "true")
			cmd.User, cmd.Dir = fmt.Sprint(nobody), m.Path()+"/dir"
			ended := make(chan error, 1)
			go func() { ended <- cmd.Start() }() // ends with ctx
			child := a.childOf(t, nobody)
			for _, flipped := range []string{dumpable, "0", "1", "2"} {
				suidDumpable(t, flipped)
				wantOutOfReach(t, child)
				wantOutOfReach(t, a.Process.Pid)
			}
			a.lives(t)
			beside := a.command(t, client.Limits{}, "id", "-u")
			beside.User = cmd.User
			if out, err := beside.Output(); string(out) != fmt.Sprintln(nobody) || err != nil {
				t.Errorf("another command of the user: %q, %v", out, err)
			}
			kill()
			checks.Eventually(t, "no child is left", func() bool { return len(a.childPIDs(t)) == 0 })
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("Start = %v, want %v", err, context.Canceled)
			}
		})
	}
}

func suidDumpable(t *testing.T, value string) {
	t.Helper()
	write(t, "/proc/sys/fs/suid_dumpable", value)
}

// childOf waits for a child that has become a user, and returns its pid.
func (a *agent) childOf(t *testing.T, uid int) (pid int) {
	t.Helper()
	checks.Eventually(t, "a child has become the user", func() bool {
		for _, p := range a.childPIDs(t) {
			status, _ := os.ReadFile("/proc/" + p + "/status")
			if strings.Contains(string(status), fmt.Sprintf("\nUid:\t%d\t%[1]d\t%[1]d\t%[1]d\n", uid)) {
				_, err := fmt.Sscan(p, &pid)
				return err == nil
			}
		}
		return false
	})
	return pid
}

// A reached is what nobody gets when it tries to trace a process and to open its memory.
type reached struct{ ptrace, mem error }

// wantOwnProcessReached wants a process of nobody's to be traced by nobody: the attempts
// are such that they can succeed.
func wantOwnProcessReached(t *testing.T) {
	t.Helper()
	own := exec.Command("sleep", "1000")
	own.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if err := own.Start(); err != nil {
		t.Fatal(err)
	}
	if got := reach(own.Process.Pid); got != (reached{}) {
		t.Errorf("a process of the same user: ptrace: %v, mem: %v", got.ptrace, got.mem)
	}
	_ = own.Process.Kill()
	_ = own.Wait()
}

func wantOutOfReach(t *testing.T, pid int) {
	t.Helper()
	if got := reach(pid); !errors.Is(got.ptrace, unix.EPERM) || !errors.Is(got.mem, unix.EACCES) {
		t.Errorf("process %d: ptrace: %v, mem: %v, want %v, %v", pid, got.ptrace, got.mem, unix.EPERM, unix.EACCES)
	}
}

func reach(pid int) reached {
	got := make(chan reached)
	go reachAsNobody(pid, got) // ends with the attempt, and its thread with it
	return <-got
}

func reachAsNobody(pid int, got chan<- reached) {
	runtime.LockOSThread()
	for _, call := range [][2]uintptr{{unix.SYS_SETGROUPS, 0}, {unix.SYS_SETGID, nobody}, {unix.SYS_SETUID, nobody}} {
		if _, _, errno := unix.RawSyscall(call[0], call[1], 0, 0); errno != 0 {
			got <- reached{errno, errno}
			return
		}
	}
	attached := unix.PtraceAttach(pid) // until the thread ends
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err == nil {
		_ = f.Close()
	}
	got <- reached{attached, err}
}
