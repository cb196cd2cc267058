//go:build linux

package proc_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/hangtest"
	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// withTable skips a test of what syscall.ForkExec cannot do.
func withTable(tb testing.TB, s *proc.Spawner) {
	tb.Helper()
	if way, _ := s.StartWay(); way == "vfork" {
		tb.Skip("a start that hangs stops the program")
	}
}

// A held start is under way, and hangs.
type held struct {
	cancel context.CancelFunc
	err    chan error
}

// hold starts a spec that hangs, and waits until it does: until its child is there.
func hold(tb testing.TB, s *proc.Spawner, spec proc.Spec) *held {
	tb.Helper()
	before := len(proc.ChildPIDs())
	ctx, cancel := context.WithCancel(context.Background())
	h := &held{cancel, make(chan error, 1)}
	go func() { // ends with the start
		p, err := s.StartContext(ctx, spec)
		if err == nil {
			p.Terminate(0)
			_ = p.Wait()
			p.Drain(linger)
			_, _ = p.Reap()
			err = errors.New("it has started")
		}
		h.err <- err
	}()
	tb.Cleanup(cancel)
	eventually(tb, "a child that hangs", func() bool { return len(proc.ChildPIDs()) > before })
	return h
}

// end ends a start that hangs, and returns its error.
func (h *held) end(tb testing.TB) *proc.HungError {
	tb.Helper()
	h.cancel()
	select {
	case err := <-h.err:
		hung, ok := errors.AsType[*proc.HungError](err)
		if !ok {
			tb.Fatalf("StartContext = %v, want a HungError", err)
		}
		return hung
	case <-time.After(patience):
		tb.Fatal("a start that hangs does not end with its context")
		return nil
	}
}

// goesOn wants commands to run, garbage to be collected and output to end meanwhile.
func goesOn(tb testing.TB, s *proc.Spawner) {
	tb.Helper()
	for range 10 {
		if got := output(tb, s, proc.Spec{Argv: []string{"/bin/echo", "on"}}); got != "on\n" {
			tb.Fatalf("a command beside it says %q", got)
		}
		runtime.GC()
	}
}

func TestHeldExecveHoldsNothingUp(t *testing.T) {
	asRoot(t)
	s := newSpawner(t)
	withTable(t, s)
	path := hangtest.NewProgram(t).Path()
	h := hold(t, s, proc.Spec{Argv: []string{path}, Stdin: true, Stdout: true, Stderr: true})
	goesOn(t, s)
	hung := h.end(t)
	if want := "stuck in execve " + path; hung.Error() != want || hung.PID != 0 {
		t.Errorf("the error is %q, pid %d, want %q", hung, hung.PID, want)
	}
	goesOn(t, s)
}

func TestStartOnAHungMountEndsWithItsContext(t *testing.T) {
	asRoot(t)
	s := newSpawner(t)
	withTable(t, s)
	m := hangtest.NewMount(t)
	dir, script := filepath.Join(m.Path(), "dir"), filepath.Join(m.Path(), "script")
	if r := run(t, s, proc.Spec{Argv: []string{script}, Dir: dir}); r.Code != 0 {
		t.Fatalf("while it answers: %+v", r.Exit)
	}
	m.Stop()
	for _, test := range []struct {
		name string
		spec proc.Spec
		want string
	}{
		{"program", proc.Spec{Argv: []string{script}}, "execve " + script},
		{"interpreter", proc.Spec{Argv: []string{file(t, "x", "#!"+script+"\n", 0o755)}}, "execve "},
		{"PATH", proc.Spec{Argv: []string{"script"}, Env: []string{"PATH=/nowhere:" + m.Path()}}, "execve " + script},
		{"directory", proc.Spec{Argv: []string{"true"}, Dir: dir}, "chdir " + dir},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := hold(t, s, test.spec)
			goesOn(t, s)
			if hung := h.end(t); !strings.Contains(hung.Error(), "stuck in "+test.want) || hung.PID != 0 {
				t.Errorf("the error is %q, pid %d, want %q", hung, hung.PID, test.want)
			}
		})
	}
}

func TestHomeOnAHungMount(t *testing.T) {
	asRoot(t)
	if !inOwnProcess(t, withOwnMounts) {
		return
	}
	m := hangtest.NewMount(t)
	bind(t, "/etc/passwd", fmt.Sprintf(passwd, m.Path()+"/dir"))
	s := newSpawner(t)
	withTable(t, s)
	if got := output(t, s, proc.Spec{Argv: []string{"pwd"}, User: "plain"}); got != m.Path()+"/dir\n" {
		t.Fatalf("while it answers: in %q", got)
	}
	m.Stop()
	h := hold(t, s, proc.Spec{Argv: []string{"true"}, User: "plain"})
	goesOn(t, s)
	if hung := h.end(t); hung.Error() != "stuck in chdir "+m.Path()+"/dir" {
		t.Errorf("the error is %q", hung)
	}
}

// A server that has read a request and does not answer it.
func TestStartThatCannotBeKilledIsLeft(t *testing.T) {
	asRoot(t)
	s := newSpawner(t)
	withTable(t, s)
	m := hangtest.NewMount(t)
	m.Hang()
	h := hold(t, s, proc.Spec{Argv: []string{"true"}, Dir: filepath.Join(m.Path(), "dir")})
	hung := h.end(t)
	if hung.PID == 0 || !alive(hung.PID) || !strings.Contains(hung.Error(), "SIGKILL does not end it") {
		t.Errorf("the error is %q, pid %d", hung, hung.PID)
	}
	if n := s.StartsStuck(); n != 1 {
		t.Errorf("StartsStuck() = %d, want 1", n)
	}
	goesOn(t, s)
	m.End()
	eventually(t, "the child is gone and freed", func() bool { return s.StartsStuck() == 0 && !exists(hung.PID) })
}

func exists(pid int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	return err == nil
}

func TestHeldStartsHoldNoThreads(t *testing.T) {
	asRoot(t)
	s := newSpawner(t)
	withTable(t, s)
	const many = 256
	path := hangtest.NewProgram(t).Path()
	before := threads(t)
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	for range many {
		ended.Go(func() {
			if _, err := s.StartContext(ctx, proc.Spec{Argv: []string{path}, Stdout: true}); err == nil {
				t.Error("a held start has started")
			}
		})
	}
	eventually(t, "all hang", func() bool { return len(proc.ChildPIDs()) >= many })
	goesOn(t, s)
	if n := threads(t); n > before+24 {
		t.Errorf("%d threads, %d before", n, before)
	}
	cancel()
	ended.Wait()
	eventually(t, "no child is left", func() bool { return len(proc.ChildPIDs()) == 0 })
}
