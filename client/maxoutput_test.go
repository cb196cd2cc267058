//go:build linux

package client_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/loadtest"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

func wantLimit(t *testing.T, what string, err error, limit int64) {
	t.Helper()
	over, ok := errors.AsType[*client.OutputLimitError](err)
	if !ok || over.Limit != limit {
		t.Errorf("%s = %v (%T), want an OutputLimitError of %d bytes", what, err, err, limit)
	}
}

func TestMaxOutputIsTheLastByteThatIsTaken(t *testing.T) {
	c, _ := dial(t)
	for _, x := range []struct {
		limit int64
		text  string
		want  string // empty: all of it
	}{
		{5, "12345", ""},
		{5, "123456", "12345"},
		{1, "12", "1"},
		{-1, "12345", ""},
		{0, "12345", ""},
	} {
		var out bytes.Buffer
		cmd := c.Command("printf", x.text)
		cmd.Stdout, cmd.MaxOutput = &out, x.limit
		err := cmd.Run()
		if x.want == "" {
			if err != nil || out.String() != x.text {
				t.Errorf("limit %d: Run = %v with %q, want %q", x.limit, err, out.String(), x.text)
			}
			continue
		}
		wantLimit(t, "Run", err, x.limit)
		if out.String() != x.want {
			t.Errorf("limit %d: the Writer got %q, want %q", x.limit, out.String(), x.want)
		}
	}
}

func TestMaxOutputIsForBothOutputsTogether(t *testing.T) {
	c, _ := dial(t)
	var stdout, stderr bytes.Buffer
	cmd := c.Command("sh", "-c", "printf 1234; printf 5678 >&2")
	cmd.Stdout, cmd.Stderr, cmd.MaxOutput = &stdout, &stderr, 7
	wantLimit(t, "Run", cmd.Run(), 7)
	if n := stdout.Len() + stderr.Len(); n != 7 {
		t.Errorf("the Writers got %q and %q, want 7 bytes", stdout.String(), stderr.String())
	}
}

func TestMaxOutputEndsTheCommand(t *testing.T) {
	c, _ := dial(t)
	cmd := c.Command("yes")
	cmd.MaxOutput = 1 << 20
	out, err := cmd.Output()
	wantLimit(t, "Output", err, 1<<20)
	if len(out) != 1<<20 || strings.Trim(string(out), "y\n") != "" {
		t.Errorf("Output = %d bytes, want %d", len(out), 1<<20)
	}
	if state := cmd.ProcessState; state == nil || state.Reason() != "killed" {
		t.Errorf("ProcessState = %v, want the end of a command that was killed", state)
	}
}

func TestOutputHasALimitByDefault(t *testing.T) {
	loadtest.Heavy(t)
	c, _ := dial(t)
	out, err := c.Command("yes").Output()
	wantLimit(t, "Output", err, client.DefaultMaxOutput)
	if len(out) != client.DefaultMaxOutput {
		t.Errorf("Output = %d bytes, want %d", len(out), client.DefaultMaxOutput)
	}
	both, err := c.Command("sh", "-c", "yes >&2").CombinedOutput()
	wantLimit(t, "CombinedOutput", err, client.DefaultMaxOutput)
	if len(both) != client.DefaultMaxOutput {
		t.Errorf("CombinedOutput = %d bytes, want %d", len(both), client.DefaultMaxOutput)
	}
}

func TestOutputHasNoLimitIfNoneIsWanted(t *testing.T) {
	loadtest.Heavy(t)
	c, _ := dial(t)
	cmd := c.Command("sh", "-c", "yes | head -c 70000000")
	cmd.MaxOutput = -1
	if out, err := cmd.Output(); err != nil || len(out) != 70_000_000 {
		t.Errorf("Output = %d bytes, %v; want 70000000", len(out), err)
	}
}

func TestMaxOutputDoesNotLimitPipes(t *testing.T) {
	c, _ := dial(t)
	cmd := c.Command("printf", "12345")
	cmd.MaxOutput = 1
	stdout, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(stdout)
	if string(out) != "12345" || err != nil || cmd.Wait() != nil {
		t.Errorf("the pipe gives %q, %v; want all of it", out, err)
	}
}

// An agent that sends for ever need not heed that its command is to end.
func TestMaxOutputHoldsForAGuestThatDoesNotObey(t *testing.T) {
	c, g := hostile(t)
	cmd := c.Command("anything")
	cmd.MaxOutput, cmd.WaitDelay = 1<<10, 1
	type result struct {
		out []byte
		err error
	}
	got := make(chan result, 1)
	go func() { // ends by the limit
		out, err := cmd.Output()
		got <- result{out, err}
	}()
	_, stdout := g.exec()
	go func() { // ends with the stream
		for {
			if _, err := stdout.Write(make([]byte, 1<<10)); err != nil {
				return
			}
		}
	}()
	r := <-got
	wantLimit(t, "Output", r.err, 1<<10)
	if _, ok := errors.AsType[*client.LostExitError](r.err); !ok || !errors.Is(r.err, client.ErrWaitDelay) || len(r.out) != 1<<10 {
		t.Errorf("Output = %d bytes, %v (%T); want 1024 and a LostExitError", len(r.out), r.err, r.err)
	}
	agenttest.Within(t, "Close", func() { _ = c.Close() })
}

func TestMaxOutputOfAWriterThatFailsIsItsError(t *testing.T) {
	c, g := hostile(t)
	cmd := c.Command("anything")
	cmd.MaxOutput, cmd.Stdout = 3, brokenPipe{}
	result := make(chan error, 1)
	go func() { result <- cmd.Run() }() // ends by exited
	e, stdout := g.exec()
	_, _ = stdout.Write([]byte("12345"))
	if _, ok := g.receive().(*wire.Kill); !ok {
		t.Error("the command is not ended")
	}
	_ = stdout.Close()
	g.send(exited(e, 5))
	err := <-result
	if _, ok := errors.AsType[*client.OutputLimitError](err); ok || err == nil {
		t.Errorf("Run = %v, want the Writer's error", err)
	}
}
