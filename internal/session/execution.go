package session

import (
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// An execution is one exec, from its request to its exit.
//
//	starting → running → exited (output still flows) → reported
//	starting → refused
type execution struct {
	conn *conn
	req  *wire.Exec // without its lists, once it has started
	cost int        // memory that is reserved for them

	about   aboutExec
	handle  handle
	keep    bool // it lives on when its connection ends
	limits  proc.Limits
	timeout time.Duration // 0: none

	stdin, stdout, stderr *mux.Stream // nil: not wanted
	refusal               error       // why one of them cannot be had, or nil
	process               *proc.Process
	begun                 time.Time

	killed atomic.Bool                 // a host has asked for it
	reason atomic.Pointer[wire.Reason] // why it was terminated first; nil: it was not

	mu      sync.Mutex
	started bool // or refused: what waits has been called
	waiting []func(*proc.Process)
}

func newExecution(c *conn, req *wire.Exec, cost int) *execution {
	if req.User == "" {
		req.User = c.server.Policy.User
	}
	return &execution{
		conn: c, req: req, cost: cost, begun: time.Now(),
		about: describeExec(req), handle: newHandle(), keep: keeps(req),
		limits: c.server.Ceilings.limits(req.Limits), timeout: c.server.Ceilings.timeout(req.TimeoutMS),
	}
}

// keeps says whether an exec lives on when its connection ends.
func keeps(m *wire.Exec) bool { return m.OnDisconnect == wire.DisconnectKeep }

// run is the execution's goroutine. The rest of it is another's if the log takes
// its record too slowly.
func (e *execution) run() {
	if settled, err := e.request(); settled {
		e.proceed(err)
	}
}

// request claims the streams and records the request. settled says that both are done,
// or not to be had; else proceed is called elsewhere.
func (e *execution) request() (settled bool, err error) {
	if err := e.claim(); err != nil {
		return true, err
	}
	recorded := e.conn.server.recording()
	e.recordRequested()
	return recorded(e.proceed)
}

// proceed is what follows once the execution has its streams and its record, or
// an error: it is the execution's whole life. Little stands on its stack, of which
// there may be thousands.
func (e *execution) proceed(err error) {
	defer e.conn.running.Done()
	if e.begin(err) {
		e.report(e.follow())
	}
}

// begin starts the process, or answers that it has not started.
func (e *execution) begin(err error) (started bool) {
	if err == nil {
		err = e.start()
	}
	if err == nil {
		e.about.add(e.conn.audit.Info()).Int("pid", e.process.PID()).AnErr("no_cgroup", e.process.NoCgroup()).Msg("exec started")
	}
	e.req.Argv, e.req.Env = nil, nil
	e.conn.mux.Release(e.cost)
	if err != nil {
		e.setStarted(nil)
		e.refuse(err)
		return false
	}
	e.setStarted(e.process)
	e.conn.server.running.add(e)
	return true
}

// start brings the process up. Where it fails nothing runs.
func (e *execution) start() error {
	if r := e.reason.Load(); r != nil {
		return beforeStart(*r)
	}
	var err error
	e.process, err = e.conn.server.Spawner.Start(proc.Spec{
		Argv: e.req.Argv,
		Env:  e.req.Env, ClearEnv: e.req.ClearEnv,
		Dir: e.req.Dir, User: e.req.User,
		Stdin: e.stdin != nil, Stdout: e.stdout != nil, Stderr: e.stderr != nil,
		Merge:    e.merged(),
		Terminal: terminal(e.req.TTY),
		Limits:   e.limits,
	})
	return err
}

func terminal(t *wire.TTY) *proc.Terminal {
	if t == nil {
		return nil
	}
	return &proc.Terminal{Rows: t.Rows, Cols: t.Cols, Term: t.Term}
}

// A wanted stream is one that the request names.
type wanted struct {
	id uint32 // 0: none
	to **mux.Stream
}

func (e *execution) wanted() [3]wanted {
	all := [...]wanted{{e.req.Stdin, &e.stdin}, {e.req.Stdout, &e.stdout}, {e.req.Stderr, &e.stderr}}
	if e.merged() {
		all[2].id = 0
	}
	return all
}

// take takes over those streams that are there, which is all as a rule, before
// the next request is read: so that none expires whose request has come.
func (e *execution) take() {
	for _, w := range e.wanted() {
		if w.id == 0 || e.refusal != nil {
			continue
		}
		*w.to, e.refusal = e.conn.mux.Take(w.id)
		e.own(*w.to)
	}
}

// claim waits for those that are not.
func (e *execution) claim() error {
	if e.refusal != nil {
		return e.refusal
	}
	for _, w := range e.wanted() {
		if w.id == 0 || *w.to != nil {
			continue
		}
		var err error
		if *w.to, err = e.conn.mux.Claim(w.id); err != nil {
			return err
		}
		e.own(*w.to)
	}
	if e.stdin != nil {
		_ = e.stdin.Close() // the agent writes nothing to it
	}
	return nil
}

// own has a stream that loses what it holds end the process.
func (e *execution) own(s *mux.Stream) {
	if s != nil {
		s.OnOverrun(func() { e.terminate(wire.ReasonLimit, DefaultGrace) })
	}
}

// merged says whether stderr goes where stdout goes.
func (e *execution) merged() bool { return e.req.Stderr != 0 && e.req.Stderr == e.req.Stdout }

// refuse answers for an exec that has not run.
func (e *execution) refuse(err error) {
	e.conn.refused(err, wire.TypeExec, e.about)
	e.conn.forget(e.req.ID, share{class: e.conn.peer.Class, keep: e.keep})
	e.conn.send(failure(e.req.ID, kindOf(err), err.Error()))
	for _, s := range []*mux.Stream{e.stdin, e.stdout, e.stderr} {
		if s != nil {
			s.Discard()
		}
	}
	e.conn.discard(e.req.Stdin, e.req.Stdout, e.req.Stderr) // those that were not claimed
}

// follow moves the process's bytes until its end, and returns that.
func (e *execution) follow() *wire.Exited {
	stop := e.armTimeout() // before anything that waits for the host
	started := &wire.Started{Head: wire.Head{ID: e.req.ID}, PID: e.process.PID(), Handle: e.handle[:]}
	if e.stdin == nil {
		e.conn.sendSoon(started) // nobody waits to feed it: it may go with the exit
	} else {
		e.conn.send(started)
		e.conn.feeding.Add(1)
		go e.feed() // stopped by the host's end of the stream, or the connection's
	}
	stdout, stderr := &pump{from: e.process.Stdout(), to: e.stdout}, &pump{from: e.process.Stderr(), to: e.stderr}
	var pumps sync.WaitGroup
	for _, p := range []*pump{stdout, stderr} {
		if p.from != nil {
			pumps.Go(p.run) // stopped by the end of output, or Drain
		}
	}
	waitErr := e.process.Wait()
	var reason *wire.Reason
	if e.process.Terminated() { // what came after the exit is not why it exited
		reason = e.reason.Load()
	}
	e.process.Drain()
	pumps.Wait()
	stop() // what the command has left behind may hold its output open until then
	exit, err := e.process.Reap()
	x := e.exited(exit, reason)
	if waitErr != nil {
		err = waitErr
	}
	if err != nil {
		e.conn.log.Error().Uint64("exec", e.req.ID).Err(err).Msg("exit status lost")
		x.Code, x.Reason = -1, wire.ReasonLost
	}
	x.StdoutBytes, x.StderrBytes = uint64(stdout.n), uint64(stderr.n)
	x.Cut = stdout.cut || stderr.cut
	return x
}

// armTimeout terminates the process when its time is up.
func (e *execution) armTimeout() (stop func()) {
	if e.timeout == 0 {
		return func() {}
	}
	timer := time.AfterFunc(e.timeout, func() { e.terminate(wire.ReasonTimeout, DefaultGrace) })
	return func() { timer.Stop() }
}

func (e *execution) exited(exit proc.Exit, reason *wire.Reason) *wire.Exited {
	x := &wire.Exited{
		Head: wire.Head{ID: e.req.ID},
		Code: exit.Code, Signal: exit.SignalName, SignalNumber: exit.Signal, CoreDumped: exit.CoreDumped,
		Reason:   wire.ReasonExit,
		UserUS:   uint64(exit.UserTime.Microseconds()),
		SystemUS: uint64(exit.SystemTime.Microseconds()),
		MaxRSS:   uint64(exit.MaxRSS),

		OOMKilled: exit.OOMKilled,
	}
	switch {
	case reason != nil:
		x.Reason = *reason
	case exit.Signal != 0:
		x.Reason = wire.ReasonSignal
	}
	return x
}

// report tells the log and the host how it ended.
func (e *execution) report(x *wire.Exited) {
	e.about.add(e.conn.audit.Info()).Int("pid", e.process.PID()).
		Int("code", x.Code).Str("signal", x.Signal).Str("reason", string(x.Reason)).
		Uint64("stdout_bytes", x.StdoutBytes).Uint64("stderr_bytes", x.StderrBytes).Bool("cut", x.Cut).Bool("oom_killed", x.OOMKilled).
		Dur("duration_ms", time.Since(e.begun)).Msg("exec ended")
	e.conn.server.running.remove(e)
	e.conn.forget(e.req.ID, share{class: e.conn.peer.Class, keep: e.keep})
	e.conn.send(x)
}

// crowded says whether enough requests wait for the exec to start.
func (e *execution) crowded() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.started && (len(e.waiting) >= maxPending || e.conn.server.pending.Load() >= allPending)
}

// whenStarted calls f with the process once it has been started, or with nil
// once it has been refused. f must not block.
func (e *execution) whenStarted(f func(*proc.Process)) {
	e.mu.Lock()
	if !e.started {
		e.waiting = append(e.waiting, f)
		e.conn.server.pending.Add(1)
		e.mu.Unlock()
		return
	}
	e.mu.Unlock()
	f(e.process)
}

func (e *execution) setStarted(p *proc.Process) {
	e.mu.Lock()
	e.process, e.started = p, true
	waiting := e.waiting
	e.waiting = nil
	e.conn.server.pending.Add(-int64(len(waiting)))
	e.mu.Unlock()
	for _, f := range waiting {
		f(p)
	}
}

// terminate ends the process tree. The first reason is the one that counts.
// It does not wait.
func (e *execution) terminate(reason wire.Reason, grace time.Duration) {
	e.reason.CompareAndSwap(nil, &reason)
	e.whenStarted(func(p *proc.Process) {
		if p != nil {
			p.Terminate(grace)
		}
	})
}

// disconnected carries out the rule for a host that has gone away.
func (e *execution) disconnected() {
	if !e.keep {
		e.terminate(wire.ReasonKilled, DefaultGrace)
	}
}

// A pump carries one output of a process to its stream.
type pump struct {
	from *proc.Output // nil: there is none
	to   *mux.Stream  // nil: a terminal's that the host does not want

	n   int64 // bytes that the stream has taken
	cut bool
}

func (p *pump) run() {
	if p.to == nil {
		_, _, _ = p.from.CopyTo(io.Discard)
		return
	}
	// What the stream says has become of it is the connection's matter.
	p.n, p.cut, _ = p.from.CopyTo(p.to)
	_ = p.to.Close()
}

// feed carries the host's input to the process, and throws away what the
// process does not want, so that the host is not kept waiting. Input that ends
// because the connection has is not an end of input: the process is ended, or
// kept, by its rule.
func (e *execution) feed() {
	defer e.conn.feeding.Done()
	stdin := e.stdin
	e.stdin = nil // nobody else has it: what it holds ends with the copy
	_ = e.process.Stdin().CopyFrom(stdin)
}
