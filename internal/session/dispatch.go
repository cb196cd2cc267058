package session

import (
	"fmt"
	"runtime"

	"github.com/cocoonstack/cocoon-agent/internal/guest"
	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// exec begins an execution. Its goroutine is stopped by the process's end,
// which the connection's end sees to, and waited for by conn.end.
func (c *conn) exec(m *wire.Exec, cost int) error {
	err := c.begin(m, cost)
	if err == nil {
		return nil
	}
	c.mux.Release(cost)
	return c.reject(m, err)
}

func (c *conn) begin(m *wire.Exec, cost int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining {
		return errShutdown
	}
	lists := listCost(len(m.Argv) + len(m.Env))
	if err := c.mux.Reserve(lists); err != nil {
		return err
	}
	if err := c.server.shares.take(len(c.execs), share{class: c.peer.Class, keep: keeps(m)}); err != nil {
		c.mux.Release(lists)
		return err
	}
	e := newExecution(c, m, cost+lists)
	e.take()
	c.execs[m.ID] = e
	c.running.Add(1)
	go e.run()
	return nil
}

func (c *conn) signal(m *wire.Signal, sig proc.Signal) error {
	return c.withProcess(m, m.Exec, func(p *proc.Process) error { return p.Signal(sig) })
}

func (c *conn) resize(m *wire.Resize) error {
	return c.withProcess(m, m.Exec, func(p *proc.Process) error { return p.Resize(m.Rows, m.Cols) })
}

// withProcess answers m, which is about an exec, by what do says, which is called
// once the exec has started.
func (c *conn) withProcess(m wire.Message, exec uint64, do func(*proc.Process) error) error {
	t, err := c.find(exec)
	if err != nil {
		return c.carriedOut(m, err)
	}
	e, ok := t.(*execution)
	if !ok {
		return c.carriedOut(m, fmt.Errorf("%w: %d is a forward: it has no process", errBadRequest, exec))
	}
	if e.crowded() {
		return c.carriedOut(m, overLimit(maxPending, "requests that wait for one exec to start"))
	}
	e.whenStarted(func(p *proc.Process) {
		err := fmt.Errorf("%w: exec %d has not started", errNoExec, exec)
		if p != nil {
			err = do(p)
		}
		// A host that does not read this is told by dispatch.
		_ = c.carriedOut(m, err)
	})
	return nil
}

func (c *conn) kill(m *wire.Kill) error {
	t, err := c.killed(m)
	if err != nil {
		return c.carriedOut(m, err)
	}
	grace := DefaultGrace
	if m.Force {
		grace = 0
	}
	first := true // of a forward, which ends at once
	if e, ok := t.(*execution); ok {
		if e.crowded() {
			return c.carriedOut(m, overLimit(maxPending, "requests that wait for one exec to start"))
		}
		first = !e.killed.Swap(true)
	}
	t.terminate(wire.ReasonKilled, grace)
	return c.carriedOutFor(m, nil, first)
}

// killed returns what a kill is about.
func (c *conn) killed(m *wire.Kill) (task, error) {
	if len(m.Handle) > 0 {
		return c.server.running.find(handle(m.Handle), c.peer.Class)
	}
	return c.find(m.Exec)
}

// A lateExecs is an answer to execs that gets its list when it is sent: a host that
// does not read its answers could make the agent hold any number of lists.
type lateExecs struct{ wire.Done }

// listExecs lists what runs for hosts of this one's class.
func (c *conn) listExecs(m *wire.Execs) error {
	return c.answer(&lateExecs{Done: wire.Done{Head: m.Head}})
}

func (c *conn) info(m *wire.Info) error {
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
	if err != nil {
		return c.answer(failure(id, kindOf(err), err.Error()))
	}
	return c.answer(&wire.Done{Head: wire.Head{ID: id}})
}
