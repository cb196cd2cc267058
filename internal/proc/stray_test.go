//go:build linux

package proc_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// roleVariable makes the test binary a rude program.
const roleVariable = "PROC_TEST_ROLE"

func play(role string) {
	switch role {
	case "strays": // gives its parent children that end at once
		for range 50 {
			pid, _, _ := unix.RawSyscall6(unix.SYS_CLONE, unix.CLONE_PARENT|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
			if pid == 0 {
				_, _, _ = unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
			}
		}
	case "keyed": // has a key in a session keyring, and becomes the rest of its arguments
		_, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0)
		if err == nil {
			_, err = unix.AddKey("user", rootsKey, []byte("secret"), unix.KEY_SPEC_SESSION_KEYRING)
		}
		if err == nil {
			_ = os.Unsetenv(roleVariable)
			err = unix.Exec(os.Args[1], os.Args[1:], os.Environ())
		}
		panic(err)
	case "headless": // lives on when its first thread has exited, in a group of its own
		_ = unix.Setpgid(0, 0)
		ready := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(ready)
			for {
				_ = unix.Pause()
			}
		}()
		<-ready
		fmt.Fprintln(os.Stdout, os.Getpid())
		_, _, _ = unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0) // this is the first thread: init has locked it
	}
}

func init() {
	if os.Getenv(roleVariable) != "" {
		runtime.LockOSThread()
	}
}

// rude is the test binary in a role.
func rude(t *testing.T, role string) proc.Spec {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return proc.Spec{Argv: []string{self}, Env: []string{roleVariable + "=" + role}, Stdout: true}
}

// zombies counts this program's children that have ended and have not been reaped.
func zombies(t *testing.T) int {
	t.Helper()
	n := 0
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		pid, _ := strconv.Atoi(filepath.Base(path))
		if s := statOf(pid); s.state == "Z" && s.parent == os.Getpid() {
			n++
		}
	}
	return n
}

// A command can give the agent children that nobody has asked for: their zombies
// would take all pids.
func TestZombiesOfStraysAreReaped(t *testing.T) {
	bothWays(t, func(t *testing.T, s *proc.Spawner) {
		before := zombies(t)
		c := start(t, s, rude(t, "strays"))
		c.finish(t)
		eventually(t, "no zombie is left", func() bool {
			start(t, s, proc.Spec{Argv: []string{"true"}}).finish(t) // the end of any command will do
			return zombies(t) <= before
		})
	})
}

// A process whose first thread has exited looks like a zombie, and lives.
func TestTerminateEndsProcessesWithoutFirstThread(t *testing.T) {
	bothWays(t, func(t *testing.T, s *proc.Spawner) {
		spec := rude(t, "headless")
		spec.Argv = append([]string{"sh", "-c", `"$0" & wait; sleep 1000`}, spec.Argv...)
		c := start(t, s, spec)
		var pid int
		eventually(t, "the program's pid", func() bool {
			_, err := fmt.Sscan(c.stdout.String(), &pid)
			return err == nil
		})
		eventually(t, "its first thread has exited", func() bool { return statOf(pid).state == "Z" })
		c.Terminate(time.Second)
		c.finish(t)
		eventually(t, "it is gone", func() bool { return statOf(pid).state == "" || threadsOf(pid) == 0 })
	})
}

func threadsOf(pid int) int {
	threads, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	n := 0
	for _, thread := range threads {
		if tid, _ := strconv.Atoi(thread.Name()); tid != pid {
			n++
		}
	}
	return n
}
