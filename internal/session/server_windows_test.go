package session_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/session"
)

// patience is how long a test waits for what must happen, on a machine that may be busy.
const patience = 60 * time.Second

// TestMain is also a command: it says "ready", and runs until it is ended.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-sleep" {
		_, _ = os.Stdout.WriteString("ready\n")
		<-time.After(time.Hour)
	}
	os.Exit(m.Run())
}

// serve runs a server for a test, and returns it with a client of its.
func serve(t *testing.T) (context.Context, *session.Server, func() *client.Client) {
	t.Helper()
	spawner, err := proc.NewSpawner()
	if err != nil {
		t.Fatal(err)
	}
	server := session.NewServer(session.Config{
		Log: zerolog.Nop(), Audit: zerolog.Nop(), Spawner: spawner,
		Admit: func(net.Conn) (session.Peer, error) { return session.Peer{Name: "host", Class: "host"}, nil },
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }() // stopped by Shutdown
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(func() {
		if err := server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, session.ErrClosed) {
			t.Error(err)
		}
		cancel()
		_ = spawner.Close()
	})
	return ctx, server, func() *client.Client {
		t.Helper()
		c, err := client.DialWith(ctx, func(ctx context.Context) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", ln.Addr().String())
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
}

func TestDetachedCommandOutlivesItsConnection(t *testing.T) {
	ctx, _, dial := serve(t)
	c := dial()
	cmd := c.CommandContext(ctx, os.Args[0], "-sleep")
	cmd.Outlive.Detach = true
	var out lockedBuffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(out.String(), "ready") && ctx.Err() == nil {
		<-time.After(5 * time.Millisecond)
	}
	_ = c.Close()
	if err := cmd.Wait(); !errors.Is(err, client.ErrLost) {
		t.Errorf("Wait after the connection has ended = %v, want ErrLost", err)
	}
	c = dial()
	var logged bytes.Buffer
	if err := c.Logs(ctx, cmd.Handle(), &logged, nil, client.LogOptions{}); err != nil || logged.String() != "ready\n" {
		t.Errorf("Logs = %v with %q, want the output from before", err, logged.String())
	}
	again := c.Attach(ctx, cmd.Handle())
	again.Stdout = &logged
	again.From.Now = true
	if err := again.Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.KillExec(ctx, cmd.Handle(), true); err != nil {
		t.Error(err)
	}
	exit, ok := errors.AsType[*client.ExitError](again.Wait())
	if !ok || exit.Reason() != client.ReasonKilled {
		t.Errorf("Wait of Attach = %v, want killed", exit)
	}
	if err := c.ReleaseExec(ctx, cmd.Handle()); err != nil {
		t.Error(err)
	}
}

func TestShutdownEndsCommandsAndTellsTheirHosts(t *testing.T) {
	ctx, server, dial := serve(t)
	c := dial()
	sleeper := c.CommandContext(ctx, os.Args[0], "-sleep")
	var out lockedBuffer
	sleeper.Stdout = &out
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(out.String(), "ready") && ctx.Err() == nil {
		<-time.After(5 * time.Millisecond)
	}
	if err := server.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	exit, ok := errors.AsType[*client.ExitError](sleeper.Wait())
	if !ok || exit.Reason() != client.ReasonShutdown || exit.ExitCode() != 137 {
		t.Errorf("Wait = %v, want exit code 137 by %s", exit, client.ReasonShutdown)
	}
}

// A lockedBuffer is a bytes.Buffer that one goroutine writes and another one reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
