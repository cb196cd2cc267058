//go:build linux

package session

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/cocoonstack/cocoon-agent/internal/guest"
	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// handle carries out one request, or begins to. It never waits for the host or
// for a process. An error ends the connection. cost is the memory that has been
// reserved for the request.
func (c *conn) handle(m wire.Message, cost int) error {
	denied, err := c.denied(m)
	if exec, ok := m.(*wire.Exec); ok && !denied {
		return c.exec(exec, cost)
	}
	defer c.mux.Release(cost)
	if denied {
		return err
	}
	return c.request(m)
}

// request carries out what is not an exec.
func (c *conn) request(m wire.Message) error {
	switch m := m.(type) {
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
	case *wire.Forward:
		return c.forward(m)
	case *wire.TooLong:
		return c.answer(failure(m.ID, wire.Limit, m.Err.Error()))
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
func (c *conn) exec(m *wire.Exec, cost int) error {
	err := c.begin(m, cost)
	if err == nil {
		return nil
	}
	c.mux.Release(cost)
	if errors.Is(err, errProtocol) {
		return err
	}
	c.discard(m.Stdin, m.Stdout, m.Stderr)
	c.refused(err, wire.TypeExec, c.server.describe(m))
	return c.answer(failure(m.ID, kindOf(err), err.Error()))
}

func (c *conn) begin(m *wire.Exec, cost int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.vacant(wire.TypeExec, m.ID); err != nil {
		return err
	}
	lists := listCost(len(m.Argv) + len(m.Env))
	if err := c.mux.Reserve(lists); err != nil {
		return err
	}
	if err := c.server.addExec(c); err != nil {
		c.mux.Release(lists)
		return err
	}
	if m.User == "" {
		m.User = c.server.Policy.User
	}
	e := newExecution(c, m, cost+lists)
	e.take()
	c.execs[m.ID] = e
	c.running.Add(1)
	go e.run()
	return nil
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
	t, err := c.find(exec)
	if err != nil {
		return c.done(id, err)
	}
	e, ok := t.(*execution)
	if !ok {
		return c.done(id, fmt.Errorf("%w: %d is a forward: it has no process", errBadRequest, exec))
	}
	if e.crowded() {
		return c.done(id, overLimit(maxPending, "requests that wait for one exec to start"))
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
	t, err := c.find(m.Exec)
	if err != nil {
		return c.done(m.ID, err)
	}
	grace := DefaultGrace
	if m.Force {
		grace = 0
	}
	if e, ok := t.(*execution); ok && e.crowded() {
		return c.done(m.ID, overLimit(maxPending, "requests that wait for one exec to start"))
	}
	t.terminate(wire.ReasonKilled, grace)
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

// done answers a request other than exec and forward.
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
