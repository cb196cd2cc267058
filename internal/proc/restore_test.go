//go:build linux

package proc_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// A child that no state names is one of a start that was under way when the agent was replaced.
func TestRestoreEndsStrays(t *testing.T) {
	if _, err := os.ReadFile("/proc/thread-self/children"); err != nil {
		t.Skipf("no CONFIG_PROC_CHILDREN: %v", err)
	}
	child := func() *exec.Cmd {
		cmd := exec.Command("sleep", "1000")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		return cmd
	}
	known, stray := child(), child()
	s := newSpawner(t)
	strays, err := s.Restore(&proc.SavedSpawner{}, []*proc.Saved{{PID: known.Process.Pid}}, func(int) {})
	if err != nil {
		t.Logf("no cgroups: %v", err)
	}
	if len(strays) != 1 || !strings.Contains(strays[0], "(sleep)") {
		t.Errorf("Restore ends %q, want one sleep", strays)
	}
	_ = stray.Wait()
	if sig := stray.ProcessState.Sys().(syscall.WaitStatus).Signal(); sig != unix.SIGKILL {
		t.Errorf("the stray: %v, want %v", stray.ProcessState, unix.SIGKILL)
	}
	if err := known.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the child that is known: %v", err)
	}
}

// A process goes on after it was suspended, and has lost no output.
func TestSuspendedProcessLosesNothing(t *testing.T) {
	s := newSpawner(t)
	p, err := s.Start(proc.Spec{Argv: []string{"sh", "-c", "for i in 1 2 3 4; do echo $i; read -r x; done; exit 6"}, Stdin: true, Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for range 4 {
		copied := make(chan error, 1)
		lines := make(chan bool, 1)
		go func() { // ends by Suspend
			_, _, err := p.Stdout().CopyTo(writerFunc(func(b []byte) (int, error) {
				out.Write(b)
				lines <- true
				return len(b), nil
			}))
			copied <- err
		}()
		<-lines
		waited := make(chan error, 1)
		go func() { waited <- p.Wait() }() // likewise
		p.Suspend()
		if err := <-copied; !errors.Is(err, proc.ErrSuspended) {
			t.Errorf("CopyTo: %v, want %v", err, proc.ErrSuspended)
		}
		if err := <-waited; !errors.Is(err, proc.ErrSuspended) {
			t.Errorf("Wait: %v, want %v", err, proc.ErrSuspended)
		}
		saved, err := p.Save()
		if err != nil || saved.PID != p.PID() || saved.Stdout < 0 || saved.Stderr != -1 {
			t.Errorf("Save = %+v, %v", saved, err)
		}
		p.Resume()
		if _, err := p.Stdin().CopyFrom(cutInput("go\n")); err == nil {
			t.Error("CopyFrom of an input that fails succeeds")
		}
	}
	if _, _, err := p.Stdout().CopyTo(&out); err != nil || out.String() != "1\n2\n3\n4\n" {
		t.Errorf("output %q, %v", &out, err)
	}
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	p.Drain(time.Second)
	if exit, err := p.Reap(); err != nil || exit.Code != 6 {
		t.Errorf("Reap = %+v, %v, want exit status 6", exit, err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// A cutInput is input whose connection is lost behind it.
type cutInput string

func (c cutInput) WriteTo(w io.Writer) (int64, error) {
	n, _ := io.WriteString(w, string(c))
	return int64(n), io.ErrUnexpectedEOF
}
