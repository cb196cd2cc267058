//go:build linux

package proc_test

import (
	"errors"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/loadtest"
	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// deny has the kernel answer a system call by errno, from now on and in all threads, as
// the filters of container runtimes and services do.
func deny(tb testing.TB, call uint32, errno unix.Errno) {
	tb.Helper()
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		tb.Fatal(err)
	}
	_, _, err := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&filter)))
	if err != 0 {
		tb.Skipf("seccomp: %v", err)
	}
}

func TestWayIsWhatTheKernelAndItsFiltersAllow(t *testing.T) {
	loadtest.WithoutC(t) // the C library starts no thread if clone3 fails with EPERM
	for _, test := range []struct {
		name  string
		call  uint32
		errno unix.Errno
		want  string
	}{
		{"clone3=ENOSYS", unix.SYS_CLONE3, unix.ENOSYS, "vfork"},
		{"clone3=EPERM", unix.SYS_CLONE3, unix.EPERM, "vfork"},
		{"close_range=ENOSYS", unix.SYS_CLOSE_RANGE, unix.ENOSYS, "clone3, descriptors copied"},
		{"close_range=EPERM", unix.SYS_CLOSE_RANGE, unix.EPERM, "clone3, descriptors copied"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if !inOwnProcess(t, asItIs) {
				return
			}
			proc.ForceStart("")
			deny(t, test.call, test.errno)
			s := newSpawner(t)
			way, why := s.StartWay()
			if way != test.want || !errors.Is(why, test.errno) {
				t.Errorf("StartWay = %s, %v, want %s, %v", way, why, test.want, test.errno)
			}
			if got := output(t, s, proc.Spec{Argv: []string{"echo", "it", "runs"}}); got != "it runs\n" {
				t.Errorf("a command says %q", got)
			}
			if s.UseCgroups(func(int) {}) == nil { // clone3 into a cgroup is denied
				if got := output(t, s, proc.Spec{Argv: []string{"echo", "there"}}); got != "there\n" {
					t.Errorf("a command with a cgroup says %q", got)
				}
			}
		})
	}
}
