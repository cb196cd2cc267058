// Package agenttest is for the tests of programs that run commands through package client. A
// [VM] is a real agent behind a VMM's socket: commands really run, as this user and on this
// machine. The test can pause it, cut its connections, replace it, or have it begin late.
//
//	vm := agenttest.New(t)
//	c, err := client.Dial(ctx, vm.Target)
//
// The agent runs in the test's process, or is a cocoon-agent program. It needs Linux; tests on
// other systems are skipped.
package agenttest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/transport"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// Options say what kind of VM [NewWith] makes. The zero value is what New makes.
type Options struct {
	// Unix has the target be the agent's own socket, unix://PATH. Otherwise it is a VMM's,
	// hvsock://PATH:1024, as of Firecracker and Cloud Hypervisor.
	Unix bool

	// Late says that nothing is at the target's path until [VM.Start] is called.
	Late bool

	// Version1 says that the agent speaks version 1 of the protocol only.
	Version1 bool

	// Program is a cocoon-agent program to run as a child process, with Args after "serve".
	// Empty: the agent is of this module's source, and runs in the test's process, on Linux
	// only. It has no files ([client.Client.FS]) and no Quiesce: their processes are the
	// program's. (Never ask one on this machine for [client.QuiesceOptions.FreezeFS]: it
	// would freeze this machine.) Args without Program have no effect.
	Program string
	Args    []string

	// Agent is the path of a Unix socket on which an agent of the test's own listens. None
	// is started then, whatever Program is, and [VM.Log] is empty.
	Agent string
}

// A VM is an agent, and what leads to it. Its methods are safe for concurrent use. The end of
// the test ends it, with all commands.
//
//	late (Options.Late) → running (Start) ⇄ paused (Pause, Resume)
type VM struct {
	Target string // for client.Dial, Pool.Get, and COCOON_AGENT_TARGET

	tb      testing.TB
	options Options
	path    string // of the socket that Target names
	log     func() string

	mu       sync.Mutex
	moved    *sync.Cond // broadcast when a field below changes
	agent    string     // path of the agent's socket
	listener net.Listener
	paused   bool
	life     int // connections of an earlier one lead nowhere, and do not end
	cutAfter int64
	accepted int
	conns    map[net.Conn]bool
	closed   bool

	running sync.WaitGroup
}

// New returns a VM whose agent is ready. It fails the test if the agent cannot be
// started, and skips it on other systems than Linux.
func New(tb testing.TB) *VM {
	tb.Helper()
	return NewWith(tb, Options{})
}

// NewWith is New with options. With [Options.Late] nothing listens at the target's path
// before [VM.Start].
func NewWith(tb testing.TB, o Options) *VM {
	tb.Helper()
	dir, err := os.MkdirTemp("", "vm") // a Unix socket's path is short
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	v := &VM{tb: tb, options: o, agent: o.Agent, conns: make(map[net.Conn]bool), log: func() string { return "" }}
	v.moved = sync.NewCond(&v.mu)
	switch {
	case o.Agent != "":
	case o.Program != "":
		v.agent, v.log = startProgram(tb, dir, o.Program, o.Args)
	default:
		v.agent, v.log = startAgent(tb)
	}
	v.path = filepath.Join(dir, "v.sock")
	v.Target = fmt.Sprintf("hvsock://%s:%d", v.path, client.DefaultPort)
	if o.Unix {
		v.Target = "unix://" + v.path
	}
	tb.Cleanup(v.close)
	if !o.Late {
		v.Start()
	}
	return v
}

// Start begins to listen at the target's path, and returns when connections are
// accepted. Calls after the first do nothing.
func (v *VM) Start() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.listener != nil || v.closed {
		return
	}
	ln, err := net.Listen("unix", v.path)
	if err != nil {
		v.tb.Errorf("agenttest: %v", err)
		return
	}
	v.listener = ln
	v.running.Go(func() { // stopped by close
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			v.running.Go(func() { v.serve(conn, v.options.Unix) })
		}
	})
}

// close ends everything but the agent.
func (v *VM) close() {
	v.change(func() {
		v.closed = true
		if v.listener != nil {
			_ = v.listener.Close()
		}
	})
	v.Cut()
	v.running.Wait()
}

func (v *VM) change(f func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f()
	v.moved.Broadcast()
}

// Dial returns a net.Pipe to the agent, which needs neither a socket nor Start, for
// client.NewClient and client.DialWith. The VM's faults apply to it. The caller closes
// it. The error is ctx's, or net.ErrClosed after the end of the test.
func (v *VM) Dial(ctx context.Context) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return nil, net.ErrClosed
	}
	v.running.Go(func() { v.serve(far, true) }) // ends with the connection
	return near, nil
}

// Pause stops everything between host and guest, as a paused VM does: connections stay, and
// new ones are accepted and not answered. Commands run on.
func (v *VM) Pause() { v.change(func() { v.paused = true }) }

// Resume ends Pause. Nothing is lost.
func (v *VM) Resume() { v.change(func() { v.paused = false }) }

// Restore makes the connections that exist lead nowhere, without an end, as after a VM
// was restored from a snapshot. Later connections work.
func (v *VM) Restore() { v.change(func() { v.life++ }) }

// Boot makes later connections reach the agent that listens on another Unix socket, as if the
// VM had booted with it. It starts none, and [VM.Log] stays that of the first one.
func (v *VM) Boot(agent string) { v.change(func() { v.agent = agent }) }

// Cut ends all connections. Later ones work.
func (v *VM) Cut() {
	v.change(func() {
		for c := range v.conns {
			_ = c.Close()
		}
	})
}

// CutAfter ends each connection that is made from now on when its host has got n bytes, the
// protocol's own included. 0 or less: it does not.
func (v *VM) CutAfter(n int64) { v.change(func() { v.cutAfter = n }) }

// Connections returns how many connections hosts have made so far, those of Dial
// included.
func (v *VM) Connections() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.accepted
}

// Log returns the agent's log so far: JSON lines.
func (v *VM) Log() string { return v.log() }

// awaitRunning waits until the VM runs, and says whether a connection of that life still leads
// anywhere.
func (v *VM) awaitRunning(life int) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for !v.closed && (v.paused || v.life != life) {
		v.moved.Wait()
	}
	return !v.closed
}

// serve is one connection of a host. direct: without a VMM's CONNECT.
func (v *VM) serve(conn net.Conn, direct bool) {
	var life int
	var path string
	var left int64
	v.change(func() {
		v.accepted++
		v.conns[conn] = true
		life, path, left = v.life, v.agent, v.cutAfter
		if v.closed {
			_ = conn.Close()
		}
	})
	defer v.end(conn)
	from := bufio.NewReaderSize(conn, wire.MaxPreface)
	if !direct && !v.connect(from, life) {
		return
	}
	agent, err := net.Dial("unix", path)
	if err != nil {
		return // as a VMM does if nothing listens
	}
	v.change(func() { v.conns[agent] = true })
	defer v.end(agent)
	if !direct {
		if _, err := io.WriteString(conn, "OK 1073741824\n"); err != nil {
			return
		}
	}
	if v.options.Version1 && !speaksVersion1(from, conn) {
		return
	}
	v.running.Go(func() {
		v.relay(life, agent, from, 0)
		_ = agent.Close()
		_ = conn.Close()
	})
	v.relay(life, conn, agent, left)
}

// connect reads CONNECT, and waits until the VM runs.
func (v *VM) connect(from *bufio.Reader, life int) bool {
	line, err := from.ReadString('\n')
	if err != nil || !v.awaitRunning(life) {
		return false
	}
	if !strings.HasPrefix(line, "CONNECT ") {
		v.tb.Errorf("agenttest: the VMM was asked %q, want CONNECT", line)
	}
	return true
}

// speaksVersion1 answers a host that asks for version 2 as an agent that does not know it, and
// reports whether the host speaks version 1.
func speaksVersion1(from *bufio.Reader, to io.Writer) bool {
	line, _ := from.Peek(len(wire.Preface))
	if string(line) != wire.Preface {
		return true
	}
	_, _ = io.WriteString(to, `{"type":"error","message":"unknown message type"}`+"\n")
	return false
}

func (v *VM) end(conn net.Conn) {
	_ = conn.Close()
	v.change(func() { delete(v.conns, conn) })
}

// relay carries bytes until the connection ends, or limit of them; 0: any number.
func (v *VM) relay(life int, to io.Writer, from io.Reader, limit int64) {
	b := make([]byte, 64<<10)
	for left := limit; limit <= 0 || left > 0; {
		n, err := from.Read(b)
		if !v.awaitRunning(life) {
			return
		}
		if limit > 0 {
			n = int(min(int64(n), left))
			left -= int64(n)
		}
		if _, e := to.Write(b[:n]); err != nil || e != nil {
			return
		}
	}
}

// startTime is how long a program may take until it listens.
const startTime = time.Minute

// awaitListening waits until an agent listens on a socket.
func awaitListening(ctx context.Context, path string) error {
	for {
		conn, err := transport.Dial(ctx, transport.Target{Scheme: "unix", Path: path})
		if err == nil {
			return conn.Close()
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}
