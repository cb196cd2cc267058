package session

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/job"
	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// Patience of an upgrade.
const (
	// unsettledTime is how long commands that start, or that would end with their connection, may
	// take to do so by themselves.
	unsettledTime = 2 * time.Second

	// partTime is how long a host may take to hear that the connection ends. Exit statuses that a slow one
	// has not read may be lost then.
	partTime = time.Second

	// holdTime bounds each of the later steps.
	holdTime = 5 * time.Second

	// holdPoll is how often the agent looks whether a step is done.
	holdPoll = 2 * time.Millisecond
)

// errUpgrade ends connections that an upgrade closes, and refuses what comes meanwhile.
// It is an errShutdown.
var errUpgrade error = upgradeError{}

type upgradeError struct{}

func (upgradeError) Error() string { return "the agent is being upgraded: connect again" }

func (upgradeError) Is(target error) bool { return target == errShutdown }

// ErrBusy says that something under way keeps the agent from being upgraded.
var ErrBusy = errors.New("not upgraded")

// errStill: a thread in a write to a file system that is frozen would keep this program from being
// replaced.
var errStill = fmt.Errorf("%w: the guest is quiesced: thaw it first", ErrBusy)

// A Saved is a [Server] that is held, for an agent that is executed in its place.
type Saved struct {
	AgentID []byte
	Resumes uint64
	Refused uint64
	Begun   time.Duration // see [proc.Monotonic]
	Spawner *proc.SavedSpawner
	Jobs    *job.Saved
}

// Check returns an error if no Server has saved this.
func (s *Saved) Check() error {
	if len(s.AgentID) != agentIDSize || s.Spawner == nil || s.Jobs == nil {
		return errors.New("session: saved state: incomplete")
	}
	return s.Jobs.Check()
}

// Descriptors returns those that a Saved names.
func (s *Saved) Descriptors() []int {
	all := s.Spawner.Descriptors()
	for _, p := range s.Jobs.Processes() {
		all = append(all, p.Descriptors()...)
	}
	return slices.DeleteFunc(all, func(fd int) bool { return fd < 0 })
}

// Preview returns what Hold would, for a trial: nothing is held, and no output is in it.
func (s *Server) Preview() (*Saved, error) {
	if s.quiet.Load() != nil {
		return nil, errStill
	}
	spawner, err := s.Spawner.Save()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBusy, err)
	}
	return s.saved(spawner, &job.Saved{}), nil
}

func (s *Server) saved(spawner *proc.SavedSpawner, jobs *job.Saved) *Saved {
	return &Saved{
		AgentID: *s.agentID.Load(), Resumes: s.resumes.Load(), Refused: s.refused.Load(),
		Begun: proc.Monotonic() - time.Since(s.begun), Spawner: spawner, Jobs: jobs,
	}
}

// Hold stops all work of the server, and returns what another agent needs to go on. It accepts no
// more connections, which wait in the listeners' queues, and ends those that there are. Commands
// that were started to end with their connection are waited for, for 2 seconds; then Hold
// fails with [ErrBusy], or ends them if force is true. The caller executes the
// other agent, or calls Release, also after an error.
func (s *Server) Hold(force bool, store job.Putter) (*Saved, error) {
	if err := s.beginHold(); err != nil {
		return nil, err
	}
	if s.quiet.Load() != nil {
		return nil, errStill
	}
	if err := s.settle(force); err != nil {
		return nil, err
	}
	if err := s.partAll(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), holdTime)
	defer cancel()
	s.suspended = true
	if err := s.jobs.Suspend(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBusy, err)
	}
	spawner, err := s.Spawner.Save()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBusy, err)
	}
	jobs, err := s.jobs.Save(store)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBusy, err)
	}
	return s.saved(spawner, jobs), nil
}

// beginHold refuses new work from now on.
func (s *Server) beginHold() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return errShutdown
	}
	released := make(chan struct{})
	s.held.Store(&released)
	for ln := range s.listeners {
		setDeadline(ln, time.Unix(1, 0))
	}
	return nil
}

// Release has the server go on after Hold.
func (s *Server) Release() {
	if s.suspended {
		s.suspended = false
		s.jobs.Resume()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for ln := range s.listeners {
		setDeadline(ln, time.Time{})
	}
	if released := s.held.Swap(nil); released != nil {
		close(*released)
	}
}

// setDeadline wakes an Accept, or has it wait again.
func setDeadline(ln net.Listener, t time.Time) {
	if d, ok := ln.(interface{ SetDeadline(t time.Time) error }); ok {
		_ = d.SetDeadline(t)
	}
}

// isHeld returns what is closed by Release, or nil.
func (s *Server) isHeld() <-chan struct{} {
	if held := s.held.Load(); held != nil {
		return *held
	}
	return nil
}

// awaitRelease waits until the server is not held, or shut down.
func (s *Server) awaitRelease() {
	released := s.isHeld()
	if released == nil {
		return
	}
	select {
	case <-released:
	case <-s.stopping:
	}
}

// settle waits until there is no work that would be lost, or ends it.
func (s *Server) settle(force bool) error {
	guestWide := func() int32 {
		return s.reseeds.Load() + s.quiesces.Load() + s.thaws.Load() + s.settling.Load() + s.guards.Load()
	}
	if s.poll(unsettledTime, func() bool { return s.obstacles() == nil && guestWide() == 0 }) {
		return nil
	}
	if n := guestWide(); n > 0 {
		return fmt.Errorf("%w: %d reseed or quiesce requests are being carried out, or a freeze has not ended", ErrBusy, n)
	}
	grace := s.ShutdownGrace
	for _, e := range s.obstacles() {
		switch {
		case e.job.Starting(): // for 2 seconds
			e.terminate(job.Shutdown, 0)
		case force:
			e.terminate(job.Shutdown, grace)
		default:
			return fmt.Errorf("%w: %s would be ended: wait for them, start them with client --detach or --resume, or use --force",
				ErrBusy, describeAll(s.obstacles()))
		}
	}
	if !s.poll(grace+holdTime, func() bool { return s.obstacles() == nil }) {
		return fmt.Errorf("%w: %s cannot be ended", ErrBusy, describeAll(s.obstacles()))
	}
	return nil
}

// poll waits until done, for at most d. It returns whether it is, and false if the server is
// shut down.
func (s *Server) poll(d time.Duration, done func() bool) bool {
	late := time.After(d)
	for !done() {
		select {
		case <-time.After(holdPoll):
		case <-late:
			return done()
		case <-s.stopping:
			return false
		}
	}
	return true
}

// obstacles returns the execs that start, or would end with their connection; nil: there are none.
func (s *Server) obstacles() (all []*execution) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		all = append(all, c.obstacles()...)
	}
	return all
}

func (c *conn) obstacles() (all []*execution) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.tasks {
		if e, ok := w.(*execution); ok && e.known.Load() == nil && (!e.share.keep || e.job.Starting()) {
			all = append(all, e)
		}
	}
	return all
}

// describeAll names some of the execs, for people.
func describeAll(all []*execution) string {
	const most = 5
	slices.SortFunc(all, func(a, b *execution) int { return cmp.Compare(a.id, b.id) })
	var names []string
	for i, e := range all {
		if i == most {
			names = append(names, fmt.Sprintf("and %d more", len(all)-most))
			break
		}
		names = append(names, fmt.Sprintf("%q", e.label.argv0))
	}
	return "running commands (" + strings.Join(names, ", ") + ")"
}

// partAll ends all connections, and waits for that.
func (s *Server) partAll() error {
	parted := func() bool { // one that is just being greeted is the next one to part
		all := s.connections()
		for _, c := range all {
			c.part()
		}
		return len(all) == 0
	}
	if s.poll(partTime, parted) {
		return nil
	}
	for _, c := range s.connections() {
		c.partNow()
	}
	if !s.poll(holdTime, parted) {
		return fmt.Errorf("%w: %d connections do not end", ErrBusy, len(s.connections()))
	}
	return nil
}

// part ends the connection, if it has been greeted, and tells the host why. It is idempotent.
func (c *conn) part() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.greeted {
		c.draining = true
		c.partLocked(errUpgrade)
	}
}

// partNow cuts the connection, with the forwards that wait for their services. A host that has not
// been heard is told why.
func (c *conn) partNow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session.Load() == nil {
		go c.turnAway(wire.ShuttingDown, errUpgrade.Error()) // ends soon: it waits for little
		return
	}
	for _, w := range c.tasks {
		if f, ok := w.(*forwarding); ok {
			f.terminate(job.Shutdown, 0)
		}
	}
	c.cut()
}

// Restore has the server go on with what another agent has saved, in whose place this one was
// executed. Spawner has been restored. It is called before Serve.
func (s *Server) Restore(saved *Saved, store job.Getter) {
	s.agentID.Store(new(bytes.Clone(saved.AgentID)))
	s.resumes.Store(saved.Resumes)
	s.refused.Store(saved.Refused)
	s.begun = time.Now().Add(saved.Begun - proc.Monotonic())
	running := s.jobs.Restore(saved.Jobs, store, func(l job.Label, pid int, err error) {
		s.Log.Error().Str("argv0", l.Command).Int("pid", pid).Err(err).Msg("exec lost in the upgrade")
	})
	for _, j := range running {
		x := share{class: j.Class, keep: true}
		s.shares.adopt(x)
		go s.own(j, x) // ends with the job; Shutdown waits for that
	}
}

// own is the life of a restored job.
func (s *Server) own(j *job.Job, x share) {
	c := newCaller(s, Peer{Name: j.Peer, Class: j.Class})
	label := aboutExec{id: j.Request, argv0: j.Command, argc: j.Args, user: j.User, tty: j.TTY}
	exit := j.Follow(job.Streams{})
	c.recordEnd(&label, j, exit)
	s.shares.give(x)
	j.End(exit)
}
