//go:build linux

package proc_test

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// everywhere returns a function that makes a system call on all threads.
func everywhere(call, a, b, c uintptr) func() error {
	return func() error {
		if _, _, errno := syscall.AllThreadsSyscall(call, a, b, c); errno != 0 {
			return errno
		}
		return nil
	}
}

func prctl(option, value uintptr) func() error { return everywhere(unix.SYS_PRCTL, option, value, 0) }

// localMemory sets a memory policy, set_mempolicy(2).
func localMemory() error {
	const local = 4 // MPOL_LOCAL
	if _, err := os.Stat("/proc/self/numa_maps"); err != nil {
		return err
	}
	return everywhere(unix.SYS_SET_MEMPOLICY, local, 0, 0)()
}

const addrNoRandomize = 0x40000 // personality(2)

var firstCPU uint64 = 1

// execve and setuid leave much alone: see the table in docs/architecture.md.
func TestWhatACommandInherits(t *testing.T) {
	for _, test := range []struct {
		name    string
		prepare func() error // in the agent; nil: nothing
		command []string
		want    string
		root    bool
	}{
		{name: "loginuid", command: []string{"cat", "/proc/self/loginuid"}, want: "4294967295"},
		{name: "securebits", root: true, prepare: prctl(unix.PR_SET_SECUREBITS, 1<<2), command: []string{"setpriv", "--dump"}, want: "no_setuid_fixup"},
		{name: "no_new_privs", prepare: prctl(unix.PR_SET_NO_NEW_PRIVS, 1), command: []string{"grep", "NoNewPrivs", "/proc/self/status"}, want: "NoNewPrivs:\t1"},
		{name: "timer slack", prepare: prctl(unix.PR_SET_TIMERSLACK, 77_777), command: []string{"cat", "/proc/self/timerslack_ns"}, want: "77777"},
		{name: "rlimits", prepare: func() error {
			return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 4096, Max: 8192})
		}, command: shell("ulimit -S -c; ulimit -H -c"), want: "8\n16"},
		{name: "nice", prepare: everywhere(unix.SYS_SETPRIORITY, unix.PRIO_PROCESS, 0, 7), command: []string{"nice"}, want: "7"},
		{name: "affinity", prepare: everywhere(unix.SYS_SCHED_SETAFFINITY, 0, 8, uintptr(unsafe.Pointer(&firstCPU))), command: []string{"grep", "Cpus_allowed_list", "/proc/self/status"}, want: "Cpus_allowed_list:\t0"},
		{name: "coredump filter", prepare: func() error { return os.WriteFile("/proc/self/coredump_filter", []byte("0x21"), 0) }, command: []string{"cat", "/proc/self/coredump_filter"}, want: "00000021"},
		{name: "memory policy", prepare: localMemory, command: shell("read a b c </proc/$$/numa_maps; echo $b"), want: "local"},
		{name: "personality", prepare: everywhere(unix.SYS_PERSONALITY, addrNoRandomize, 0, 0), command: []string{"cat", "/proc/self/personality"}, want: "00040000"},
		{name: "dumpable", prepare: prctl(unix.PR_SET_DUMPABLE, 0), command: shell("[ -O /proc/$$/maps ] && echo own"), want: "own"},
		{name: "controlling terminal", command: shell("(exec 3</dev/tty) || echo none"), want: "none"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.root {
				asRoot(t)
			}
			if !inOwnProcess(t, asItIs) {
				return
			}
			if test.prepare != nil {
				if err := test.prepare(); err != nil {
					t.Skipf("not here: %v", err)
				}
			}
			c := start(t, newSpawner(t), proc.Spec{Argv: test.command, Stdout: true})
			if r := c.finish(t); !strings.Contains(r.stdout, test.want) {
				t.Errorf("a command has %q, want %q", r.stdout, test.want)
			}
		})
	}
}
