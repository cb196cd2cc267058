//go:build linux

package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
)

func TestAttachGetsOutputAndExitOfDetachedCommand(t *testing.T) {
	c, a := dial(t)
	ctx, cancel := context.WithCancel(t.Context())
	cmd := c.CommandContext(ctx, "sh", "-c", "echo one; read line; echo $line; echo error >&2; exit 3")
	cmd.Outlive.Detach = true
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := newNotice()
	cmd.Stdout = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-out.wrote
	cancel()
	if err := cmd.Wait(); !errors.Is(err, client.ErrDetached) || !errors.Is(err, context.Canceled) {
		t.Fatalf("Wait after the context has ended = %v, want ErrDetached", err)
	}
	_ = in.Close() // too late
	if stdout, stderr := cmd.Offsets(); stdout != 4 || stderr != 0 {
		t.Errorf("Offsets() = %d, %d, want 4, 0", stdout, stderr)
	}

	other := connect(t, a.Target)
	list, err := other.Execs(t.Context())
	if err != nil || len(list.Execs) != 1 || !list.Execs[0].Detached || list.Execs[0].StdoutBytes != 4 || !bytes.Equal(list.Execs[0].Handle, cmd.Handle()) {
		t.Fatalf("Execs() = %+v, %v, want the detached one", list, err)
	}
	again := other.Attach(t.Context(), cmd.Handle())
	var stdout, stderr bytes.Buffer
	again.From.Stdout = 4
	again.Stdin, again.Stdout, again.Stderr = strings.NewReader("two\n"), &stdout, &stderr
	exit := wantExit(t, again.Run(), 3)
	if stdout.String() != "two\n" || stderr.String() != "error\n" || exit.StdoutBytes() != 8 {
		t.Errorf("stdout %q, stderr %q, %d bytes in all", stdout.String(), stderr.String(), exit.StdoutBytes())
	}

	both := connect(t, a.Target).Attach(t.Context(), cmd.Handle())
	var all bytes.Buffer
	both.Stdout, both.Stderr = &all, &all
	wantExit(t, both.Run(), 3)
	if text := all.String(); len(text) != 14 || !strings.Contains(text, "one\ntwo\n") {
		t.Errorf("both outputs = %q", text)
	}
	if err := other.ReleaseExec(t.Context(), cmd.Handle()); err != nil {
		t.Fatal(err)
	}
	wantKind(t, other.Attach(t.Context(), cmd.Handle()).Run(), client.NotFound)
	wantKind(t, other.ReleaseExec(t.Context(), cmd.Handle()), client.NotFound)
}

func TestAttachTellsOfOutputThatIsNotKept(t *testing.T) {
	c, _ := dial(t)
	cmd := c.Command("head", "-c", "100000", "/dev/zero")
	cmd.Outlive = client.Outlive{Detach: true, Ring: 4096}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	again := c.Attach(t.Context(), cmd.Handle())
	again.Stdout = io.Discard
	again.From.Stdout = 10
	err := again.Run()
	behind, ok := errors.AsType[*client.BehindError](err)
	if want := (client.BehindError{Stream: "stdout", Want: 10, Oldest: 100000 - 4096, Newest: 100000}); !ok || *behind != want {
		t.Fatalf("Run() = %v, want %v", err, &want)
	}
	again = c.Attach(t.Context(), cmd.Handle())
	var rest bytes.Buffer
	again.Stdout = &rest
	again.From.Oldest = true
	if err := again.Run(); err != nil || rest.Len() != 4096 {
		t.Errorf("Run() = %v with %d bytes, want the 4096 that are kept", err, rest.Len())
	}
}

func TestOutliveIsChecked(t *testing.T) {
	c, _ := dial(t)
	for _, check := range []struct {
		want string
		set  func(*client.Cmd)
	}{
		{"a key of 65 bytes", func(c *client.Cmd) { c.Outlive.Key = strings.Repeat("k", 65) }},
		{"a ring of -1 bytes", func(c *client.Cmd) { c.Outlive.Ring, c.Outlive.Detach = -1, true }},
		{"a ring of 16777217 bytes", func(c *client.Cmd) { c.Outlive.Ring, c.Outlive.Detach = 16<<20+1, true }},
		{"Ring without Detach", func(c *client.Cmd) { c.Outlive.Ring = 1 }},
		{"Resume with Stdin", func(c *client.Cmd) { c.Outlive.Resume, c.Stdin = true, strings.NewReader("") }},
		{"Resume with TTY", func(c *client.Cmd) { c.Outlive.Resume, c.TTY = true, &client.TTY{} }},
		{"Resume with StdoutPipe", func(c *client.Cmd) { c.Outlive.Resume = true; _, _ = c.StdoutPipe() }},
		{"From and Redraw are for", func(c *client.Cmd) { c.From.Oldest = true }},
	} {
		cmd := c.Command("true")
		check.set(cmd)
		if err := cmd.Start(); err == nil || !strings.Contains(err.Error(), check.want) {
			t.Errorf("Start() = %v, want an error with %q", err, check.want)
		}
	}
	for _, check := range []struct {
		want string
		set  func(*client.Cmd)
	}{
		{"for the start of a command", func(c *client.Cmd) { c.Dir = "/" }},
		{"for the start of a command", func(c *client.Cmd) { c.TTY = &client.TTY{} }},
		{"Attach with Key, Detach or Ring", func(c *client.Cmd) { c.Outlive.Detach = true }},
		{"both Oldest and Now", func(c *client.Cmd) { c.From = client.Position{Oldest: true, Now: true} }},
		{"one pipe for both", func(c *client.Cmd) { _, _ = c.StdoutPipe(); c.Stderr = c.Stdout }},
	} {
		cmd := c.Attach(t.Context(), make([]byte, 16))
		check.set(cmd)
		if err := cmd.Start(); err == nil || !strings.Contains(err.Error(), check.want) {
			t.Errorf("Start() of Attach = %v, want an error with %q", err, check.want)
		}
	}
	if err := c.Attach(t.Context(), nil).Start(); err == nil || !strings.Contains(err.Error(), "a handle of 0 bytes") {
		t.Errorf("Start() of Attach without a handle = %v", err)
	}
}

func TestLogsCopyWhatIsKept(t *testing.T) {
	c, _ := dial(t)
	cmd := c.Command("sh", "-c", "echo first; echo problem >&2; read line; echo $line; exit 5")
	cmd.Outlive.Detach = true
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = in.Close()
		wantExit(t, cmd.Wait(), 5)
	}()
	agenttest.Eventually(t, "both outputs", func() bool {
		list, err := c.Execs(t.Context())
		return err == nil && list.Execs[0].StdoutBytes == 6 && list.Execs[0].StderrBytes == 8
	})
	for _, l := range []struct {
		o              client.LogOptions
		stdout, stderr string
	}{
		{stdout: "first\n", stderr: "problem\n"},
		{o: client.LogOptions{From: client.Position{Oldest: true}}, stdout: "first\n", stderr: "problem\n"},
		{o: client.LogOptions{From: client.Position{Stdout: 3, Stderr: 100}}, stdout: "st\n"},
		{o: client.LogOptions{From: client.Position{Now: true}}},
	} {
		var stdout, stderr bytes.Buffer
		if err := c.Logs(patiently(t), cmd.Handle(), &stdout, &stderr, l.o); err != nil || stdout.String() != l.stdout || stderr.String() != l.stderr {
			t.Errorf("Logs(%+v) = %v with %q and %q, want %q and %q", l.o, err, stdout.String(), stderr.String(), l.stdout, l.stderr)
		}
	}
	var both bytes.Buffer
	followed := make(chan error, 1)
	go func() { followed <- c.Logs(patiently(t), cmd.Handle(), &both, &both, client.LogOptions{Follow: true}) }()
	_, _ = io.WriteString(in, "last\n")
	if err := <-followed; err != nil || both.Len() != 19 || !strings.Contains(both.String(), "first\nlast\n") && !strings.Contains(both.String(), "problem\nlast\n") {
		t.Errorf("Logs with Follow = %v with %q", err, both.String())
	}
	wantKind(t, c.Logs(patiently(t), make([]byte, 16), &both, &both, client.LogOptions{}), client.NotFound)
}

func TestLogsTellOfLostOutput(t *testing.T) {
	c, _ := dial(t)
	cmd := c.Command("seq", "100000")
	cmd.Outlive = client.Outlive{Detach: true, Ring: 8 << 10}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	var lost uint64
	err := c.Logs(patiently(t), cmd.Handle(), &out, nil, client.LogOptions{Lost: func(stream string, from, to uint64) {
		if stream != "stdout" || from != lost {
			t.Errorf("Lost(%q, %d, %d) after %d", stream, from, to, lost)
		}
		lost = to
	}})
	exec, findErr := c.FindExec(t.Context(), cmd.Handle())
	if findErr != nil {
		t.Fatal(findErr)
	}
	if want := numbered(100_000); err != nil || out.String() != want[lost:] || lost == 0 || lost != exec.StdoutOldest {
		t.Errorf("Logs = %v with %d bytes after %d that are lost, want those from %d to %d", err, out.Len(), lost, exec.StdoutOldest, len(want))
	}
	if err := c.Logs(patiently(t), cmd.Handle(), &out, nil, client.LogOptions{}); err == nil {
		t.Error("Logs without Lost = nil, want a BehindError")
	}
}

// The output of now is gone before it is read. The other one is there.
func TestLogsOfAFastWriterEnd(t *testing.T) {
	c, _ := dial(t)
	cmd := c.Command("sh", "-c", "echo problem >&2; exec yes")
	cmd.Outlive = client.Outlive{Detach: true, Ring: 4 << 10}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Signal(os.Kill)
		_ = cmd.Wait()
	}()
	agenttest.Eventually(t, "lost output", func() bool {
		exec, err := c.FindExec(t.Context(), cmd.Handle())
		return err == nil && exec.StdoutOldest > 0
	})
	var stderr bytes.Buffer
	lost := uint64(0)
	slow := writerFunc(func(p []byte) (int, error) {
		before, err := c.FindExec(t.Context(), cmd.Handle())
		agenttest.Eventually(t, "lost output", func() bool {
			exec, err := c.FindExec(t.Context(), cmd.Handle())
			return err == nil && exec.StdoutOldest > before.StdoutBytes
		})
		return len(p), err
	})
	err := c.Logs(patiently(t), cmd.Handle(), slow, &stderr, client.LogOptions{Lost: func(stream string, from, to uint64) {
		if stream != "stdout" || from < lost || to < from {
			t.Errorf("Lost(%q, %d, %d) after %d", stream, from, to, lost)
		}
		lost = to
	}})
	if err != nil || lost == 0 || stderr.String() != "problem\n" {
		t.Errorf("Logs = %v with %q, and nothing is kept before %d; want what was lost, and \"problem\"", err, &stderr, lost)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
