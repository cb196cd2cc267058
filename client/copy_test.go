//go:build linux

package client_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A slowWriter blocks until it is opened.
type slowWriter struct {
	entered chan struct{} // has a token once Write has been called
	open    chan struct{} // closed when Write may go on
}

func (w slowWriter) Write(p []byte) (int, error) {
	select {
	case w.entered <- struct{}{}:
	default:
	}
	<-w.open
	return len(p), nil
}

// running starts a command whose output goes to w, and returns the guest's side of it.
func running(t *testing.T, c *client.Client, g *guest, w io.Writer) (*client.Cmd, *wire.Exec, *mux.Stream) {
	t.Helper()
	cmd := c.Command("anything")
	cmd.Stdout = w
	started := make(chan error, 1)
	go func() { started <- cmd.Start() }() // ends with the guest's answer
	e, stdout := g.exec()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	return cmd, e, stdout
}

// finish ends a command that has written sent, and waits for it.
func (g *guest) finish(t *testing.T, cmd *client.Cmd, e *wire.Exec, stdout *mux.Stream, sent int) {
	t.Helper()
	_ = stdout.Close()
	g.send(exited(e, uint64(sent)))
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// By order of events: a command's output arrives and ends while another's is held up.
func TestBlockedWriterDelaysNoOtherOutput(t *testing.T) {
	const size = 500_000 // more than a pipe holds, and less than a window
	t.Run("slow Writer", func(t *testing.T) {
		w := slowWriter{make(chan struct{}, 1), make(chan struct{})}
		blockedWriter(t, w, size, func() { <-w.entered }, func() { close(w.open) })
	})
	t.Run("full pipe", func(t *testing.T) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		defer r.Close()
		copied := make(chan struct{})
		blockedWriter(t, w, size, func() {
			if _, err := io.ReadFull(r, make([]byte, 1)); err != nil {
				t.Error(err)
			}
		}, func() {
			go func() { defer close(copied); _, _ = io.CopyN(io.Discard, r, size-1) }() // ends with the output
		})
		<-copied
	})
}

// blockedWriter runs a command whose Writer blocks, once it has been reached, until it is
// released.
func blockedWriter(t *testing.T, w io.Writer, size int, reached, release func()) {
	t.Helper()
	c, g := hostile(t)
	blocked, e, stdout := running(t, c, g, w)
	if _, err := stdout.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	reached()
	var got bytes.Buffer
	other, otherExec, otherStdout := running(t, c, g, &got)
	sent := strings.Repeat("0123456789abcdef", 1<<18) // several windows
	if _, err := io.WriteString(otherStdout, sent); err != nil {
		t.Fatal(err)
	}
	g.finish(t, other, otherExec, otherStdout, len(sent))
	if got.String() != sent {
		t.Errorf("%d bytes of another command's %d", got.Len(), len(sent))
	}
	release()
	g.finish(t, blocked, e, stdout, size)
}

// The connection's receiving goroutine writes to some of them, and hands the rest on.
func TestWritersOfMemoryGetAllOutput(t *testing.T) {
	sent := make([]byte, 6<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(sent)
	var buffer bytes.Buffer
	var builder strings.Builder
	var plain plainWriter
	for name, test := range map[string]struct {
		to  io.Writer
		got func() string
	}{
		"bytes.Buffer":    {&buffer, buffer.String},
		"strings.Builder": {&builder, builder.String},
		"another":         {&plain, plain.got.String},
		"io.Discard":      {io.Discard, func() string { return string(sent) }},
	} {
		t.Run(name, func(t *testing.T) {
			c, g := hostile(t)
			cmd, e, stdout := running(t, c, g, test.to)
			for rest := sent; len(rest) > 0; {
				n := min(len(rest), 1+rand.IntN(1<<rand.IntN(18)))
				if _, err := stdout.Write(rest[:n]); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			g.finish(t, cmd, e, stdout, len(sent))
			if test.got() != string(sent) {
				t.Errorf("%d bytes of %d, or others", len(test.got()), len(sent))
			}
		})
	}
}

type plainWriter struct{ got bytes.Buffer }

func (w *plainWriter) Write(p []byte) (int, error) { return w.got.Write(p) }

func TestMaxOutputHoldsForMemory(t *testing.T) {
	c, g := hostile(t)
	var got bytes.Buffer
	cmd := c.Command("anything")
	cmd.Stdout, cmd.MaxOutput = &got, 100_000
	result := make(chan error, 1)
	go func() { result <- cmd.Run() }() // ends with the exit
	e, stdout := g.exec()
	_, _ = stdout.Write(make([]byte, 300_000))
	if k, ok := g.receive().(*wire.Kill); !ok || k.Exec != e.ID {
		t.Errorf("the guest got %+v, want kill", k)
	}
	_ = stdout.Close()
	x := exited(e, 300_000)
	x.Reason = wire.ReasonKilled
	g.send(x)
	wantLimit(t, "Run", <-result, cmd.MaxOutput)
	if got.Len() != 100_000 {
		t.Errorf("the Writer got %d bytes", got.Len())
	}
}
