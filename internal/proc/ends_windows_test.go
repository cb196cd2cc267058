package proc_test

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

func TestExitCodesHave32Bits(t *testing.T) {
	s := newSpawner(t)
	for _, want := range []uint32{0, 7, 259, 0xC0000005, 0xFFFFFFFF} {
		if got := run(t, s, proc.Spec{Argv: as("exit", strconv.FormatUint(uint64(want), 10))}, nil); got.Status != want || got.Code != int(int32(want)) {
			t.Errorf("status %d, code %d, want %d", got.Status, got.Code, want)
		}
	}
}

func TestTerminateEndsTheTree(t *testing.T) {
	s := newSpawner(t)
	for _, test := range []struct {
		name string
		end  func(*proc.Process) error
		code int
	}{
		{"Terminate", func(p *proc.Process) error { p.Terminate(linger); return nil }, 143},
		{"Terminate at once", func(p *proc.Process) error { p.Terminate(0); return nil }, 137},
		{"TERM", func(p *proc.Process) error { return p.Signal("TERM") }, 143},
		{"KILL", func(p *proc.Process) error { return p.Signal("KILL") }, 137},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, pids := startTree(t, s)
			if !runs(pids[0]) || !runs(pids[1]) || !runs(pids[2]) {
				t.Error("not all run", pids)
			}
			if err := test.end(p); err != nil {
				t.Error(err)
			}
			if got := finishQuietly(t, p); got.Code != test.code {
				t.Errorf("exit %+v, want code %d", got, test.code)
			}
			for _, pid := range pids {
				eventually(t, "the tree has ended", func() bool { return !runs(pid) })
			}
			if err := p.Signal("TERM"); !errors.Is(err, proc.ErrExited) {
				t.Error(err)
			}
		})
	}
}

func TestBackgroundProcessLivesAndHoldsUpNothing(t *testing.T) {
	got := run(t, newSpawner(t), proc.Spec{Argv: as("holder"), Stdout: true}, nil)
	pid, err := strconv.Atoi(strings.TrimSpace(got.stdout))
	if err != nil || got.Code != 0 {
		t.Fatalf("run = %+v, %v, want a pid and code 0", got, err)
	}
	if !runs(pid) {
		t.Error("it does not run any more")
	}
	h, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	_ = h.Kill()
}

func TestNothingOutlivesTheAgentsDeath(t *testing.T) {
	p, err := newSpawner(t).Start(proc.Spec{Argv: as("agent"), Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	var out syncBuffer
	go func() { // ends with the process
		_, _, _ = p.Stdout().CopyTo(&out)
	}()
	eventually(t, "a process of the agent's", func() bool { return strings.HasSuffix(out.String(), "\n") })
	pid, err := strconv.Atoi(strings.TrimSpace(out.String()))
	if err != nil || !runs(pid) {
		t.Fatalf("the process prints %q, want the pid of one that runs", out.String())
	}
	agent, err := os.FindProcess(p.PID()) // not by its job, which has all
	if err != nil {
		t.Fatal(err)
	}
	_ = agent.Kill()
	eventually(t, "it has ended too", func() bool { return !runs(pid) })
	finishQuietly(t, p)
}

func TestInterruptReachesOnlyTheProcessConsole(t *testing.T) {
	s := newSpawner(t)
	start := func() (*proc.Process, *syncBuffer) {
		p, err := s.Start(proc.Spec{Argv: as("interrupted"), Stdout: true})
		if err != nil {
			t.Fatal(err)
		}
		out := &syncBuffer{}
		go func() { // ends with the process
			_, _, _ = p.Stdout().CopyTo(out)
		}()
		eventually(t, "ready", func() bool { return strings.Contains(out.String(), "ready") })
		return p, out
	}
	p, out := start()
	other, quiet := start()
	if err := p.Signal("INT"); err != nil {
		t.Fatal(err)
	}
	if got := finishQuietly(t, p); got.Code != 5 {
		t.Errorf("exit %+v, want code 5", got)
	}
	eventually(t, "it has said so", func() bool { return strings.Contains(out.String(), "interrupted") })
	if strings.Contains(quiet.String(), "interrupted") {
		t.Error("another one was interrupted, too")
	}
	other.Terminate(0)
	finishQuietly(t, other)
}

func TestInterruptRightAfterTheStart(t *testing.T) {
	s := newSpawner(t)
	p, err := s.Start(proc.Spec{Argv: as("sleep")})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Signal("INT"); err != nil {
		t.Fatal(err)
	}
	// STATUS_CONTROL_C_EXIT, or what the Go runtime ends with.
	if got := finishQuietly(t, p); got.Status != 0xC000013A && got.Status != 2 {
		t.Errorf("exit %+v, want status 0xC000013A or 2", got)
	}
}

func TestOtherSignalsAreUnsupported(t *testing.T) {
	for _, name := range []string{"HUP", "1", "SIGUSR1", "nonsense", ""} {
		if _, err := proc.ParseSignal(name); !errors.Is(err, proc.ErrUnsupported) {
			t.Errorf("ParseSignal(%s) = %v, want %v", name, err, proc.ErrUnsupported)
		}
	}
}
