package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/e2e/checks"
	"github.com/cocoonstack/cocoon-agent/internal/deadman"
	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

// A notified is a service manager's socket.
type notified struct {
	*net.UnixConn
	path string
}

func newNotified(t *testing.T) *notified {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: dir + "/notify", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return &notified{conn, dir + "/notify"}
}

func (n *notified) next(t *testing.T) string {
	t.Helper()
	message := make([]byte, 4096)
	size, err := n.Read(message)
	if err != nil {
		t.Fatal(err)
	}
	return string(message[:size])
}

func TestServiceManagerIsToldOfTheAgentsLife(t *testing.T) {
	manager := newNotified(t)
	target, agent := agentBy(t, func(cmd *exec.Cmd) *exec.Cmd {
		cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+manager.path, "WATCHDOG_USEC=2000000")
		return cmd
	})
	if got := manager.next(t); got != "READY=1\nSTATUS=listening on "+target {
		t.Errorf("first: %q", got)
	}
	if got := manager.next(t); got != "WATCHDOG=1" {
		t.Errorf("within WATCHDOG_USEC: %q", got)
	}
	if err := agent.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	got := manager.next(t)
	for got == "WATCHDOG=1" {
		got = manager.next(t)
	}
	if got != "STOPPING=1\nSTATUS=shutting down" {
		t.Errorf("in the end: %q", got)
	}
}

func TestServeWithoutAReachableNotifySocket(t *testing.T) {
	for _, socket := range []string{"/nonexistent", "vsock:2:1"} {
		agentBy(t, func(cmd *exec.Cmd) *exec.Cmd {
			cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+socket)
			return cmd
		})
	}
}

// A serving is a daemon of the test's own process, on two Unix sockets.
type serving struct {
	endpoints []endpoint
	log       checks.Log
	ended     chan error
}

func startServing(t *testing.T, inherited bool) *serving {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	spawner, err := proc.NewSpawner()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = spawner.Close() })
	s := &serving{ended: make(chan error, 1)}
	for _, name := range []string{"one", "two"} {
		a := transport.Address{Scheme: "unix", Path: dir + "/" + name}
		ln, err := transport.Listen(a, transport.Policy{})
		if err != nil {
			t.Fatal(err)
		}
		s.endpoints = append(s.endpoints, endpoint{ln, a, inherited})
	}
	log := zerolog.New(&s.log)
	server := session.NewServer(session.Config{Log: log, Spawner: spawner, Admit: admit(transport.Policy{})})
	d := &daemon{log: log, server: server, deadman: new(deadman.Deadman), live: liveEndpoints{endpoints: slices.Clone(s.endpoints)}}
	ctx, stop := context.WithCancel(t.Context())
	go func() { s.ended <- d.run(ctx, stop) }() // stopped by the test's end
	t.Cleanup(func() {
		stop()
		if err := <-s.ended; err != nil && !inherited {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("log:\n%s", s.log.String())
		}
	})
	return s
}

func (s *serving) dial(t *testing.T, i int) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), s.endpoints[i].address.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.Ready(t.Context()); err != nil { // it has been accepted
		t.Fatal(err)
	}
	return c
}

// fail has the listener fail for good: it is closed under the server.
func (s *serving) fail(i int) { _ = s.endpoints[i].Close() }

func TestFailedListenerIsReopened(t *testing.T) {
	s := startServing(t, false)
	before, other := s.dial(t, 0), s.dial(t, 1)
	s.fail(0)
	eventually(t, "it listens again", func() bool { return strings.Contains(s.log.String(), "listening again") })
	for name, c := range map[string]*client.Client{
		"a connection of before": before, "one of the other listener": other,
		"a new one": s.dial(t, 0), "a new one of the other listener": s.dial(t, 1),
	} {
		if out, err := c.CommandContext(t.Context(), "echo", "hello").Output(); string(out) != "hello\n" || err != nil {
			t.Errorf("echo over %s = %q, %v, want %q", name, out, err, "hello\n")
		}
	}
	if n := strings.Count(s.log.String(), `"level":"error"`); n != 1 {
		t.Errorf("%d errors in the log, want one", n)
	}
}

// Somebody who has made the address unusable does not end the agent, and is
// reported once, however often the agent tries.
func TestListenerIsReopenedOnceItsAddressIsFree(t *testing.T) {
	s := startServing(t, false)
	path := s.loseAddress(t)
	if out, err := s.dial(t, 1).CommandContext(t.Context(), "echo", "hello").Output(); string(out) != "hello\n" || err != nil {
		t.Errorf("the other listener: %q, %v", out, err)
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it listens again", func() bool { return strings.Contains(s.log.String(), "listening again") })
	if out, err := s.dial(t, 0).CommandContext(t.Context(), "echo", "hello").Output(); string(out) != "hello\n" || err != nil {
		t.Errorf("echo = %q, %v, want %q", out, err, "hello\n")
	}
	if n := strings.Count(s.log.String(), `"level":"error"`); n != 2 {
		t.Errorf("%d errors in the log, want that it failed and that it cannot be made", n)
	}
}

func TestShutdownWhileAListenerCannotBeReopened(t *testing.T) {
	s := startServing(t, false)
	s.loseAddress(t)
}

// loseAddress has the first listener fail and its address unusable, which it returns.
func (s *serving) loseAddress(t *testing.T) (path string) {
	t.Helper()
	path = s.endpoints[0].address.Path
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	s.fail(0)
	eventually(t, "it is reported", func() bool { return strings.Contains(s.log.String(), "cannot listen, retrying") })
	return path
}

// Only its owner can bind it again, and does as it starts the agent again.
func TestAgentEndsIfAnInheritedListenerFails(t *testing.T) {
	s := startServing(t, true)
	s.fail(0)
	err := <-s.ended
	s.ended <- err
	want := s.endpoints[0].address.String() + " (socket passed by systemd): accept unix "
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v, want %s…", err, want)
	}
}
