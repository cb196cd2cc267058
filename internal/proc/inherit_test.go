//go:build linux

package proc_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// field returns what a line of /proc/PID/status says.
func field(status, name string) string {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return "no " + name
}

func TestChildLeadsASessionOfItsOwn(t *testing.T) {
	c := start(t, newSpawner(t), proc.Spec{Argv: []string{"sleep", "1000"}})
	if s := statOf(c.PID()); s.session != c.PID() || s.group != c.PID() {
		t.Errorf("process %d: %+v", c.PID(), s)
	}
}

func TestChildHasNoSignalBlockedOrIgnored(t *testing.T) {
	status := output(t, newSpawner(t), proc.Spec{Argv: []string{"cat", "/proc/self/status"}})
	for _, name := range []string{"SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"} {
		if got := field(status, name); strings.Trim(got, "0") != "" {
			t.Errorf("%s of the child is %s, want 0", name, got)
		}
	}
}

func TestChildInheritsNoCapability(t *testing.T) {
	status := output(t, newSpawner(t), proc.Spec{Argv: []string{"cat", "/proc/self/status"}})
	for _, name := range []string{"CapInh", "CapAmb"} {
		if got := field(status, name); strings.Trim(got, "0") != "" {
			t.Errorf("%s of the child is %s, want 0", name, got)
		}
	}
}

// ls itself has the directory open, as 3.
func TestChildHasNoFileOpenButItsThree(t *testing.T) {
	for _, spec := range []proc.Spec{
		{Stdout: true},
		{Stdin: true, Stdout: true},
		{Stdin: true, Stdout: true, Stderr: true},
		{Stdin: true, Stdout: true, Merge: true},
	} {
		spec.Argv = []string{"ls", "/proc/self/fd"}
		c := start(t, newSpawner(t), spec)
		if got := strings.Fields(c.finish(t).stdout); !slices.Equal(got, []string{"0", "1", "2", "3"}) {
			t.Errorf("%+v: %v are open", spec, got)
		}
	}
}

func TestChildsStreamsThatAreNotWantedAreNull(t *testing.T) {
	s := newSpawner(t)
	for fd, spec := range map[string]proc.Spec{
		"0": {Stdout: true, Stderr: true},
		"1": {Stdin: true, Stderr: true},
		"2": {Stdin: true, Stdout: true},
	} {
		spec.Argv = shell(`file=$(readlink /proc/$$/fd/$1); echo "$file" >&$2`, fd, map[bool]string{true: "2", false: "1"}[fd == "1"])
		r := run(t, s, spec)
		if got := r.stdout + r.stderr; got != os.DevNull+"\n" {
			t.Errorf("fd %s is %q", fd, got)
		}
	}
}

func TestChildHasTheUmaskOfTheAgent(t *testing.T) {
	umask := unix.Umask(0o027)
	t.Cleanup(func() { unix.Umask(umask) })
	if got := output(t, newSpawner(t), proc.Spec{Argv: shell("umask")}); got != "0027\n" {
		t.Errorf("got %s", got)
	}
}

// The Go runtime raises the agent's own limit.
func TestChildHasTheAgentsFirstLimitOfOpenFiles(t *testing.T) {
	const limit = 100
	if !inOwnProcess(t, func(cmd *exec.Cmd) { wrap(cmd, fmt.Sprintf("ulimit -S -n %d", limit)) }) {
		return
	}
	if got := output(t, newSpawner(t), proc.Spec{Argv: shell("ulimit -S -n")}); got != fmt.Sprintln(limit) {
		t.Errorf("got %s, want %d", got, limit)
	}
}

func TestChildIsFairGameForTheOOMKiller(t *testing.T) {
	asRoot(t)
	for _, test := range []struct {
		started int // the agent's oom_score_adj
		protect bool
		own     string
		child   string
	}{
		{0, false, "0", "0"},
		{0, true, "-1000", "0"},
		{300, false, "300", "300"},
		{300, true, "-1000", "300"},
		{-500, false, "-500", "0"},
		{-1000, false, "-1000", "0"},
		{-1000, true, "-1000", "0"},
	} {
		t.Run(fmt.Sprintf("started=%d,protect=%t", test.started, test.protect), func(t *testing.T) {
			if (test.protect || test.started < 0) && !has(unix.CAP_SYS_RESOURCE) {
				t.Skip("root lacks CAP_SYS_RESOURCE here; make e2e tests this in a guest")
			}
			script := fmt.Sprintf("echo %d >/proc/self/oom_score_adj", test.started)
			if !inOwnProcess(t, func(cmd *exec.Cmd) { wrap(cmd, script) }) {
				return
			}
			if test.protect {
				if err := proc.Protect(); err != nil {
					t.Fatal(err)
				}
			}
			wantScores(t, test.own, test.child)
		})
	}
}

// has says whether this process has a capability.
func has(capability uint) bool {
	status, _ := os.ReadFile("/proc/self/status")
	set, err := strconv.ParseUint(field(string(status), "CapEff"), 16, 64)
	return err == nil && set&(1<<capability) != 0
}

// wantScores wants an oom_score_adj of the agent, and another one of what it starts.
func wantScores(t *testing.T, own, child string) {
	t.Helper()
	// The child is told after it has been started.
	const script = `while read score </proc/$$/oom_score_adj; [ "$score" != "$1" ]; do sleep 0.01; done; cat /proc/self/oom_score_adj`
	c := start(t, newSpawner(t), proc.Spec{Argv: shell(script, child), Stdout: true})
	if got := c.stdout.await(t, 1); got[0] != child {
		t.Errorf("oom_score_adj of a command = %q, want %q", got, child)
	}
	c.finish(t)
	if got, err := os.ReadFile("/proc/self/oom_score_adj"); string(got) != own+"\n" {
		t.Errorf("oom_score_adj of the agent = %q, %v, want %q", got, err, own)
	}
}

func TestProtectNeedsThePrivilege(t *testing.T) {
	if !inOwnProcess(t, asItIs) {
		return
	}
	if unix.Geteuid() == 0 {
		if err := syscall.Setuid(65534); err != nil { // of all threads
			t.Fatal(err)
		}
	}
	before, _ := os.ReadFile("/proc/self/oom_score_adj")
	if err := proc.Protect(); !errors.Is(err, os.ErrPermission) {
		t.Errorf("Protect = %v, want %v", err, os.ErrPermission)
	}
	if after, err := os.ReadFile("/proc/self/oom_score_adj"); !bytes.Equal(after, before) {
		t.Errorf("oom_score_adj = %q, %v, want %q", after, err, before)
	}
}

// An agent may be started by a shell script, with files open and under nohup.
func TestChildStateIsIndependentOfTheAgentsParent(t *testing.T) {
	const tests = "^TestChild(HasNo|Inherits|Leads|sStreams)"
	t.Run("open files", func(t *testing.T) {
		again(t, tests, func(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{os.Stdin, nil, os.Stdin} })
	})
	t.Run("ignored signals", func(t *testing.T) {
		again(t, tests, func(cmd *exec.Cmd) {
			wrap(cmd, "trap '' HUP INT QUIT ALRM PIPE TERM CHLD CONT TSTP TTIN TTOU USR1 WINCH")
		})
	})
	t.Run("ignored signals of a C library's own", func(t *testing.T) {
		again(t, tests, func(*exec.Cmd) { ignoreLibrarySignals(t) })
	})
	t.Run("blocked signals", func(t *testing.T) {
		again(t, tests, func(*exec.Cmd) { blockSignals(t) })
	})
	t.Run("inheritable capabilities", func(t *testing.T) {
		asRoot(t)
		again(t, tests, func(*exec.Cmd) { inheritCapabilities(t) })
	})
}

// blockSignals changes the thread of the test, which ends with it.
func blockSignals(tb testing.TB) {
	tb.Helper()
	runtime.LockOSThread()
	var all unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &all, nil); err != nil {
		tb.Fatal(err)
	}
}

// inheritCapabilities changes the thread of the test, which ends with it.
func inheritCapabilities(tb testing.TB) {
	tb.Helper()
	runtime.LockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		tb.Fatal(err)
	}
	for i := range data {
		data[i].Inheritable = data[i].Permitted
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		tb.Fatal(err)
	}
}

// ignoreLibrarySignals makes this process ignore the signals that os/signal
// knows nothing of, as one that was started by a careless parent does.
func ignoreLibrarySignals(t *testing.T) {
	t.Helper()
	for sig := uintptr(32); sig <= 34; sig++ {
		var old [4]uint64
		ignore := [4]uint64{1} // SIG_IGN
		set := func(action, old *[4]uint64) {
			if _, _, err := unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig,
				uintptr(unsafe.Pointer(action)), uintptr(unsafe.Pointer(old)), 8, 0, 0); err != 0 {
				t.Fatalf("sigaction(%d): %v", sig, err)
			}
		}
		set(&ignore, &old)
		t.Cleanup(func() { set(&old, nil) })
	}
}

// A handler would interrupt a thread at the end of each child.
func TestNoHandlerForTheEndOfAChild(t *testing.T) {
	newSpawner(t)
	var action [4]uint64
	if _, _, err := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGCHLD),
		0, uintptr(unsafe.Pointer(&action)), 8, 0, 0); err != 0 {
		t.Fatal(err)
	}
	if action[0] != 0 { // SIG_DFL
		t.Errorf("the handler of SIGCHLD is %#x", action[0])
	}
}
