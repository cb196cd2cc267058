//go:build linux

package cgroup

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// A pool goes on with another one's directory, numbers and leftovers. It ends what lives in
// groups that it is not told of.
func TestOpenSavedGoesOnWithPool(t *testing.T) {
	before, err := Open(func(int) {})
	if err != nil {
		t.Skipf("no cgroups: %v", err)
	}
	inside := func() (*Group, *exec.Cmd) {
		g, err := before.Take(Limits{})
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("sleep", "1000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		if err := os.WriteFile(filepath.Join(g.Path(), "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0); err != nil {
			t.Fatal(err)
		}
		return g, cmd
	}
	known, _ := inside()
	unknown, stray := inside()
	left, daemon := inside()
	before.Give(left)
	saved := before.Save()
	if saved.Lock, err = unix.FcntlInt(uintptr(saved.Lock), unix.F_DUPFD_CLOEXEC, 0); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(saved.Left, left.Path()) {
		t.Errorf("Save = %+v, want %s among what is left", saved, left.Path())
	}
	p, others, err := OpenSaved(saved, []*Saved{known.Save()}, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	if len(others) != 1 || others[0] != unknown.Path() {
		t.Errorf("OpenSaved ends %q, want %s", others, unknown.Path())
	}
	_ = stray.Wait() // by SIGKILL
	if err := daemon.Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("a daemon that was left behind: %v", err)
	}
	g := Adopt(known.Save())
	if g.Empty() || len(g.Members()) != 1 {
		t.Errorf("the adopted group has %v", g.Members())
	}
	fresh, err := p.Take(Limits{})
	if err != nil || fresh.Path() == known.Path() || fresh.Path() == unknown.Path() {
		t.Errorf("Take = %v, %v, want a new group", fresh, err)
	}
	known.Kill()
	left.Kill()
	p.Give(fresh)
	for _, pool := range []*Pool{before, p} {
		if err := pool.Close(); err != nil {
			t.Error(err)
		}
	}
}
