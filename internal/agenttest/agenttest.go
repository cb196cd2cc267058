// Package agenttest runs a real agent inside a test, on a Unix socket.
package agenttest

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

// An Agent is a running agent.
type Agent struct {
	Target string // for client.Dial
	Path   string // of its socket
	Log    *Log

	server  *session.Server
	spawner *proc.Spawner
	served  chan error
}

// Start starts an agent, which the end of the test shuts down.
func Start(tb testing.TB) *Agent {
	tb.Helper()
	return StartWith(tb, func(*session.Config) {})
}

// StartWith is Start with a configuration that change has changed.
func StartWith(tb testing.TB, change func(*session.Config)) *Agent {
	tb.Helper()
	a, err := newAgent(change)
	if err != nil {
		tb.Fatal(err)
	}
	if err := a.spawner.UseCgroups(func(int) {}); err != nil {
		tb.Logf("no cgroups: %v", err)
	}
	tb.Cleanup(func() {
		a.Shutdown(tb)
		if err := a.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return a
}

// New starts an agent. The caller closes it.
func New() (*Agent, error) { return newAgent(func(*session.Config) {}) }

func newAgent(change func(*session.Config)) (*Agent, error) {
	dir, err := os.MkdirTemp("", "agent") // a Unix socket's path is short
	if err != nil {
		return nil, err
	}
	a := &Agent{Path: filepath.Join(dir, "s"), Log: &Log{}, served: make(chan error, 1)}
	a.Target = "unix://" + a.Path
	if a.spawner, err = proc.NewSpawner(); err != nil {
		return nil, err
	}
	config := session.Config{
		Log:           zerolog.New(a.Log),
		Audit:         zerolog.New(a.Log),
		Spawner:       a.spawner,
		Version:       "test",
		Admit:         admit,
		ShutdownGrace: time.Second,
	}
	change(&config)
	a.server = session.NewServer(config)
	ln, err := transport.Listen(transport.Address{Scheme: "unix", Path: a.Path}, transport.Policy{})
	if err != nil {
		return nil, err
	}
	go func() { a.served <- a.server.Serve(ln) }() // stopped by Shutdown
	return a, nil
}

// Close shuts the agent down and removes what it has.
func (a *Agent) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	return errors.Join(a.server.Shutdown(ctx), a.spawner.Close(), os.RemoveAll(filepath.Dir(a.Path)))
}

func admit(c net.Conn) (session.Peer, error) {
	peer, err := transport.Policy{}.Admit(c)
	return session.Peer{Name: peer.String(), Class: peer.Class()}, err
}

// Shutdown shuts the agent down and waits for it.
func (a *Agent) Shutdown(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if err := a.server.Shutdown(ctx); err != nil {
		tb.Errorf("shutdown: %v\nagent's log:\n%s", err, a.Log)
	}
	select {
	case err := <-a.served:
		a.served <- err
	case <-ctx.Done():
		tb.Error("the agent still accepts after Shutdown")
	}
}

// Server is what serves the agent's connections.
func (a *Agent) Server() *session.Server { return a.server }

// Check is the server's.
func (a *Agent) Check() { a.server.Check() }

// Dial connects to the agent with nothing said yet.
func (a *Agent) Dial(tb testing.TB) net.Conn {
	tb.Helper()
	c, err := net.Dial("unix", a.Path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

// A Log collects an agent's log. It is safe for concurrent use.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
