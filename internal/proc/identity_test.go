//go:build linux

package proc_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

func TestIdentityIsThatOfAProcess(t *testing.T) {
	asRoot(t)
	if !inOwnProcess(t, withOwnMounts) {
		return
	}
	bind(t, "/etc/passwd", fmt.Sprintf(passwd, "/"))
	bind(t, "/etc/group", group)
	if err := syscall.Setgroups([]int{0, 3001}); err != nil {
		t.Fatal(err)
	}
	s := newSpawner(t)
	for _, test := range []struct {
		user     string
		uid, gid uint32
		groups   []uint32
	}{
		{"", 0, 0, []uint32{0, 3001}},
		{"root", 0, 0, []uint32{0}},
		{"plain", 1234, 1235, []uint32{1235, 2001, 2002}},
		{"1234", 1234, 1235, []uint32{1235, 2001, 2002}},
		{"plain:audio", 1234, 2001, []uint32{1235, 2001, 2002}},
		{"1234:77", 1234, 77, []uint32{77, 1235, 2001, 2002}},
		{"bare", 1300, 1301, []uint32{1301}},
		{"5555", 5555, 5555, []uint32{5555}},
		{"5555:66", 5555, 66, []uint32{66}},
	} {
		got, err := s.Identity(test.user)
		if err != nil || got.UID != test.uid || got.GID != test.gid || !slices.Equal(got.Groups, test.groups) {
			t.Errorf("Identity(%q) = %+v, %v, want %d, %d, %v", test.user, got, err, test.uid, test.gid, test.groups)
		}
		ids := fmt.Sprintln(got.UID, got.GID, strings.Trim(fmt.Sprint(got.Groups), "[]"))
		script := `echo $(id -u) $(id -g) $(id -G | tr ' ' '\n' | sort -nu)`
		if want := output(t, s, proc.Spec{Argv: shell(script), User: test.user}); ids != want {
			t.Errorf("Identity(%q) is %q, a process has %q", test.user, ids, want)
		}
	}
}

func TestIdentityRefusesWhatStartRefuses(t *testing.T) {
	s := newSpawner(t)
	for _, user := range []string{"no-such-user", "root\x00", "root:", "-1", "4294967295", "0:4294967295"} {
		if got, err := s.Identity(user); !errors.Is(err, proc.ErrInvalid) {
			t.Errorf("Identity(%q) = %+v, %v, want %v", user, got, err, proc.ErrInvalid)
		}
	}
}

func TestIdentityOfAnotherUserNeedsRoot(t *testing.T) {
	if !inOwnProcess(t, asItIs) {
		return
	}
	if unix.Geteuid() == 0 {
		// All threads of this process become an ordinary user's.
		if err := errors.Join(syscall.Setgroups([]int{3001}), syscall.Setgid(65534), syscall.Setuid(65534)); err != nil {
			t.Fatal(err)
		}
	}
	s := newSpawner(t)
	for _, user := range []string{"root", "0", "0:0", fmt.Sprint(unix.Getuid() + 1)} {
		if got, err := s.Identity(user); !errors.Is(err, proc.ErrNotPermitted) {
			t.Errorf("Identity(%q) = %+v, %v, want %v", user, got, err, proc.ErrNotPermitted)
		}
	}
	own := fmt.Sprintf("%d:%d", unix.Getuid(), unix.Getgid())
	for _, user := range []string{"", own} {
		got, err := s.Identity(user)
		if err != nil || int(got.UID) != unix.Getuid() || int(got.GID) != unix.Getgid() {
			t.Errorf("Identity(%q) = %+v, %v, want %s", user, got, err, own)
		}
		// It cannot give up groups that it has.
		ids := strings.Fields(output(t, s, proc.Spec{Argv: []string{"id", "-G"}, User: user, Dir: "/"}))
		for _, gid := range got.Groups {
			if !slices.Contains(ids, fmt.Sprint(gid)) {
				t.Errorf("Identity(%q) has group %d, a process has %v", user, gid, ids)
			}
		}
		if len(got.Groups) != len(ids) {
			t.Errorf("Identity(%q) = %+v, a process has groups %v", user, got, ids)
		}
	}
}
