package session

import (
	"fmt"
	"runtime"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/guest"
	"github.com/cocoonstack/cocoon-agent/internal/job"
	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// exec begins an execution, which ends with its process. If the connection ends before
// that then the execution's rule says what becomes of the process.
func (c *conn) exec(m *wire.Exec, cost int) error { return c.execute(m, m, cost) }

// execute begins an execution for the request m.
func (c *conn) execute(m wire.Message, exec *wire.Exec, cost int) error {
	lists := listCost(len(exec.Argv) + len(exec.Env))
	err := c.mux.Reserve(lists)
	if err == nil {
		cost += lists
		e := newExecution(c, m, exec, cost)
		if err = e.keep(exec); err == nil {
			err = c.begin(e)
		}
		if err == nil {
			return nil
		}
		e.job.Refuse()
	}
	c.mux.Release(cost)
	return c.reject(m, err)
}

func (c *conn) signal(m *wire.Signal, sig proc.Signal) error {
	do := func(p *proc.Process) error { return p.Signal(sig) }
	if len(m.Handle) == 0 {
		return c.withProcess(m, m.Exec, proc.SignalWaits(sig), do)
	}
	j, err := c.server.jobs.Find(job.Handle(m.Handle), c.peer.Class)
	if err != nil {
		return c.carriedOut(m, err)
	}
	return c.withJob(m, j, proc.SignalWaits(sig), do)
}

func (c *conn) resize(m *wire.Resize) error {
	return c.withProcess(m, m.Exec, false, func(p *proc.Process) error {
		return p.Resize(proc.Size{Rows: m.Rows, Cols: m.Cols, WidthPX: m.WidthPX, HeightPX: m.HeightPX})
	})
}

// withProcess answers m, which is about an exec, by what do says, which is called
// once the exec has started. slow: do may take long, and holds up nothing else.
func (c *conn) withProcess(m wire.Message, exec uint64, slow bool, do func(*proc.Process) error) error {
	w, err := c.find(exec)
	if err != nil {
		return c.carriedOut(m, err)
	}
	j := w.command()
	if j == nil {
		return c.carriedOut(m, fmt.Errorf("%w: %d is a forward, not an exec", errBadRequest, exec))
	}
	return c.withJob(m, j, slow, do)
}

// withJob is withProcess for an exec that has been found.
func (c *conn) withJob(m wire.Message, j *job.Job, slow bool, do func(*proc.Process) error) error {
	if j.Crowded() {
		return c.carriedOut(m, errCrowded)
	}
	j.WhenStarted(func(p *proc.Process) {
		if p == nil {
			_ = c.carriedOut(m, fmt.Errorf("%w: the exec has not started", job.ErrNotFound))
			return
		}
		// A host that does not read the answer is told by dispatch.
		if slow {
			go func() { _ = c.carriedOut(m, do(p)) }() // ends when do does, in some seconds
			return
		}
		_ = c.carriedOut(m, do(p))
	})
	return nil
}

var errCrowded = overLimit(job.MaxWaiting, "requests waiting for one exec to start")

func (c *conn) kill(m *wire.Kill) error {
	grace := job.Grace
	if m.Force {
		grace = 0
	}
	if len(m.Handle) > 0 {
		j, err := c.server.jobs.Find(job.Handle(m.Handle), c.peer.Class)
		if err != nil {
			return c.carriedOut(m, err)
		}
		return c.killJob(m, j, grace)
	}
	w, err := c.find(m.Exec)
	if err != nil {
		return c.carriedOut(m, err)
	}
	if j := w.command(); j != nil {
		if e, ok := w.(*execution); ok && e.job != j {
			e.job.Terminate(job.Killed, grace) // it waits for the start of j, and would start then
		}
		return c.killJob(m, j, grace)
	}
	w.terminate(job.Killed, grace)
	return c.carriedOutFor(m, nil, true) // it ends at once: there is no second one
}

func (c *conn) killJob(m *wire.Kill, j *job.Job, grace time.Duration) error {
	if j.Crowded() {
		return c.carriedOut(m, errCrowded)
	}
	first := j.Kill(grace)
	return c.carriedOutFor(m, nil, first)
}

// A lateExecs is an answer to execs that gets its list when it is sent: a host that
// does not read its answers could make the agent hold any number of lists.
type lateExecs struct{ wire.Done }

// listExecs lists what runs for hosts of this one's class.
func (c *conn) listExecs(m *wire.Execs) error {
	return c.answer(&lateExecs{Done: wire.Done{Head: m.Head}})
}

// listExecs makes the answer to execs for hosts of a class.
func (s *Server) listExecs(class string) *wire.ExecList {
	list := &wire.ExecList{}
	running, ended := s.jobs.List(class, false), s.jobs.List(class, true)
	if more := len(running) - wire.MaxExecs; more > 0 {
		list.More = uint64(more)
		running = running[:wire.MaxExecs]
	}
	ended = ended[max(0, len(ended)-wire.MaxExecs):]
	for _, j := range running {
		list.Running = append(list.Running, stateOf(j))
	}
	for _, j := range ended {
		list.Ended = append(list.Ended, stateOf(j))
	}
	return list
}

func stateOf(j job.State) wire.ExecState {
	s := wire.ExecState{
		Handle: j.Handle[:], PID: j.PID, Command: j.Command, User: j.User, TTY: j.TTY,
		Keep: j.Keep, Connected: j.Watched,
		RunningMS: uint64(j.Running.Milliseconds()),

		Detached: j.Detached, Input: j.Input,
		StdoutOldest: j.Oldest.Stdout, StderrOldest: j.Oldest.Stderr,
		StdoutBytes: j.Newest.Stdout, StderrBytes: j.Newest.Stderr,
	}
	if x := j.Exit; x != nil {
		s.Exited = &wire.ExecEnd{
			Code: x.Code, Signal: x.SignalName, SignalNumber: x.Signal, Reason: wire.Reason(x.Reason), Status: x.Status,
		}
		s.StdoutBytes, s.StderrBytes = x.Stdout, x.Stderr
	}
	return s
}

func (c *conn) info(m *wire.Info) error {
	g := guest.Look()
	way, _ := c.server.Spawner.StartWay()
	return c.answer(&wire.Done{Head: m.Head, Agent: c.server.account(), Guest: &wire.Guest{
		Version:  c.server.Version,
		Hostname: g.Hostname, OS: g.OS, Kernel: g.Kernel, Arch: runtime.GOARCH, BootID: g.BootID,
		Resumes:     c.server.resumes.Load(),
		UptimeMS:    uint64(g.Uptime.Milliseconds()),
		CPUs:        uint64(g.CPUs),
		CPUNS:       uint64(g.CPUTime),
		MemoryTotal: g.MemoryTotal, MemoryAvailable: g.MemoryAvailable,
		Load1: g.Load[0], Load5: g.Load[1], Load15: g.Load[2],
		ClockNS: uint64(max(g.Clock.UnixNano(), 0)),
		Start:   way, StartsStuck: uint64(c.server.Spawner.StartsStuck()),
	}})
}

// account returns what the agent says of itself.
func (s *Server) account() *wire.Agent {
	jobs, forwards := s.jobs.Counts(), s.forwards.counts()
	return &wire.Agent{
		UptimeMS: uint64(time.Since(s.begun).Milliseconds()), RSS: guest.RSS(),
		Connections: uint64(len(s.connections())), Refused: s.refused.Load(),
		ExecsStarted: jobs.Started, ExecsFailed: jobs.Failed, ExecsRunning: jobs.Running,
		ForwardsStarted: forwards.started, ForwardsFailed: forwards.failed, ForwardsRunning: forwards.running,
		StdinBytes: jobs.Stdin, StdoutBytes: jobs.Stdout, StderrBytes: jobs.Stderr,
		CgroupsKept: uint64(s.Spawner.CgroupsKept()),
		RecordsKept: jobs.Kept, RingMemory: jobs.Rings,
	}
}

// done answers a request other than exec and forward.
func (c *conn) done(id uint64, err error) error {
	if err != nil {
		return c.answer(failure(id, kindOf(err), err.Error()))
	}
	return c.answer(&wire.Done{Head: wire.Head{ID: id}})
}
