package session

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/job"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A task is what a host has begun and may end by its id, until it has been answered
// for: an exec or a forward. It has what both need around their work: the id, the
// streams, the share of the server's limits, and the records.
//
//	begun (conn.begin) → prepared → answered for (answer)
//	                              → left (leave) → ended
//	                   → refused (refuse)
type task struct {
	*caller
	server *Server
	conn   atomic.Pointer[conn] // nil: answered for, or left

	id      uint64
	verb    wire.Type
	about   description
	share   share
	streams []claim // those that the request names
	refusal error   // why one of them cannot be had, or nil
	lent    bool    // the share is a job's, which gives it back
}

// A claim is a stream that a request names.
type claim struct {
	id     uint32      // 0: none
	stream *mux.Stream // nil: it has not come
}

// A worker is a task and the work that is its own.
type worker interface {
	base() *task

	// requested leaves the record of the request.
	requested()

	// proceed does the work, when the task has its streams and its record, or answers
	// with an error. It is called once.
	proceed(err error)

	// terminate ends the work. The first reason is the one that counts. It does not wait.
	terminate(reason job.Reason, grace time.Duration)

	// overran is called when a stream of the task has lost what it held.
	overran()

	// disconnected carries out the rule for a host that has gone away.
	disconnected()

	// check takes each lock that a request needs.
	check()

	// command returns the job that the task is about, or nil: it is about none.
	command() *job.Job
}

func (t *task) base() *task { return t }

// begin registers w, takes the streams that have come, which is all as a rule, and
// starts its goroutine. That happens before the next request is read, so that no
// stream expires whose request has come. The goroutine ends with the work, which the
// connection's end sees to, and conn.end waits for it unless the task has been left.
func (c *conn) begin(w worker) error {
	t := w.base()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.server.isHeld() != nil:
		return errUpgrade
	case c.server.refusesWork():
		return errQuiet
	case c.draining:
		return errShutdown
	}
	if err := c.server.shares.take(c.countLocked(t.share.forward), t.share); err != nil {
		return err
	}
	t.conn.Store(c)
	t.take(w)
	c.tasks[t.id] = w
	if t.share.forward {
		c.forwards++
	}
	c.running.Add(1)
	go run(w)
	return nil
}

// countLocked returns how many forwards the connection has, or how many other tasks. It is
// called with mu held.
func (c *conn) countLocked(forwards bool) int {
	if forwards {
		return c.forwards
	}
	return len(c.tasks) - c.forwards
}

// run is a task's goroutine. The rest of it is another's if the log takes its record
// too slowly. Little stands on the stack of the work, because there may be thousands of
// them.
func run(w worker) {
	if settled, err := prepare(w); settled {
		w.proceed(err)
	}
}

// prepare waits for the streams and has the request recorded. settled says that both are
// done, or cannot be; otherwise proceed is called elsewhere.
func prepare(w worker) (settled bool, err error) {
	t := w.base()
	if err := t.claim(w); err != nil {
		return true, err
	}
	recorded := t.server.recording()
	w.requested()
	return recorded(w.proceed)
}

// take takes over those streams that are there.
func (t *task) take(w worker) {
	for i := range t.streams {
		s := &t.streams[i]
		if s.id == 0 || t.refusal != nil {
			continue
		}
		s.stream, t.refusal = t.conn.Load().mux.Take(s.id)
		s.watch(w)
	}
}

// claim waits for those that are not.
func (t *task) claim(w worker) error {
	if t.refusal != nil {
		return t.refusal
	}
	for i := range t.streams {
		s := &t.streams[i]
		if s.id == 0 || s.stream != nil {
			continue
		}
		var err error
		if s.stream, err = t.conn.Load().mux.Claim(s.id); err != nil {
			return err
		}
		s.watch(w)
	}
	return nil
}

func (s *claim) watch(w worker) {
	if s.stream != nil {
		s.stream.OnOverrun(w.overran)
	}
}

// refuse answers for a task that has not begun.
func (t *task) refuse(err error) {
	t.conn.Load().refused(err, t.verb, t.about)
	c := t.answer(refusalOf(t.id, err))
	defer c.release()
	t.discard(c)
}

// discard does away with the task's streams. c is nil if the connection has ended.
func (t *task) discard(c *conn) {
	for _, s := range t.streams {
		switch {
		case s.stream != nil:
			s.stream.Discard()
		case c != nil:
			c.mux.Disclaim(s.id)
		}
	}
}

// send writes m to the host, if that is still there. See conn.send.
func (t *task) send(m wire.Message) {
	if c := t.conn.Load(); c != nil {
		c.send(m)
	}
}

// sendSoon is send for what may wait for what follows. See conn.sendSoon.
func (t *task) sendSoon(m wire.Message) {
	if c := t.conn.Load(); c != nil {
		c.sendSoon(m)
	}
}

// answer answers for the task. It does not count any more by then: the host may use
// its id again as soon as it has the answer. The caller releases the connection, which
// is nil if it has left the task.
func (t *task) answer(m wire.Message) *conn {
	c := t.leave()
	t.giveShare()
	if c != nil {
		c.send(m)
	}
	return c
}

func (t *task) giveShare() {
	if !t.lent {
		t.server.shares.give(t.share)
	}
}

// leave takes the task from its connection, which the caller releases, or returns nil:
// another caller has done that.
func (t *task) leave() *conn {
	c := t.conn.Swap(nil)
	if c != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.tasks, t.id)
		if t.share.forward {
			c.forwards--
		}
	}
	return c
}

// release lets the connection end without waiting for a task any more.
func (c *conn) release() {
	if c != nil {
		c.running.Done()
	}
}

// has says whether id is that of a task that has not been answered for. Only
// dispatch adds tasks: what it has seen free stays free.
func (c *conn) has(id uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, taken := c.tasks[id]
	return taken
}

func (c *conn) find(id uint64) (worker, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w, ok := c.tasks[id]; ok {
		return w, nil
	}
	return nil, fmt.Errorf("%w: no running exec %d on this connection", job.ErrNotFound, id)
}

// discard does away with the streams of a task that will not be.
func (c *conn) discard(streams ...uint32) {
	for _, id := range streams {
		c.mux.Disclaim(id)
	}
}

// answerOf makes the error of a job that has not started an answer.
func answerOf(err error) error {
	if e, ok := errors.AsType[*job.StartError](err); ok && e.Hung == nil {
		return beforeStart(e.Reason)
	}
	return err
}

// refusalOf makes an answer an error of the protocol. It has the reason if the agent has
// ended a start that hung.
func refusalOf(id uint64, err error) *wire.Error {
	m := failure(id, kindOf(err), err.Error())
	if e, ok := errors.AsType[*job.StartError](err); ok {
		m.Reason = wire.Reason(e.Reason)
	}
	if e, ok := errors.AsType[*job.BehindError](err); ok {
		m.Behind = behindOf(e)
		if m.Kind = wire.NotFound; e.Want > e.Newest {
			m.Kind = wire.BadRequest
		}
	}
	return m
}

// beforeStart is the answer for a task that was ended before it had started.
func beforeStart(reason job.Reason) error {
	switch reason {
	case job.Shutdown:
		return errShutdown
	case job.Limit:
		return mux.ErrInput
	default:
		return fmt.Errorf("%w: killed before it started", errBadRequest)
	}
}
