package session

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/cocoonstack/cocoon-agent/internal/job"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A watching is the part of a task that watches a kept job. It can be ended while the task
// waits for the job, or before.
type watching struct {
	gone chan struct{} // closed by unwatch; nil: the task never watches

	mu      sync.Mutex
	watcher *job.Watcher
	ended   bool
	asked   bool // by the host, whose connection goes on
}

// watch has unwatch end w, at once if it has been called.
func (w *watching) watch(watcher *job.Watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watcher = watcher
	if w.ended {
		watcher.Leave()
	}
}

// unwatch ends the watching. It is idempotent, and does not wait.
func (w *watching) unwatch() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended || w.gone == nil {
		return
	}
	w.ended = true
	close(w.gone)
	if w.watcher != nil {
		w.watcher.Leave()
	}
}

// follow carries a job's output to the host, and answers how it ended.
func (t *task) follow(w *watching, watcher *job.Watcher, s job.Streams) {
	w.watch(watcher)
	defer watcher.Leave()
	exit, err := watcher.Wait(s)
	behind, fellBehind := errors.AsType[*job.BehindError](err)
	switch {
	case err == nil:
		t.answer(exitedOf(t.id, exit)).release()
	case fellBehind:
		for _, stream := range []io.WriteCloser{s.Stdout, s.Stderr} {
			if stream, ok := stream.(*mux.Stream); ok {
				stream.Reset()
			}
		}
		m := failure(t.id, wire.Limit, "the host reads too slowly: "+behind.Error())
		m.Behind = behindOf(behind)
		t.answer(m).release()
	default:
		t.left(w)
	}
}

// left ends a task whose host has left, or whose connection has ended.
func (t *task) left(w *watching) {
	if w.wasAsked() {
		t.answer(&wire.Done{Head: wire.Head{ID: t.id}}).release()
	} else {
		t.abandon()
	}
}

func (w *watching) wasAsked() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked
}

// stop is unwatch because the host has asked for it.
func (w *watching) stop() {
	w.mu.Lock()
	w.asked = w.asked || !w.ended
	w.mu.Unlock()
	w.unwatch()
}

func behindOf(b *job.BehindError) *wire.Behind {
	return &wire.Behind{Stderr: b.Stderr, Want: b.Want, Oldest: b.Oldest, Newest: b.Newest}
}

// abandon ends a task without an answer: its host has gone.
func (t *task) abandon() {
	c := t.leave()
	t.giveShare()
	t.discard(c)
	c.release()
}

// keep has the job kept as m says.
func (e *execution) keep(m *wire.Exec) error {
	if err := e.server.meant(m.AgentID); err != nil {
		return err
	}
	k := job.Keeping{Detach: m.Detach, Ring: int(m.Ring), Block: m.RingFull == wire.RingBlock, Lease: millis(m.LeaseMS), Key: m.Key}
	if len(m.Key) > 0 {
		k.Request = digest(m)
	}
	if m.Detach || len(m.Key) > 0 {
		e.gone = make(chan struct{})
	}
	return e.job.Keep(k)
}

// meant returns an error if a request names another agent.
func (s *Server) meant(agentID []byte) error {
	if id := *s.agentID.Load(); len(agentID) > 0 && !bytes.Equal(agentID, id) {
		return fmt.Errorf("%w: the request is for agent %x, and this is %x: it was started or reseeded after that, or is a clone",
			job.ErrNotFound, clipTo(string(agentID), agentIDSize), id)
	}
	return nil
}

// digest tells requests with the same key apart, but for their ids.
func digest(m *wire.Exec) [sha256.Size]byte {
	same := *m
	same.ID = 0
	for i, id := range []*uint32{&same.Stdin, &same.Stdout, &same.Stderr} {
		switch {
		case *id == 0:
		case id == &same.Stderr && m.Stderr == m.Stdout:
			*id = same.Stdout
		default:
			*id = uint32(i) + 1
		}
	}
	text, err := wire.Append(nil, &same)
	if err != nil { // it was decoded from as much
		return sha256.Sum256([]byte(err.Error()))
	}
	return sha256.Sum256(text)
}

// claimKey returns the job that the request's key names already, once that has started, or
// nil if the request is the first one with the key. Meanwhile that job is the request's. The
// error is [job.ErrLeft] if the host has left, or the connection has ended.
func (e *execution) claimKey() (*job.Job, error) {
	for {
		known, err := e.job.Claim()
		if known == nil || err != nil {
			e.known.Store(nil)
			return nil, err
		}
		if e.known.Swap(known) == known {
			return nil, errUnknownStart
		}
		select {
		case <-known.Settled():
			if known.Started() {
				return known, nil
			}
		case <-e.gone:
			return nil, job.ErrLeft
		}
	}
}

// errUnknownStart is the answer to a request whose key names a start that was given up and
// may happen yet.
var errUnknownStart = errors.New("the first request with this key hangs in its start, which may happen later")

// repeat answers for a request whose key names a job that has started: as the first
// request was answered.
func (e *execution) repeat(known *job.Job) {
	e.withdraw()
	s := e.hand()
	wants := func(s io.WriteCloser) bool { return s != nil && known.Detached() }
	if !known.Detached() {
		s.Stdin = nil
	}
	watcher, err := known.Watch(job.From{Oldest: true}, wants(s.Stdout), wants(s.Stderr))
	if err != nil { // its output is kept from Oldest on
		e.refuse(err)
		return
	}
	e.label.add(e.audit.Info()).Int("pid", known.PID()).Msg("exec repeated")
	handle, begin := known.Handle(), watcher.FirstOffsets()
	e.send(&wire.Started{
		Head: wire.Head{ID: e.id}, PID: known.PID(), Handle: handle[:], Repeated: true,
		StdoutOffset: begin.Stdout, StderrOffset: begin.Stderr,
	})
	if in, ok := s.Stdin.(*mux.Stream); ok && known.Feed(in) != nil {
		in.Discard()
	}
	e.follow(&e.watching, watcher, s)
}

// withdraw gives up the request's own job: its key names another one, or its host has left.
func (e *execution) withdraw() {
	e.job.Withdraw()
	e.conn.Load().mux.Release(e.cost)
}

// detach watches the job that has started as long as the connection lasts. The job goes on.
func (e *execution) detach() {
	e.answerStarted()
	e.lent = true
	s := e.hand()
	watcher, err := e.job.Watch(job.From{}, s.Stdout != nil, s.Stderr != nil)
	if err != nil { // a detached job has output from its beginning
		panic(err)
	}
	go e.own(s.Stdin)                    // ends with the job; Server.Shutdown waits for that
	go e.follow(&e.watching, watcher, s) // ends with the job, or unwatch; as for attend
}

// own is the life of a detached job that has started.
func (e *execution) own(stdin io.WriterTo) {
	exit := e.job.Follow(job.Streams{Stdin: stdin})
	e.recordEnd(&e.label, e.job, exit)
	e.server.shares.give(e.share)
	e.job.End(exit)
}

// An attachment is one attach, from its request to the end of the exec or of the connection.
type attachment struct {
	task
	watching

	req    *wire.Attach
	job    *job.Job
	label  aboutAttach
	claims [3]claim // stdin, stdout, stderr
}

// attach begins an attachment.
func (c *conn) attach(m *wire.Attach) error {
	j, err := c.server.findKept(m, c.peer.Class)
	if err != nil {
		return c.reject(m, err)
	}
	a := &attachment{
		watching: watching{gone: make(chan struct{})},
		req:      m, job: j, label: describeAttach(m),
		claims: [3]claim{stdin: {id: m.Stdin}, stdout: {id: m.Stdout}, stderr: {id: m.Stderr}},
	}
	a.task = task{
		caller: c.caller, server: c.server, id: m.ID, verb: wire.TypeAttach, about: &a.label,
		share: share{class: c.peer.Class}, streams: a.claims[:],
	}
	if err := c.begin(a); err != nil {
		return c.reject(m, err)
	}
	return nil
}

func (s *Server) findKept(m *wire.Attach, class string) (*job.Job, error) {
	if err := s.meant(m.AgentID); err != nil {
		return nil, err
	}
	return s.jobs.FindKept(job.Handle(m.Handle), class)
}

func (a *attachment) requested() {
	if in := a.claims[stdin].stream; in != nil {
		_ = in.Close() // the agent writes nothing to it
	}
	a.label.add(a.audit.Info()).Bool("stdin", a.req.Stdin != 0).Msg("attach requested")
}

func (a *attachment) proceed(err error) {
	var watcher *job.Watcher
	if err == nil {
		watcher, err = a.job.Watch(job.From{
			Offsets: job.Offsets{Stdout: a.req.StdoutOffset, Stderr: a.req.StderrOffset},
			Oldest:  a.req.From == wire.FromOldest, Now: a.req.From == wire.FromNow,
			Redraw: redraws[a.req.Redraw],
		}, a.claims[stdout].stream != nil, a.claims[stderr].stream != nil)
	}
	if err != nil {
		a.refuse(err)
		return
	}
	if in := a.claims[stdin].stream; in != nil {
		err := job.ErrNotDetached
		if a.job.Detached() {
			err = a.job.Feed(in)
		}
		if err != nil {
			watcher.Leave()
			a.refuse(err)
			return
		}
	}
	s := job.Streams{Stdout: sink(a.claims[stdout].stream), Stderr: sink(a.claims[stderr].stream)}
	a.claims = [3]claim{} // what they hold goes with the job's last use of them
	handle, begin := a.job.Handle(), watcher.FirstOffsets()
	_, end := a.job.Kept()
	a.send(&wire.Started{
		Head: wire.Head{ID: a.id}, PID: a.job.PID(), Handle: handle[:],
		StdoutBytes: end.Stdout, StderrBytes: end.Stderr,
		StdoutOffset: begin.Stdout, StderrOffset: begin.Stderr, Redraw: uint64(watcher.Before()),
	})
	watcher.Nudge()
	a.follow(&a.watching, watcher, s)
}

// redraws are those of package job by the protocol's names.
var redraws = map[wire.Redraw]job.Redraw{
	"":                "",
	wire.RedrawNone:   "",
	wire.RedrawAuto:   job.RedrawAuto,
	wire.RedrawReplay: job.RedrawReplay,
	wire.RedrawWinch:  job.RedrawWinch,
}

func (a *attachment) terminate(reason job.Reason, grace time.Duration) {
	a.job.Terminate(reason, grace)
}

func (a *attachment) overran() { a.job.Terminate(job.Limit, job.Grace) }

func (a *attachment) disconnected() { a.unwatch() }

func (a *attachment) check() { a.job.Check() }

func (a *attachment) command() *job.Job { return a.job }

// acked takes note of output that the host has.
func (c *conn) acked(m *wire.Acked) {
	if w, err := c.find(m.ID); err == nil && w.command() != nil {
		w.command().Acknowledge(job.Offsets{Stdout: m.StdoutOffset, Stderr: m.StderrOffset})
	}
}

// leave ends what carries output to the host. The exec goes on.
func (c *conn) leave(m *wire.Leave) error {
	w, err := c.find(m.Exec)
	if err != nil {
		return c.carriedOut(m, err)
	}
	l, ok := w.(interface{ stop() })
	if e, isExec := w.(*execution); !ok || isExec && !e.command().Detached() {
		return c.carriedOut(m, fmt.Errorf("%w: %d is neither an attach nor a detached exec", errBadRequest, m.Exec))
	}
	l.stop()
	return c.carriedOut(m, nil)
}

func (c *conn) releaseExec(m *wire.Release) error {
	return c.carriedOut(m, c.server.jobs.Release(job.Handle(m.Handle), c.peer.Class))
}

// aboutAttach is the description of an attach.
type aboutAttach struct {
	id     uint64
	handle []byte
}

func describeAttach(m *wire.Attach) aboutAttach { return aboutAttach{id: m.ID, handle: m.Handle} }

func (a *aboutAttach) add(e *zerolog.Event) *zerolog.Event {
	return e.Uint64("attach", a.id).Hex("handle", a.handle)
}
