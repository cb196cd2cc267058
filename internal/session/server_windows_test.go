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

func TestShutdownEndsCommandsAndTellsTheirHosts(t *testing.T) {
	spawner, err := proc.NewSpawner()
	if err != nil {
		t.Fatal(err)
	}
	defer spawner.Close()
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
	defer cancel()
	c, err := client.DialWith(ctx, func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", ln.Addr().String())
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
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
	if err := <-served; !errors.Is(err, session.ErrClosed) {
		t.Error(err)
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
