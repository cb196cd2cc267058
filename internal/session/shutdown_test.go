//go:build linux

package session_test

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/rs/zerolog"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// Shutdown asks a connection for its lock at the moment at which that asks for
// the server's state: they must not wait for each other.
func TestShutdownInTheMiddleOfGreetingsEnds(t *testing.T) {
	spawner, err := proc.NewSpawner()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = spawner.Close() })
	for range 300 {
		ln, err := net.Listen("unix", t.TempDir()+"/s")
		if err != nil {
			t.Fatal(err)
		}
		server := session.NewServer(session.Config{
			Log: zerolog.Nop(), Spawner: spawner,
			Admit: func(net.Conn) (session.Peer, error) { return session.Peer{}, nil },
		})
		go func() { _ = server.Serve(ln) }() // stopped by Shutdown
		greetAndShutDown(t, server, ln.Addr().String())
	}
}

// greetAndShutDown shuts the server down when the first of its hosts is greeted.
func greetAndShutDown(t *testing.T, server *session.Server, socket string) {
	t.Helper()
	greeted := make(chan struct{}, 1)
	var hosts sync.WaitGroup
	defer hosts.Wait()
	for range 8 {
		hosts.Go(func() { // ends with the connection
			beGreeted(socket, greeted)
		})
	}
	<-greeted
	ctx, cancel := context.WithTimeout(t.Context(), agenttest.Patience)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- server.Shutdown(ctx) }() // waited for, unless it never ends
	select {
	case err := <-ended:
		if err != nil {
			t.Fatal(err)
		}
	case <-ctx.Done():
		t.Fatal("Shutdown waits for a greeting, which waits for Shutdown")
	}
}

func beGreeted(socket string, greeted chan<- struct{}) {
	nc, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	m, control, err := mux.Client(nc, wire.Preface)
	if err != nil {
		return
	}
	if _, err := wire.Read(control); err == nil {
		select {
		case greeted <- struct{}{}:
		default:
		}
	}
	_ = m.Close()
}
