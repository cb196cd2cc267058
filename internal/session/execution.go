package session

import (
	"errors"
	"io"
	"math"
	"sync/atomic"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/job"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/ttymode"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// An execution is one exec, from its request to its exit: a job, and the task that
// watches it.
//
//	starting → running → exited (output still flows) → reported
//	starting → refused
type execution struct {
	task
	req  *wire.Exec // nil once its start is over
	cost int        // memory that is reserved for them

	job     *job.Job
	label   aboutExec
	limits  proc.Limits
	timeout time.Duration // 0: none
	claims  [3]claim      // stdin, stdout, stderr

	files *filesReport // of a files request; nil: of an exec

	watching                         // of a detached job, or the known one
	known    atomic.Pointer[job.Job] // that had the request's key before; nil: none
}

const (
	stdin = iota
	stdout
	stderr
)

// newExecution returns the execution of the request m, which has req's process.
func newExecution(c *conn, m wire.Message, req *wire.Exec, cost int) *execution {
	if req.User == "" {
		req.User = c.server.Policy.User
	}
	e := &execution{
		req: req, cost: cost, label: describeExec(req),
		limits: c.server.Ceilings.limits(req.Limits), timeout: c.server.Ceilings.timeout(req.TimeoutMS),
		claims: [3]claim{stdin: {id: req.Stdin}, stdout: {id: req.Stdout}, stderr: {id: req.Stderr}},
	}
	if e.merged() {
		e.claims[stderr].id = 0
	}
	keep := req.OnDisconnect == wire.DisconnectKeep || req.Detach
	e.task = task{
		caller: c.caller, server: c.server, id: req.ID, verb: wire.TypeExec, about: &e.label,
		share: share{class: c.peer.Class, keep: keep}, streams: e.claims[:],
	}
	if f, ok := m.(*wire.Files); ok {
		e.serveFiles(f)
	}
	e.job = c.server.jobs.New(job.Label{
		Class: c.peer.Class, Command: e.label.argv0, Args: e.label.argc, User: e.label.user, TTY: e.label.tty, Keep: keep,
		Peer: c.peer.Name, Request: req.ID,
	}, e.timeout, lingerOf(req.LingerMS))
	return e
}

// lingerOf is for how long output is read after the exit.
func lingerOf(ms *uint64) time.Duration {
	if ms == nil {
		return job.Linger
	}
	return millis(*ms)
}

// millis returns n milliseconds, or the longest time that a Duration has.
func millis(n uint64) time.Duration {
	return time.Duration(min(n, uint64(math.MaxInt64/time.Millisecond))) * time.Millisecond
}

// merged says whether stderr goes where stdout goes.
func (e *execution) merged() bool { return e.req.Stderr != 0 && e.req.Stderr == e.req.Stdout }

func (e *execution) requested() {
	if in := e.claims[stdin].stream; in != nil {
		_ = in.Close() // the agent writes nothing to it
	}
	if e.files == nil { // which has one record, at the end
		e.recordRequested()
	}
}

// proceed starts the execution once it may start.
func (e *execution) proceed(err error) {
	if err == nil && len(e.req.Key) > 0 {
		var known *job.Job
		known, err = e.claimKey()
		switch {
		case known != nil:
			e.repeat(known)
			return
		case errors.Is(err, job.ErrLeft):
			e.withdraw()
			e.left(&e.watching)
			return
		}
	}
	switch {
	case !e.start(err):
	case e.job.Detached():
		e.detach()
	default:
		e.answerStarted()
		e.job.Carry(e.hand())
		go e.attend() // ends with the job; conn.end waits for the answer
	}
}

// attend waits for the end of the job, and reports it. It has a goroutine of its own: the stack
// of the one that has started the job has grown, and would stay as large.
func (e *execution) attend() { e.report(e.job.Await()) }

// start starts the job, or answers that it has not started.
func (e *execution) start(err error) (started bool) {
	if err != nil {
		e.job.Refuse()
	} else {
		err = e.job.Start(e.spec())
	}
	if err == nil && e.files == nil {
		e.recordStarted()
	}
	e.req = nil
	e.conn.Load().mux.Release(e.cost)
	if hung, ok := errors.AsType[*job.StartError](err); ok && hung.Hung != nil && hung.Hung.PID != 0 {
		e.lose(hung)
		return false
	}
	if err != nil {
		e.refuse(answerOf(err))
		return false
	}
	e.job.Announce()
	return true
}

func (e *execution) recordStarted() {
	record := e.label.add(e.audit.Info()).Int("pid", e.job.PID()).
		AnErr("no_cgroup", e.job.NoCgroup()).AnErr("home_error", e.job.HomeError()).AnErr("retried", e.job.Retried())
	if notes := e.notes(); len(notes) > 0 {
		record = record.Strs("notes", notes)
	}
	record.Msg("exec started")
}

// lose answers for a start that hangs and cannot be ended: its child may become the
// command yet.
func (e *execution) lose(hung *job.StartError) {
	e.label.add(e.audit.Warn()).Int("pid", hung.Hung.PID).Str("reason", string(hung.Reason)).Err(hung).Msg("exec start abandoned")
	handle := e.job.Handle()
	e.send(&wire.Started{Head: wire.Head{ID: e.id}, PID: hung.Hung.PID, Handle: handle[:]})
	e.discard(e.conn.Load()) // the ends of the outputs come before exited
	e.answer(&wire.Exited{
		Head: wire.Head{ID: e.id}, Code: -1,
		Reason: wire.ReasonLost, Message: clipTo(hung.Error(), maxErrorText),
	}).release()
}

func (e *execution) spec() proc.Spec {
	return proc.Spec{
		Argv: e.req.Argv,
		Env:  e.req.Env, ClearEnv: e.req.ClearEnv,
		Dir: e.req.Dir, User: e.req.User,
		Stdin:    e.req.Stdin != 0 || e.req.Detach && e.req.TTY != nil, // somebody may attach
		Stdout:   e.req.Stdout != 0 || e.req.Detach,
		Stderr:   e.claims[stderr].id != 0 || e.req.Detach && e.req.TTY == nil && !e.merged() || e.files != nil,
		Merge:    e.merged(),
		Terminal: terminal(e.req.TTY),
		Limits:   e.limits,
		Verbatim: e.req.Verbatim,
	}
}

func terminal(t *wire.TTY) *proc.Terminal {
	if t == nil {
		return nil
	}
	modes, _ := ttymode.Decode(t.Modes) // checkExec has seen that they are right
	return &proc.Terminal{
		Size: proc.Size{Rows: t.Rows, Cols: t.Cols, WidthPX: t.WidthPX, HeightPX: t.HeightPX},
		Term: t.Term, Modes: modes,
	}
}

// answerStarted tells the host that the job has started.
func (e *execution) answerStarted() {
	handle := e.job.Handle()
	started := &wire.Started{Head: wire.Head{ID: e.id}, PID: e.job.PID(), Handle: handle[:], Notes: e.notes()}
	if e.claims[stdin].stream == nil {
		e.sendSoon(started) // nobody waits to feed it: it may go with the exit
	} else {
		e.send(started)
	}
}

// notes says what is unusual about the job's process.
func (e *execution) notes() []string {
	var notes []string
	for _, n := range e.job.Notes() {
		notes = append(notes, string(n))
	}
	return notes
}

// hand hands the streams to the job. Nobody else has them then: what they hold goes
// with the job's last use of them.
func (e *execution) hand() (s job.Streams) {
	if in := e.claims[stdin].stream; in != nil {
		s.Stdin = in
	}
	s.Stdout, s.Stderr = sink(e.claims[stdout].stream), sink(e.claims[stderr].stream)
	if e.files != nil {
		s.Stderr = &e.files.summary
	}
	e.claims = [3]claim{}
	return s
}

// sink returns s as an interface that is nil if s is.
func sink(s *mux.Stream) io.WriteCloser {
	if s == nil {
		return nil
	}
	return s
}

// report tells the log and the host how it ended.
func (e *execution) report(exit *job.Exit) {
	if e.files != nil {
		e.files.record(e, exit)
	} else {
		e.recordEnd(&e.label, e.job, exit)
	}
	e.job.End(exit)
	e.answer(exitedOf(e.id, exit)).release()
}

// recordEnd tells the log how an exec ended.
func (c *caller) recordEnd(label *aboutExec, j *job.Job, exit *job.Exit) {
	if exit.Err != nil {
		c.log.Error().Uint64("exec", label.id).Err(exit.Err).Msg("exit status lost")
	}
	label.add(c.audit.Info()).Int("pid", j.PID()).
		Int("code", exit.Code).Str("signal", exit.SignalName).Str("reason", string(exit.Reason)).
		Uint64("stdout_bytes", exit.Stdout).Uint64("stderr_bytes", exit.Stderr).Bool("cut", exit.Cut).Bool("oom_killed", exit.OOMKilled).
		Dur("duration_ms", time.Since(j.Begun())).Msg("exec ended")
}

func exitedOf(id uint64, exit *job.Exit) *wire.Exited {
	return &wire.Exited{
		Head: wire.Head{ID: id},
		Code: exit.Code, Signal: exit.SignalName, SignalNumber: exit.Signal, CoreDumped: exit.CoreDumped,
		Reason:   wire.Reason(exit.Reason),
		UserUS:   uint64(exit.UserTime.Microseconds()),
		SystemUS: uint64(exit.SystemTime.Microseconds()),
		MaxRSS:   uint64(exit.MaxRSS),

		OOMKilled:   exit.OOMKilled,
		StdoutBytes: exit.Stdout, StderrBytes: exit.Stderr,
		Cut: exit.Cut, Status: exit.Status,
	}
}

func (e *execution) terminate(reason job.Reason, grace time.Duration) {
	e.job.Terminate(reason, grace) // it may be waiting for the known one, and would start then
	if known := e.known.Load(); known != nil {
		known.Terminate(reason, grace)
	}
}

func (e *execution) overran() { e.command().Terminate(job.Limit, job.Grace) }

// disconnected ends the job, or lets it run on alone once it has started. A start that
// hangs is ended in any case: nobody has the job's handle.
func (e *execution) disconnected() {
	e.unwatch()
	e.job.Leave()
	if e.job.Detached() || e.known.Load() != nil { // its goroutine leaves the connection
		e.job.Abandon()
		return
	}
	if !e.share.keep {
		e.job.Terminate(job.Killed, job.Grace)
		return
	}
	e.job.Abandon()
	e.job.WhenStarted(func(p *proc.Process) {
		if p != nil {
			e.leave().release()
		}
	})
}

func (e *execution) check() { e.command().Check() }

func (e *execution) command() *job.Job {
	if known := e.known.Load(); known != nil {
		return known
	}
	return e.job
}
