//go:build linux

package proc_test

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// newSpawner returns one that finds trees by process group, session and parents.
func newSpawner(tb testing.TB) *proc.Spawner {
	tb.Helper()
	clean(tb)
	s, err := proc.NewSpawner()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("close spawner: %v", err)
		}
	})
	return s
}

// newCgroupSpawner returns one that finds trees by cgroup.
func newCgroupSpawner(tb testing.TB) *proc.Spawner {
	tb.Helper()
	s := newSpawner(tb)
	if err := s.UseCgroups(func(int) {}); err != nil {
		tb.Skipf("no cgroups of our own: %v", err)
	}
	return s
}

// bothWays runs a test with cgroups and without.
func bothWays(t *testing.T, test func(*testing.T, *proc.Spawner)) {
	t.Helper()
	t.Run("tree=cgroup", func(t *testing.T) { test(t, newCgroupSpawner(t)) })
	t.Run("tree=family", func(t *testing.T) { test(t, newSpawner(t)) })
}

// A child is a process whose outputs are being read.
type child struct {
	*proc.Process
	stdout, stderr *tape // nil: not wanted
	copying        sync.WaitGroup
	finished       bool
}

// start starts a process. The end of the test ends it.
func start(tb testing.TB, s *proc.Spawner, spec proc.Spec) *child {
	tb.Helper()
	p, err := s.Start(spec)
	if err != nil {
		tb.Fatal(err)
	}
	c := &child{Process: p}
	c.stdout, c.stderr = c.record(p.Stdout()), c.record(p.Stderr())
	tb.Cleanup(func() {
		if !c.finished {
			c.Terminate(0)
			c.finish(tb)
		}
	})
	return c
}

func (c *child) record(o *proc.Output) *tape {
	if o == nil {
		return nil
	}
	t := &tape{}
	c.copying.Go(func() { t.n, t.cut, t.err = o.CopyTo(t) })
	return t
}

// A result is how a child ended and what it said.
type result struct {
	proc.Exit
	stdout, stderr string
	cut            bool
}

// finish waits for the child's end. The test must not be over.
func (c *child) finish(tb testing.TB) result {
	tb.Helper()
	c.finished = true
	if err := c.Wait(); err != nil {
		tb.Errorf("wait: %v", err)
	}
	c.Drain(linger)
	c.copying.Wait()
	exit, err := c.Reap()
	if err != nil {
		tb.Errorf("reap: %v", err)
	}
	r := result{Exit: exit}
	for _, out := range []struct {
		tape *tape
		text *string
	}{{c.stdout, &r.stdout}, {c.stderr, &r.stderr}} {
		if out.tape == nil {
			continue
		}
		*out.text = out.tape.String()
		r.cut = r.cut || out.tape.cut
		if out.tape.err != nil || out.tape.n != int64(len(*out.text)) {
			tb.Errorf("copied %d of %d bytes: %v", out.tape.n, len(*out.text), out.tape.err)
		}
	}
	return r
}

func run(tb testing.TB, s *proc.Spawner, spec proc.Spec) result {
	tb.Helper()
	return start(tb, s, spec).finish(tb)
}

// output runs what must succeed, and returns its stdout.
func output(tb testing.TB, s *proc.Spawner, spec proc.Spec) string {
	tb.Helper()
	spec.Stdout, spec.Stderr = true, true
	r := run(tb, s, spec)
	if r.Code != 0 || r.stderr != "" {
		tb.Fatalf("%q: exit %+v, stderr %q", spec.Argv, r.Exit, r.stderr)
	}
	return r.stdout
}

func shell(script string, args ...string) []string {
	return slices.Concat([]string{"/bin/sh", "-c", script, "sh"}, args)
}

// A tape keeps what a process writes.
type tape struct {
	mu   sync.Mutex
	text strings.Builder

	// Results of CopyTo.
	n   int64
	cut bool
	err error
}

func (t *tape) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

func (t *tape) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// await waits for n whole lines, and returns them.
func (t *tape) await(tb testing.TB, n int) []string {
	tb.Helper()
	eventually(tb, strconv.Itoa(n)+" lines of output", func() bool {
		return strings.Count(t.String(), "\n") >= n
	})
	return strings.Split(t.String(), "\n")[:n]
}

// pid waits for the line that is a pid, and returns that.
func (t *tape) pid(tb testing.TB, line int) int {
	tb.Helper()
	text := t.await(tb, line)[line-1]
	pid, err := strconv.Atoi(text)
	if err != nil {
		tb.Fatalf("line %d is no pid: %q", line, text)
	}
	return pid
}

// asRoot skips what only root can do.
func asRoot(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("only root can change users, mounts and the next pid")
	}
}

// kill ends a process that a child has left behind.
func kill(tb testing.TB, pid int) {
	tb.Helper()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		tb.Errorf("kill %d: %v", pid, err)
	}
	eventually(tb, "the daemon is dead", func() bool { return !alive(pid) })
}
