//go:build linux

package client_test

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
)

// announce makes a connection that says something, and keeps it.
func announce(t *testing.T, path, text string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	return conn
}

func listenReady(t *testing.T, target string) *client.ReadyListener {
	t.Helper()
	l, err := client.ListenReady(target, 52)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestListenReadyAsksTheAgentItself(t *testing.T) {
	a := agenttest.Start(t)
	l := listenReady(t, a.Target)
	if h, err := l.Wait(patiently(t)); err != nil || h.AgentID == "" {
		t.Fatalf("Wait for an agent that is ready already = %+v, %v", h, err)
	}
	announce(t, a.Path+"_52", "{\"type\":\"cocoon-agent/ready\"}\n")
	if h, err := l.Wait(patiently(t)); err != nil || h.AgentID == "" {
		t.Errorf("Wait after an announcement = %+v, %v", h, err)
	}
}

// Somebody claims to be ready, and no agent answers.
func TestListenReadyBelievesNoClaim(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l := listenReady(t, "unix://"+path)
	announce(t, path+"_52", "ready!\n")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if h, err := l.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait = %+v, %v, want %v", h, err, context.DeadlineExceeded)
	}
}

// A guest can make as many connections as it likes, and say nothing or too much.
func TestListenReadyHoldsOneConnection(t *testing.T) {
	a := agenttest.Start(t)
	l := listenReady(t, a.Target)
	if _, err := l.Wait(patiently(t)); err != nil {
		t.Fatal(err)
	}
	long := announce(t, a.Path+"_52", string(make([]byte, 2000)))
	if _, err := long.Read(make([]byte, 1)); err == nil {
		t.Error("an announcement without an end is heard")
	}
	first := announce(t, a.Path+"_52", "\n")
	if _, err := l.Wait(patiently(t)); err != nil {
		t.Fatal(err)
	}
	announce(t, a.Path+"_52", "\n")
	_ = first.SetReadDeadline(time.Now().Add(agenttest.Patience))
	if _, err := first.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the connection of an earlier announcement: %v, want %v", err, io.EOF)
	}
}

func TestListenReadyEndsWithClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l := listenReady(t, "unix://"+path)
	ended := make(chan error, 1)
	go func() { // ends by Close
		_, err := l.Wait(context.Background())
		ended <- err
	}()
	for range 2 {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Wait = %v, want %v", err, net.ErrClosed)
	}
	if _, err := client.ListenReady("nonsense", 52); err == nil {
		t.Error("ListenReady takes an invalid target")
	}
}
