//go:build linux

package client_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// endsBy runs a command in a guest of an OS, which ends it by x.
func endsBy(t *testing.T, os string, x wire.Exited) (*client.Client, *client.Cmd, error) {
	t.Helper()
	c, g := mute(t)
	g.offend(&wire.Hello{Min: 2, Max: 2, OS: os})
	cmd := c.Command("anything")
	result := make(chan error, 1)
	go func() { result <- cmd.Run() }() // ends by exited
	e, _ := g.exec()
	x.ID = e.ID
	g.send(&x)
	err := <-result
	go func() { // ends with the connection
		if m, err := wire.Read(g.in); err == nil {
			_, id := wire.About(m)
			g.offend(&wire.Done{Head: wire.Head{ID: id}})
		}
	}()
	return c, cmd, err
}

func TestExitRecordThatCannotBeIsALostExit(t *testing.T) {
	for name, x := range map[string]wire.Exited{
		"code 256":                   {Code: 256, Reason: wire.ReasonExit},
		"code 512":                   {Code: 512, Reason: wire.ReasonExit},
		"code -256":                  {Code: -256, Reason: wire.ReasonExit},
		"code -2":                    {Code: -2, Reason: wire.ReasonExit},
		"code -1 without a signal":   {Code: -1, Reason: wire.ReasonExit},
		"killed without a signal":    {Code: -1, Reason: wire.ReasonKilled},
		"signal 128":                 {Code: -1, SignalNumber: 128, Reason: wire.ReasonSignal},
		"signal 384":                 {Code: -1, SignalNumber: 384, Reason: wire.ReasonSignal},
		"signal 65":                  {Code: -1, SignalNumber: 65, Reason: wire.ReasonSignal},
		"signal -128":                {Code: -1, SignalNumber: -128, Reason: wire.ReasonSignal},
		"a signal and a code":        {Code: 0, SignalNumber: 9, Reason: wire.ReasonSignal},
		"a signal and an exit":       {Code: -1, SignalNumber: 9, Reason: wire.ReasonExit},
		"a signal without a number":  {Code: 0, Signal: "KILL", Reason: wire.ReasonExit},
		"a signal as reason, and no": {Code: 0, Reason: wire.ReasonSignal},
		"out of memory, and success": {Code: 0, Reason: wire.ReasonExit, OOMKilled: true},
		"a core dump, and success":   {Code: 0, Reason: wire.ReasonExit, CoreDumped: true},
	} {
		t.Run(name, func(t *testing.T) {
			c, cmd, err := endsBy(t, "linux", x)
			lost, ok := errors.AsType[*client.LostExitError](err)
			if !ok || lost.PID != 42 || !errors.Is(err, client.ErrProtocol) {
				t.Errorf("Run = %v (%T), want a LostExitError that wraps ErrProtocol", err, err)
			}
			if cmd.ProcessState != nil || cmd.ProcessState.ExitCode() != -1 {
				t.Errorf("ProcessState = %v, want nil", cmd.ProcessState)
			}
			if err := c.Ping(patiently(t)); err != nil {
				t.Errorf("Ping = %v: the connection is to live on", err)
			}
		})
	}
}

func TestExitOfWindowsHasAnyCodeOf32Bits(t *testing.T) {
	for code, want := range map[int]struct {
		code, status int
		text         string
	}{
		1:                 {1, 1, "exit status 1"},
		255:               {255, 255, "exit status 255"},
		256:               {256, 1, "exit status 0x00000100"},
		257:               {257, 1, "exit status 0x00000101"},
		512:               {512, 1, "exit status 0x00000200"},
		0x1fe:             {0x1fe, 0xfe, "exit status 0x000001fe"},
		-1073741819:       {0xc0000005, 5, "exit status 0xc0000005"},
		-1073741510:       {0xc000013a, 0x3a, "exit status 0xc000013a"},
		-1:                {math.MaxUint32, 255, "exit status 0xffffffff"},
		-256:              {0xffffff00, 1, "exit status 0xffffff00"},
		math.MinInt32:     {1 << 31, 1, "exit status 0x80000000"},
		math.MaxInt32 - 1: {math.MaxInt32 - 1, 0xfe, "exit status 0x7ffffffe"},
	} {
		_, _, err := endsBy(t, "windows", wire.Exited{Code: code, Status: uint32(code), Reason: wire.ReasonExit})
		exit, ok := errors.AsType[*client.ExitError](err)
		if !ok || exit.ExitCode() != want.code || exit.ExitStatus() != want.status || exit.Error() != want.text || exit.Success() {
			t.Errorf("code %d: Run = %v, code %d, status %d; want %+v", code, err, exit.ExitCode(), exit.ExitStatus(), want)
		}
	}
	if _, _, err := endsBy(t, "windows", wire.Exited{Reason: wire.ReasonExit}); err != nil {
		t.Errorf("code 0: Run = %v, want success", err)
	}
}

func TestContradictoryExitOfWindowsIsALostExit(t *testing.T) {
	for _, x := range []wire.Exited{
		{Code: 5, Status: 6, Reason: wire.ReasonExit},
		{Code: -1, Status: 1, Reason: wire.ReasonExit},
		{Code: 0, Status: 1 << 31, Reason: wire.ReasonExit},
		{Code: -1, SignalNumber: 9, Reason: wire.ReasonSignal},
		{Signal: "KILL", Reason: wire.ReasonExit},
		{Reason: wire.ReasonSignal},
	} {
		_, _, err := endsBy(t, "windows", x)
		if _, ok := errors.AsType[*client.LostExitError](err); !ok || !errors.Is(err, client.ErrProtocol) {
			t.Errorf("%+v: Run = %v (%T), want a LostExitError that wraps ErrProtocol", x, err, err)
		}
	}
}

func TestExitForAnUnknownReasonIsNotSuccess(t *testing.T) {
	_, _, err := endsBy(t, "linux", wire.Exited{Reason: "later\x1b"})
	exit := wantExit(t, err, 0)
	if want := `exit status 0 (reason "later` + "\ufffd" + `")`; exit.Error() != want {
		t.Errorf("Run = %v, want %s", err, want)
	}
}

func TestExitRecordsTextsAreBoundedAndPrintable(t *testing.T) {
	_, _, err := endsBy(t, "linux", wire.Exited{
		Code: -1, SignalNumber: 9, Signal: "\x1b" + strings.Repeat("K", 1<<16), Reason: wire.ReasonSignal, UserUS: math.MaxUint64,
	})
	exit := wantExit(t, err, 137)
	if len(exit.Signal()) > 64 || strings.Contains(exit.Error(), "\x1b") {
		t.Errorf("Signal = %d bytes, %.20q", len(exit.Signal()), exit.Signal())
	}
	if got := exit.UserTime(); got < 292*365*24*time.Hour {
		t.Errorf("UserTime = %v, want the longest time there is", got)
	}
}

func TestStartedWithoutAPIDIsNotStarted(t *testing.T) {
	for _, pid := range []int{0, -1, -5, math.MinInt32} {
		c, g := hostile(t)
		cmd := c.Command("anything")
		result := make(chan error, 1)
		go func() { result <- cmd.Start() }() // ends by started
		e := g.receive().(*wire.Exec)
		g.send(&wire.Started{Head: wire.Head{ID: e.ID}, PID: pid})
		err := <-result
		if _, ok := errors.AsType[*client.MaybeStartedError](err); !ok || !errors.Is(err, client.ErrProtocol) {
			t.Errorf("pid %d: Start = %v (%T), want a MaybeStartedError that wraps ErrProtocol", pid, err, err)
		}
		if kill, ok := g.receive().(*wire.Kill); !ok || kill.Exec != e.ID {
			t.Errorf("pid %d: the guest got %+v, want a kill of %d", pid, kill, e.ID)
		}
		if cmd.PID() != 0 {
			t.Errorf("PID = %d after a Start that failed, want 0", cmd.PID())
		}
	}
}

// A command that exits with 0 because it was ended has not succeeded.
func TestRunWithFailsIfTheAgentEndsTheCommand(t *testing.T) {
	near, far := socketpair(t)
	type ran struct {
		state *client.ProcessState
		err   error
	}
	result := make(chan ran, 1)
	go func() { // ends by exited
		state, err := client.RunWith(patiently(t), near, client.RunOptions{Args: []string{"anything"}, Protocol: client.Protocol2})
		result <- ran{state, err}
	}()
	g, err := newGuest(t, far)
	if err != nil {
		t.Fatal(err)
	}
	g.send(greeting("", ""))
	e, _ := g.exec()
	x := exited(e, 0)
	x.Reason = wire.ReasonShutdown
	g.send(x)
	got := <-result
	if exit, ok := errors.AsType[*client.ExitError](got.err); !ok || got.state != exit.ProcessState {
		t.Errorf("RunWith = %v, %v; want an ExitError and its state", got.state, got.err)
	}
}

func TestInfoThatMakesNoSenseIsAnError(t *testing.T) {
	for name, g := range map[string]wire.Guest{
		"cpus":             {CPUs: 1<<16 + 1},
		"load5":            {Load5: 1e8 + 1},
		"resumes":          {Resumes: 1<<32 + 1},
		"uptime_ms":        {UptimeMS: math.MaxInt64/1_000_000 + 1},
		"clock_ns":         {ClockNS: 1 << 63},
		"memory_total":     {MemoryTotal: 1 << 63},
		"memory_available": {MemoryAvailable: math.MaxUint64},
		"cpu_ns":           {CPUNS: 1 << 63},
	} {
		_, err := informed(t, &g)
		if !errors.Is(err, client.ErrProtocol) || !strings.Contains(err.Error(), name+" of ") {
			t.Errorf("%s: Info = %v, want an error that wraps ErrProtocol", name, err)
		}
	}
	if _, err := informed(t, &wire.Guest{CPUs: 1 << 16, UptimeMS: math.MaxInt64 / 1_000_000, ClockNS: math.MaxInt64, MemoryTotal: math.MaxInt64}); err != nil {
		t.Errorf("Info = %v of the largest figures, want success", err)
	}
}

func TestInfoTextsAreBoundedAndPrintable(t *testing.T) {
	text := "\x1b\u009b\u202e" + strings.Repeat("x", 1<<16)
	i, err := informed(t, &wire.Guest{Version: text, Hostname: text, OS: text, Kernel: text, Arch: text, BootID: text})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{i.Version, i.Hostname, i.OS, i.Kernel, i.Arch, i.BootID} {
		if len(text) > 256 || !strings.HasPrefix(text, "\ufffd\ufffd\ufffdxxx") {
			t.Errorf("%d bytes of text, %.20q…; want at most 256 printable ones", len(text), text)
		}
	}
}

// informed asks a guest that answers by g.
func informed(t *testing.T, answer *wire.Guest) (*client.Info, error) {
	t.Helper()
	c, g := hostile(t)
	defer c.Close()
	go func() { // ends with its write
		if m, err := wire.Read(g.in); err == nil {
			_, id := wire.About(m)
			g.offend(&wire.Done{Head: wire.Head{ID: id}, Guest: answer})
		}
	}()
	return c.Info(patiently(t))
}

func TestResumeStepsAreBoundedAndPrintable(t *testing.T) {
	g, m, result := resume(t, client.ReseedOptions{})
	long := "\u009b\u202e" + strings.Repeat("x", 1<<16)
	g.send(&wire.Error{Head: wire.Head{ID: m.ID}, Kind: wire.Internal, Steps: []wire.Step{
		{Name: long, Message: long}, {Name: long, Kind: wire.Internal, Message: long},
	}})
	got := <-result
	if got.report == nil || len(got.report.Steps) != 2 {
		t.Fatalf("Resume = %+v, %v; want two steps", got.report, got.err)
	}
	for _, s := range got.report.Steps {
		text := s.Note
		if s.Err != nil {
			text = s.Err.Message
		}
		if len(s.Name) > 64 || len(text) > 4<<10 || !strings.HasPrefix(s.Name, "\ufffd\ufffdx") || !strings.HasPrefix(text, "\ufffd\ufffdx") {
			t.Errorf("a name of %d bytes and a message of %d, %.10q and %.10q", len(s.Name), len(text), s.Name, text)
		}
	}
}
