//go:build linux

package session

import (
	"fmt"
	"runtime"

	"github.com/cocoonstack/cocoon-agent/internal/guest"
	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// handle carries out one request, or begins to. It never waits for the host or
// for a process. An error ends the connection.
func (c *conn) handle(m wire.Message) error {
	switch m := m.(type) {
	case *wire.Exec:
		return c.exec(m)
	case *wire.Signal:
		return c.signal(m)
	case *wire.Resize:
		return c.resize(m)
	case *wire.Kill:
		return c.kill(m)
	case *wire.Ping:
		return c.done(m.ID, nil)
	case *wire.Info:
		return c.info(m)
	case *wire.Reseed:
		return c.reseed(m)
	case *wire.Error: // the host's goodbye; it closes the connection
		return nil
	case *wire.Unknown:
		if m.ID == 0 {
			return fmt.Errorf("%w: unknown message %q without an id", errProtocol, clip(string(m.Type)))
		}
		return c.answer(failure(m.ID, wire.Unsupported, fmt.Sprintf("this agent knows no request %q", clip(string(m.Type)))))
	default:
		return fmt.Errorf("%w: %T is not a request", errProtocol, m)
	}
}

// exec begins an execution. Its goroutine is stopped by the process's end,
// which the connection's end sees to, and waited for by conn.end.
func (c *conn) exec(m *wire.Exec) error {
	if m.ID == 0 {
		return fmt.Errorf("%w: exec without an id", errProtocol)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.execs[m.ID]; ok {
		return fmt.Errorf("%w: exec with the id %d of one that is running", errProtocol, m.ID)
	}
	if c.draining {
		c.discard(m)
		return c.answer(failure(m.ID, wire.ShuttingDown, errShutdown.Error()))
	}
	e := newExecution(c, m)
	e.take()
	c.execs[m.ID] = e
	c.running.Add(1)
	go e.run()
	return nil
}

// discard does away with the streams of an exec that will not be.
func (c *conn) discard(m *wire.Exec) {
	for _, id := range []uint32{m.Stdin, m.Stdout, m.Stderr} {
		if id == 0 {
			continue
		}
		go func() { // ends within mux.ClaimTimeout, or with the connection
			if s, err := c.mux.Claim(id); err == nil {
				s.Discard()
			}
		}()
	}
}

func (c *conn) forget(e *execution) {
	c.mu.Lock()
	delete(c.execs, e.req.ID)
	c.mu.Unlock()
	c.running.Done()
}

func (c *conn) find(id uint64) (*execution, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.execs[id]; ok {
		return e, nil
	}
	return nil, fmt.Errorf("%w: no exec %d is running on this connection", errNoExec, id)
}

func (c *conn) signal(m *wire.Signal) error {
	sig, err := proc.ParseSignal(m.Signal)
	if err != nil {
		return c.done(m.ID, err)
	}
	return c.withProcess(m.ID, m.Exec, func(p *proc.Process) error { return p.Signal(sig) })
}

func (c *conn) resize(m *wire.Resize) error {
	return c.withProcess(m.ID, m.Exec, func(p *proc.Process) error { return p.Resize(m.Rows, m.Cols) })
}

// withProcess answers request id by what do says, which is called once the exec
// has started.
func (c *conn) withProcess(id, exec uint64, do func(*proc.Process) error) error {
	e, err := c.find(exec)
	if err != nil {
		return c.done(id, err)
	}
	e.whenStarted(func(p *proc.Process) {
		err := fmt.Errorf("%w: exec %d has not started", errNoExec, exec)
		if p != nil {
			err = do(p)
		}
		// A host that does not read this is told by dispatch.
		_ = c.done(id, err)
	})
	return nil
}

func (c *conn) kill(m *wire.Kill) error {
	e, err := c.find(m.Exec)
	if err != nil {
		return c.done(m.ID, err)
	}
	grace := DefaultGrace
	if m.Force {
		grace = 0
	}
	e.terminate(wire.ReasonKilled, grace)
	return c.done(m.ID, nil)
}

func (c *conn) info(m *wire.Info) error {
	if m.ID == 0 {
		return c.done(0, nil)
	}
	g := guest.Look()
	return c.answer(&wire.Done{Head: m.Head, Guest: &wire.Guest{
		Version:  c.server.Version,
		Hostname: g.Hostname, OS: g.OS, Kernel: g.Kernel, Arch: runtime.GOARCH, BootID: g.BootID,
		Resumes:     c.server.resumes.Load(),
		UptimeMS:    uint64(g.Uptime.Milliseconds()),
		CPUs:        uint64(g.CPUs),
		MemoryTotal: g.MemoryTotal, MemoryAvailable: g.MemoryAvailable,
		Load1: g.Load[0], Load5: g.Load[1], Load15: g.Load[2],
		ClockNS: uint64(max(g.Clock.UnixNano(), 0)),
	}})
}

// done answers a request other than exec.
func (c *conn) done(id uint64, err error) error {
	switch {
	case id == 0:
		return fmt.Errorf("%w: request without an id", errProtocol)
	case err != nil:
		return c.answer(failure(id, kindOf(err), err.Error()))
	default:
		return c.answer(&wire.Done{Head: wire.Head{ID: id}})
	}
}
