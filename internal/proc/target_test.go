//go:build linux

package proc_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

func TestSendHitsTheProcessThatWasFound(t *testing.T) {
	for name, test := range map[string]struct {
		ticks uint64
		moved bool
		want  error
	}{
		"the same":              {0, false, nil},
		"one that is younger":   {1, false, unix.ESRCH},
		"one of the same tick":  {0, true, unix.ESRCH},
		"younger and elsewhere": {1, true, unix.ESRCH},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStranger(t)
			t.Cleanup(s.end)
			if err := proc.SendFound(s.Process.Pid, unix.SIGSTOP, test.ticks, test.moved); !errors.Is(err, test.want) {
				t.Errorf("SendFound(%d ticks, moved %v) = %v, want %v", test.ticks, test.moved, err, test.want)
			}
			if test.want != nil {
				s.survives(t)
				return
			}
			eventually(t, "it has stopped", func() bool { return statOf(s.Process.Pid).state == "T" })
		})
	}
}

func TestChildOfAPidsNextOwnerIsNotAMember(t *testing.T) {
	c := ready(t, newSpawner(t), "sh -c 'echo $$; sleep 1000; :'", 1)
	parent := c.stdout.pid(t, 1)
	var child int
	eventually(t, "it has a child", func() bool {
		for _, pid := range pids() {
			if statOf(pid).parent == parent {
				child = pid
			}
		}
		return child != 0
	})
	const main = 1 << 23 // no process has that pid
	for ticks, want := range map[uint64]bool{0: true, 1: false} {
		if got := proc.IsMember(main, child, parent, ticks); got != want {
			t.Errorf("IsMember(parent found %d ticks older) = %v, want %v", ticks, got, want)
		}
	}
}

// scattered are processes in three groups and two sessions; each names USR1.
const scattered = `
	trap 'echo main' USR1
	setsid sh -c 'trap "echo session" USR1; echo ready; while :; do sleep 0.02; done' &
	bash --norc -mc "sh -c 'trap \"echo group\" USR1; echo ready; while :; do sleep 0.02; done' & wait; wait" &
	echo ready` + forever

func wantScattered(t *testing.T, c *child, want ...string) {
	t.Helper()
	if err := c.Signal("USR1"); err != nil {
		t.Errorf("Signal(USR1) = %v, want nil", err)
	}
	for _, name := range want {
		c.stdout.awaitText(t, name+"\n")
	}
}

func TestSignalReachesEachGroupAndSession(t *testing.T) {
	bothWays(t, func(t *testing.T, s *proc.Spawner) {
		wantScattered(t, ready(t, s, scattered, 3), "main", "session", "group")
	})
}

func TestSignalReachesADaemonByItsCgroup(t *testing.T) {
	c := ready(t, newCgroupSpawner(t), "exec 3>&1; trap 'echo main' USR1; ("+
		strings.Replace(daemon, "echo $$", `trap "echo daemon >&3" USR1; echo $$`, 1)+") "+forever, 1)
	if s := statOf(c.stdout.pid(t, 1)); s.parent == c.PID() || s.session == c.PID() {
		t.Fatalf("that is no daemon: %+v", s)
	}
	wantScattered(t, c, "main", "daemon")
}

func TestSignalWorksWithoutPidfdOpen(t *testing.T) {
	if !inOwnProcess(t, asItIs) {
		return
	}
	forbidPidfdOpen(t)
	bothWays(t, func(t *testing.T, s *proc.Spawner) {
		wantScattered(t, ready(t, s, scattered, 3), "main", "session", "group")
		other := newStranger(t)
		t.Cleanup(other.end)
		if err := proc.SendFound(other.Process.Pid, unix.SIGTERM, 1, false); !errors.Is(err, unix.ESRCH) {
			t.Errorf("SendFound(1 tick) = %v, want %v", err, unix.ESRCH)
		}
		other.survives(t)
	})
}

// forbidPidfdOpen makes this process's kernel one without pidfd_open.
func forbidPidfdOpen(t *testing.T) {
	t.Helper()
	const (
		load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		answer = unix.BPF_RET | unix.BPF_K

		setFilter, allThreads = 1, 1 // SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC
		refuse, allow         = 0x00050000, 0x7fff0000
	)
	filter := []unix.SockFilter{
		{Code: load, K: 0}, // the number of the system call
		{Code: equal, K: unix.SYS_PIDFD_OPEN, Jf: 1},
		{Code: answer, K: refuse | uint32(unix.ENOSYS)},
		{Code: answer, K: allow},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, setFilter, allThreads, uintptr(unsafe.Pointer(&program))); errno != 0 {
		t.Skipf("no seccomp here: %v", errno)
	}
	if _, err := unix.PidfdOpen(os.Getpid(), 0); !errors.Is(err, unix.ENOSYS) {
		t.Fatalf("PidfdOpen = %v, want %v", err, unix.ENOSYS)
	}
}

func TestSignalWorksWithoutProc(t *testing.T) {
	asRoot(t)
	if !inOwnProcess(t, withOwnMounts) {
		return
	}
	for name, test := range map[string]struct {
		spawner func(testing.TB) *proc.Spawner
		want    []string
	}{
		"tree=cgroup": {newCgroupSpawner, []string{"main", "session", "group"}},
		"tree=family": {newSpawner, []string{"main"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := test.spawner(t)
			c := ready(t, s, scattered, 3)
			tty := start(t, s, proc.Spec{
				Argv:     []string{"bash", "--norc", "-mc", `sh -c "$JOB"; :`},
				Env:      []string{"JOB=" + reports("job") + forever},
				Terminal: &proc.Terminal{},
			})
			tty.stdout.awaitText(t, "job=ready")
			if err := unix.Unmount("/proc", unix.MNT_DETACH); err != nil {
				t.Fatal(err)
			}
			wantScattered(t, c, test.want...)
			for _, sig := range jobSignals[:5] { // TSTP would stop the job's child
				if err := tty.Signal(sig); err != nil {
					t.Errorf("Signal(%v) = %v, want nil", sig, err)
				}
				tty.stdout.awaitText(t, "job="+string(sig))
			}
			if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
				t.Fatal(err)
			}
		})
	}
}
