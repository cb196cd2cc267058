package proc_test

import (
	"bytes"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

func newSpawner(tb testing.TB) *proc.Spawner {
	tb.Helper()
	s, err := proc.NewSpawner()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// A finished process is what a run ends with.
type finished struct {
	proc.Exit
	stdout, stderr string
}

// run runs a process to its end.
func run(tb testing.TB, s *proc.Spawner, spec proc.Spec, stdin io.WriterTo) finished {
	tb.Helper()
	spec.Stdin = spec.Stdin || stdin != nil
	p, err := s.Start(spec)
	if err != nil {
		tb.Fatal(err)
	}
	return finish(tb, p, stdin)
}

// finish feeds a process, reads it and reaps it.
func finish(tb testing.TB, p *proc.Process, stdin io.WriterTo) finished {
	tb.Helper()
	var all sync.WaitGroup
	if stdin != nil {
		go func() { // ends with Reap
			_, _ = p.Stdin().CopyFrom(stdin)
		}()
	}
	var outputs [2]bytes.Buffer
	for i, o := range []*proc.Output{p.Stdout(), p.Stderr()} {
		if o != nil {
			all.Go(func() {
				if _, _, err := o.CopyTo(&outputs[i]); err != nil {
					tb.Error(err)
				}
			})
		}
	}
	if err := p.Wait(); err != nil {
		tb.Error(err)
	}
	p.Drain(linger)
	all.Wait()
	e, err := p.Reap()
	if err != nil {
		tb.Error(err)
	}
	return finished{e, outputs[0].String(), outputs[1].String()}
}

// startTree starts three processes, one below the other, and returns their pids.
func startTree(t *testing.T, s *proc.Spawner) (*proc.Process, []int) {
	t.Helper()
	p, err := s.Start(proc.Spec{Argv: as("tree", "2"), Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	var out syncBuffer
	go func() { // ends with the tree
		_, _, _ = p.Stdout().CopyTo(&out)
	}()
	eventually(t, "three processes", func() bool { return strings.Count(out.String(), "\n") == 3 })
	var pids []int
	for _, word := range strings.Fields(out.String()) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return p, pids
}

// runs reports whether there is a process with a pid.
func runs(pid int) bool {
	h, err := windows.OpenProcess(windows.SYNCHRONIZE, false, uint32(pid))
	if err != nil {
		return false
	}
	defer func() { _ = windows.CloseHandle(h) }()
	state, err := windows.WaitForSingleObject(h, 0)
	return err == nil && state == uint32(windows.WAIT_TIMEOUT)
}

// finishQuietly reaps a process whose output somebody else copies.
func finishQuietly(t *testing.T, p *proc.Process) proc.Exit {
	t.Helper()
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
	p.Drain(linger)
	e, err := p.Reap()
	if err != nil {
		t.Error(err)
	}
	return e
}

// wine reports whether this is Wine and no Windows.
func wine() bool {
	return windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil
}

// A syncBuffer is a bytes.Buffer that one goroutine writes and another one reads.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// threads counts those of this program.
func threads(tb testing.TB) (n int) {
	tb.Helper()
	all, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPTHREAD, 0)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = windows.CloseHandle(all) }()
	var x windows.ThreadEntry32
	x.Size = uint32(unsafe.Sizeof(x))
	for err = windows.Thread32First(all, &x); err == nil; err = windows.Thread32Next(all, &x) {
		if x.OwnerProcessID == windows.GetCurrentProcessId() {
			n++
		}
	}
	return n
}
