//go:build linux

package v1_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/v1"
)

// A oldAgent knows version 1 alone, and what a test says. It is dialed, and
// counts that.
type oldAgent struct {
	tb    testing.TB
	serve func(nc net.Conn, first *v1.Frame, lines *v1.Reader)

	serving sync.WaitGroup
	mu      sync.Mutex
	dials   int
	refused int // which asked for another protocol
}

func startOld(tb testing.TB, serve func(net.Conn, *v1.Frame, *v1.Reader)) *oldAgent {
	tb.Helper()
	a := &oldAgent{tb: tb, serve: serve}
	tb.Cleanup(a.serving.Wait)
	return a
}

func (a *oldAgent) dial(context.Context) (net.Conn, error) {
	near, far := socketpair(a.tb)
	a.mu.Lock()
	a.dials++
	a.mu.Unlock()
	a.serving.Go(func() {
		defer far.Close()
		lines := v1.NewReader(far, 4096, v1.MaxLine, nil)
		first, err := lines.Next()
		if err != nil {
			return
		}
		if !v1.Begins(string(first.Type)) {
			a.mu.Lock()
			a.refused++
			a.mu.Unlock()
			_, _ = io.WriteString(far, `{"type":"error","message":"unknown type `+string(first.Type)+`"}`+"\n")
			return
		}
		a.serve(far, first, lines)
	})
	return near, nil
}

// counts returns how many connections there were, and how many asked for version 2.
func (a *oldAgent) counts() (dials, refused int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.dials, a.refused
}

// player says lines, all but the first when it has read the host's, which it keeps.
func player(tb testing.TB, says string) (serve func(net.Conn, *v1.Frame, *v1.Reader), said <-chan talk) {
	tb.Helper()
	all := make(chan talk, 1)
	at, rest, whole := strings.Cut(says, "\n")
	return func(nc net.Conn, first *v1.Frame, lines *v1.Reader) {
		var t talk
		defer func() { all <- t }()
		t.add(first)
		_, _ = io.WriteString(nc, at)
		if !whole {
			return
		}
		_, _ = io.WriteString(nc, "\n")
		for first.Type == v1.TypeExec {
			f, err := lines.Next()
			if err != nil {
				break
			}
			t.add(f)
			if f.Type == v1.TypeStdinClose {
				break
			}
		}
		_, _ = io.WriteString(nc, rest)
	}, all
}

func dialOld(tb testing.TB, a *oldAgent) *client.Client {
	tb.Helper()
	c, err := client.DialWith(tb.Context(), a.dial)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

// perform has the client do what the host does in a transcript. It returns what
// came of it, and whether it has begun.
func perform(ctx context.Context, c *client.Client, t talk) (stdout, stderr string, err error) {
	if first := t.frames[0]; first.Type == v1.TypeReseed {
		return "", "", c.Reseed(ctx, first.Data, first.RegenMachineID)
	}
	first := t.frames[0]
	var out, errs bytes.Buffer
	cmd := c.CommandContext(ctx, first.Argv[0], first.Argv[1:]...)
	for key, value := range first.Env {
		cmd.Env = append(cmd.Env, key+"="+value)
	}
	if t.stdin != nil {
		cmd.Stdin = bytes.NewReader(t.stdin)
	}
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

func wantRemote(tb testing.TB, err error, kind client.Kind, message string) {
	tb.Helper()
	remote, ok := errors.AsType[*client.RemoteError](err)
	if !ok || remote.Kind != kind || !strings.Contains(remote.Message, message) {
		tb.Errorf("error %v (%T), want %s: %s", err, err, kind, message)
	}
}

// hanging is a command that says something and does not end.
func hanging(nc net.Conn, _ *v1.Frame, lines *v1.Reader) {
	_, _ = io.WriteString(nc, begun+`{"type":"stdout","data":"`+encode("x\n")+`"}`+"\n")
	for {
		if _, err := lines.Next(); err != nil {
			return // the host has closed it
		}
	}
}
