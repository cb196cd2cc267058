//go:build linux

package session_test

import (
	"context"
	"errors"
	"flag"
	"hash/fnv"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/local"
	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/session"
)

// An arena is where hosts that a fuzzer makes up meet agents. Its agents know
// no command but true, cat and sleep, and mostly not even these.
type arena struct {
	empty, stocked *proc.Spawner
	services       []string // addresses of an echo, one that reads nothing, one that breaks off, and others
	auditor        *agenttest.Auditor
}

func openArena(f *testing.F) *arena {
	f.Helper()
	dir, err := os.MkdirTemp("", "fuzz")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, name := range []string{"true", "cat", "sleep"} {
		path, err := exec.LookPath(name)
		if err == nil {
			err = os.Symlink(path, filepath.Join(dir, name))
		}
		if err != nil {
			f.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		f.Fatal(err)
	}
	giveUpPrivileges(f)
	a := &arena{auditor: agenttest.NewAuditor()}
	for _, do := range []func(net.Conn){
		func(nc net.Conn) { _, _ = io.Copy(nc, nc) },
		func(nc net.Conn) { awaitHangUp(nc) },
		func(nc net.Conn) { _, _ = nc.Read(make([]byte, 1)); _ = nc.(*net.TCPConn).SetLinger(0) },
	} {
		a.services = append(a.services, serve(f, do))
	}
	a.services = append(a.services, "127.0.0.1:1", "10.0.0.1:80")
	for _, s := range []struct {
		path    string
		spawner **proc.Spawner
	}{{filepath.Join(dir, "none"), &a.empty}, {dir, &a.stocked}} {
		f.Setenv("PATH", s.path)
		if *s.spawner, err = proc.NewSpawner(); err != nil {
			f.Fatal(err)
		}
		f.Cleanup(func() { _ = (*s.spawner).Close() })
	}
	return a
}

// serve runs a service until the end of the test, and returns its address.
func serve(tb testing.TB, do func(net.Conn)) string {
	tb.Helper()
	ln := agenttest.Listen(tb, "tcp")
	go func() { // ended by the listener's end
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { do(nc); _ = nc.Close() }() // ended by the session's end
		}
	}()
	return ln.Addr().String()
}

// awaitHangUp waits for the peer's end without reading what it has sent.
func awaitHangUp(nc net.Conn) {
	raw, err := nc.(syscall.Conn).SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(fds, 0)
		return n > 0 || err != nil
	})
}

// giveUpPrivileges makes a process that does what a fuzzer makes up nobody's.
func giveUpPrivileges(f *testing.F) {
	f.Helper()
	worker := flag.Lookup("test.fuzzworker")
	if worker == nil || worker.Value.String() != "true" || os.Geteuid() != 0 {
		return
	}
	const nobody = 65534
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody)); err != nil {
		f.Fatal(err)
	}
}

// spawner is the stocked one for one input of 256: starting and ending a
// process takes longer than all the rest.
func (a *arena) spawner(input []byte) *proc.Spawner {
	h := fnv.New32a()
	_, _ = h.Write(input)
	if h.Sum32()%256 == 0 {
		return a.stocked
	}
	return a.empty
}

// A match is one session between an agent and a host.
type match struct {
	tb     testing.TB
	arena  *arena
	server *session.Server
	served chan error
	host   net.Conn // the host's end of the connection, which holds nothing
}

func (a *arena) match(tb testing.TB, input []byte) *match {
	tb.Helper()
	return a.matchWith(tb, input, func(*session.Config) {})
}

func (a *arena) matchWith(tb testing.TB, input []byte, change func(*session.Config)) *match {
	tb.Helper()
	near, far := net.Pipe()
	m := &match{tb: tb, arena: a, host: near, served: make(chan error, 1)}
	config := session.Config{
		Log:     zerolog.Nop(),
		Spawner: a.spawner(input),
		Admit:   func(net.Conn) (session.Peer, error) { return session.Peer{Name: "fuzzer"}, nil },
	}
	rules, err := local.ParseRules([]string{"tcp:*"})
	if err != nil {
		tb.Fatal(err)
	}
	config.Policy.Listen = rules
	change(&config)
	m.server = session.NewServer(config)
	go func() { m.served <- m.server.Serve(&onlyConn{conn: far, closed: make(chan struct{})}) }() // stopped by end
	return m
}

// end hangs up, and checks that nothing of the session is left. If a process may be
// kept, the agent's shutdown ends it.
func (m *match) end(kept bool) {
	m.tb.Helper()
	_ = m.host.Close()
	if !kept {
		agenttest.Eventually(m.tb, "the end of the session", func() bool { return session.Connections(m.server) == 0 })
	}
	agenttest.Within(m.tb, "shutdown", func() {
		if err := m.server.Shutdown(context.Background()); err != nil {
			m.tb.Error(err)
		}
	})
	if err := <-m.served; !errors.Is(err, session.ErrClosed) {
		m.tb.Errorf("serve: %v", err)
	}
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); !errors.Is(err, unix.ECHILD) {
		m.tb.Errorf("a child is left, or its zombie: waitid: %v, %+v", err, info)
	}
	m.arena.auditor.Audit(m.tb)
}

// An onlyConn is a listener with one connection.
type onlyConn struct {
	conn   net.Conn // nil: it has been accepted
	closed chan struct{}
	once   sync.Once
}

func (l *onlyConn) Accept() (net.Conn, error) {
	if c := l.conn; c != nil {
		l.conn = nil
		return c, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *onlyConn) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *onlyConn) Addr() net.Addr { return &net.UnixAddr{} }
