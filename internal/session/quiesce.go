package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/freeze"
	"github.com/cocoonstack/cocoon-agent/internal/guest"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

const (
	defaultQuiet = 10 * time.Second // for how long the guest holds still, if the host does not say
	maxQuietings = 8                // requests of a kind at a time
	outputTime   = time.Second      // for what execs have written before they hold still
)

// errQuiet answers what must wait until the guest goes on.
var errQuiet = fmt.Errorf("%w: the guest is quiesced: thaw it, or wait until it goes on", errLimit)

// refusesWork reports whether nothing may begin.
func (s *Server) refusesWork() bool {
	q := s.quiet.Load()
	return q != nil && q.refusing.Load()
}

// isQuiet returns errQuiet for a request that is not carried out while the guest holds still. Those about
// commands that run are: nobody would send them again.
func (s *Server) isQuiet(m wire.Message) error {
	if !s.refusesWork() {
		return nil
	}
	switch m.(type) {
	case *wire.Ping, *wire.Info, *wire.Quiesce, *wire.Thaw, *wire.Reseed, *wire.Error,
		*wire.Signal, *wire.Resize, *wire.Kill, *wire.Acked, *wire.Leave, *wire.Release:
		return nil
	default:
		return errQuiet
	}
}

func checkQuiesce(m *wire.Quiesce) error {
	if m.TimeoutMS > wire.MaxQuiesceMS {
		return fmt.Errorf("%w: timeout_ms %d: want at most %d", errBadRequest, m.TimeoutMS, wire.MaxQuiesceMS)
	}
	return nil
}

// within returns for how long the guest is to hold still.
func within(m *wire.Quiesce) time.Duration {
	if m.TimeoutMS == 0 {
		return defaultQuiet
	}
	return time.Duration(m.TimeoutMS) * time.Millisecond
}

// quiesce runs hooks, and waits for processes and disks. Its goroutine ends by itself and is
// waited for by conn.end, as reseed's is.
func (c *conn) quiesce(m *wire.Quiesce) error {
	return c.quietly(m, &c.server.quiesces, func(err error) wire.Message {
		var steps []guest.Step
		if err == nil {
			steps, err = c.server.holdStill(m)
		}
		c.logSteps("quiesce", steps, err)
		if err != nil {
			return failure(m.ID, kindOf(err), err.Error())
		}
		return told(m.ID, steps)
	})
}

// thaw waits until the guest goes on. It needs no record: a full log must not keep a guest frozen. Its
// answer says whether the guest has held still, also if hooks have failed.
func (c *conn) thaw(m *wire.Thaw) error {
	return c.quietly(m, &c.server.thaws, func(error) wire.Message {
		steps, thawed := c.server.thaw()
		c.logSteps("thaw", steps, nil)
		all, _, _ := outcomes(steps)
		return &wire.Done{Head: m.Head, Thawed: thawed, Steps: all}
	})
}

// quietly has a request to quiesce or thaw recorded, and carried out on another goroutine.
func (c *conn) quietly(m wire.Message, count *atomic.Int32, do func(err error) wire.Message) error {
	verb, id := wire.About(m)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.server.isHeld() != nil:
		return c.done(id, errUpgrade)
	case c.draining:
		return c.done(id, errShutdown)
	case c.server.Guard == nil:
		return c.done(id, fmt.Errorf("%w: %s", errUnsupported, verb))
	}
	if count.Add(1) > maxQuietings {
		count.Add(-1)
		return c.done(id, overLimit(maxQuietings, string(verb)+" requests"))
	}
	c.running.Add(1)
	go func() {
		recorded := c.server.recording()
		c.recordQuietly(m)
		follow := func(err error) {
			defer c.running.Done()
			answer := do(err)
			count.Add(-1)
			_ = c.answer(answer) // a host that does not read is told by dispatch
		}
		if settled, err := recorded(follow); settled {
			follow(err)
		}
	}()
	return nil
}

// recordQuietly leaves a record of a request, or counts it.
func (c *conn) recordQuietly(m wire.Message) {
	verb, id := wire.About(m)
	if !c.server.records.count(c.kindOfRecord(verb, nil)) {
		return
	}
	record := c.audit.Info().Uint64("id", id)
	if q, ok := m.(*wire.Quiesce); ok {
		record = record.Dur("within_ms", within(q)).Bool("freeze_execs", q.FreezeExecs).Bool("freeze_fs", q.FreezeFS)
	}
	record.Msg(string(verb) + " requested")
}

var errOtherQuiesce = fmt.Errorf("%w: another quiesce is under way", errLimit)

// holdStill takes the steps of a quiesce. If one fails, all goes on.
func (s *Server) holdStill(m *wire.Quiesce) ([]guest.Step, error) {
	if !s.quieting.TryLock() {
		return nil, errOtherQuiesce
	}
	defer s.quieting.Unlock()
	if q := s.quiet.Load(); q != nil {
		return q.again(m)
	}
	if last := s.latest; last != nil {
		<-last.over // the hooks after it come before those of the next
	}
	q := &quiet{request: *m, free: make(chan struct{}), over: make(chan struct{})}
	s.latest = q
	s.settling.Add(1)
	s.quiet.Store(q)
	hooks := s.runHooks("quiesce")
	if hooks != nil {
		q.took(*hooks)
	}
	q.begun = time.Now()
	if hooks == nil || hooks.Err == nil {
		s.freeze(q)
	}
	if !q.holds() {
		s.settleQuiet(q)
	}
	return q.steps, nil
}

// freeze has the guest hold still, unless a step fails, or thaw is called meanwhile.
func (s *Server) freeze(q *quiet) {
	q.refusing.Store(true)
	if err := s.admitNothing(q); err != nil {
		q.took(guest.Step{Name: "admission", Err: err})
		return
	}
	q.took(guest.Step{Name: "admission", Changed: true})
	r := freeze.Request{Within: within(&q.request), FileSystems: q.request.FreezeFS, Record: s.FreezeRecord, Hooks: s.Hooks != ""}
	if q.request.FreezeExecs {
		if r.Groups = s.Spawner.Groups(); r.Groups == nil {
			q.took(guest.Step{Name: freeze.StepExecs, Err: fmt.Errorf("%w: the agent has no cgroups", errUnsupported)})
			return
		}
	}
	if r.FileSystems && s.HoldLog != nil {
		q.release = s.HoldLog()
	}
	guard, err := freeze.Start(s.Guard, r)
	if err != nil {
		q.took(guest.Step{Name: freeze.StepGuard, Err: err})
		return
	}
	s.guards.Add(1)
	go func() { // ends with the guard
		<-guard.Gone()
		s.guards.Add(-1)
	}()
	q.guardedBy(guard)
	s.followGuard(q, guard)
	if !q.holds() {
		return
	}
	go func() { // ends with the quiet
		<-guard.Ended()
		s.settleQuiet(q)
	}()
}

// followGuard waits until all holds still, or does not.
func (s *Server) followGuard(q *quiet, guard *freeze.Guard) {
	steps, err := guard.Freeze()
	for _, step := range steps {
		q.took(stepOf(step))
	}
	if err != nil {
		q.took(guest.Step{Name: freeze.StepGuard, Err: err})
	}
	if err == nil && !slices.ContainsFunc(q.steps, failed) {
		q.took(s.drainOutput(q))
	}
	if q.isFrozen() || slices.ContainsFunc(q.steps, failed) {
		return
	}
	why, _ := guard.Outcome()
	q.took(guest.Step{Name: freeze.StepGuard, Err: fmt.Errorf("the guest had to go on before it held still: %s", cmp.Or(q.reason(), string(why)))})
}

// admitNothing waits until nothing starts.
func (s *Server) admitNothing(q *quiet) error {
	starting := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			if c.hasStarting() {
				return true
			}
		}
		return false
	}
	done := s.poll(unsettledTime, func() bool { return q.isEnding() || !starting() && s.reseeds.Load() == 0 })
	switch {
	case s.isHeld() != nil:
		return errUpgrade
	case s.isClosing():
		return errShutdown
	case q.isEnding():
		return errThawed
	case !done:
		return fmt.Errorf("%w: commands that start, or a reseed, have not come to an end after %v", errLimit, unsettledTime)
	default:
		return nil
	}
}

var errThawed = errors.New("the guest was thawed meanwhile")

// hasStarting reports whether an exec is being started.
func (c *conn) hasStarting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.tasks {
		if e, ok := w.(*execution); ok && e.known.Load() == nil && e.job.Starting() {
			return true
		}
	}
	return false
}

// drainOutput waits until what execs have written is read.
func (s *Server) drainOutput(q *quiet) guest.Step {
	step := guest.Step{Name: "output", Changed: true}
	s.poll(outputTime, func() bool { return q.isEnding() || s.jobs.Unread() == 0 })
	if n := s.jobs.Unread(); n > 0 {
		step.Note = fmt.Sprintf("%d commands have output that was not taken in %v", n, outputTime)
	}
	return step
}

func stepOf(s freeze.Step) guest.Step {
	step := guest.Step{Name: s.Name, Changed: s.Changed, Note: s.Note}
	switch {
	case s.Denied:
		step.Err = fmt.Errorf("%w: %s", guest.ErrNotPermitted, s.Failed)
	case s.Failed != "":
		step.Err = errors.New(s.Failed)
	}
	return step
}

// thaw has the guest go on, and returns how its holding still has ended.
func (s *Server) thaw() ([]guest.Step, *wire.Thawed) {
	q := s.goOn("host", nil)
	last := s.thawed.Load()
	if q == nil {
		if last == nil {
			last = &wire.Thawed{}
		}
		return nil, &wire.Thawed{By: last.By, MS: last.MS}
	}
	<-q.over
	return append([]guest.Step{q.end}, q.last...), q.told
}

// goOn has the guest go on, for a reason, and returns what has ended, or nil. It does not wait for
// the hooks, and for the rest until the time is over.
func (s *Server) goOn(by string, patience <-chan time.Time) *quiet {
	q := s.quiet.Load()
	if q == nil {
		return nil
	}
	q.stop(by)
	select {
	case <-q.free:
	case <-patience: // a file system may hang
	}
	return q
}

// settleQuiet is called once all goes on, or nothing was frozen.
func (s *Server) settleQuiet(q *quiet) {
	defer s.settling.Add(-1)
	q.end = q.ended()
	if q.release != nil {
		q.release()
	}
	q.told = q.outcome()
	s.thawed.Store(q.told)
	s.Log.Info().Str("by", q.told.By).Bool("held", q.told.Held).Err(q.end.Err).Msg("thawed")
	s.quiet.CompareAndSwap(q, nil)
	close(q.free)
	q.last = s.thawHooks()
	close(q.over)
}

// thawHooks runs the hooks that follow a quiesce.
func (s *Server) thawHooks() []guest.Step {
	if hooks := s.runHooks("thaw"); hooks != nil {
		return []guest.Step{*hooks}
	}
	return nil
}

// FinishQuiesce runs the hooks that follow a quiesce for an agent that has ended meanwhile.
func (s *Server) FinishQuiesce() {
	for _, step := range s.thawHooks() {
		s.Log.Warn().Str("hooks", step.Note).Err(step.Err).Msg("an agent before has ended during a quiesce: its hooks were run")
	}
}

// awaitSettled waits for the hooks that follow a quiesce, until ctx ends.
func (s *Server) awaitSettled(ctx context.Context) {
	for s.settling.Load() > 0 {
		select {
		case <-time.After(holdPoll):
		case <-ctx.Done():
			return
		}
	}
}
